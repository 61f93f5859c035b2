"""The pools of threads that run the handlers of grpcio's public server.

Health must answer while a hundred loads wait, so each kind of RPC has threads of its own.
A pool with a bound refuses calls instead of letting them queue without end.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

import grpc

_P = ParamSpec("_P")
_T = TypeVar("_T")

_QUICK_THREADS: Final = 32
_QUICK_CALLS: Final = 1024
_REPOSITORY_THREADS: Final = 16
_REPOSITORY_CALLS: Final = 64
_INSPECTION_THREADS: Final = 4
_INSPECTION_CALLS: Final = 32
_INTROSPECTION_CALLS: Final = 8
_FALLBACK_THREADS: Final = 256
_REFUSAL_THREADS: Final = 2


class BoundedPool(ThreadPoolExecutor):
    """A pool that knows when it has enough to do.

    A subclass, because grpcio takes nothing but a ThreadPoolExecutor for a handler's pool.
    It counts by futures: they end even where grpcio drops a cancelled call unserved.
    """

    def __init__(self, name: str, *, threads: int, calls: int, sentence: str) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name)
        self.sentence = sentence
        self._calls = calls
        # Guards `_taken`. A leaf.
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def full(self) -> bool:
        return self._taken >= self._calls

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Take one more, whatever `full` says: `RefuseWhenFull` asks before grpcio submits."""
        with self._lock:
            self._taken += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._gone()
            raise
        future.add_done_callback(self._gone)
        return future

    def _gone(self, _future: Future[Any] | None = None) -> None:
        with self._lock:
            self._taken -= 1


def _quick() -> BoundedPool:
    return BoundedPool(
        "grpc-quick",
        # Our part of such a call never blocks, but grpcio waits here for its message to arrive.
        threads=_QUICK_THREADS,
        calls=_QUICK_CALLS,
        sentence=f"{_QUICK_CALLS} calls are under way or waiting: try again later",
    )


def _repository() -> BoundedPool:
    return BoundedPool(
        "grpc-repository",
        threads=_REPOSITORY_THREADS,
        calls=_REPOSITORY_CALLS,
        sentence=f"{_REPOSITORY_CALLS} loads and unloads are under way or waiting: try again later",
    )


def _inspection() -> BoundedPool:
    return BoundedPool(
        "grpc-inspection",
        threads=_INSPECTION_THREADS,
        calls=_INSPECTION_CALLS,
        sentence=f"{_INSPECTION_CALLS} models are being looked at: try again later",
    )


def _introspection() -> BoundedPool:
    return BoundedPool(
        "grpc-introspection",
        threads=_INTROSPECTION_CALLS,
        calls=_INTROSPECTION_CALLS,
        sentence=f"{_INTROSPECTION_CALLS} reflection streams are open: close one or wait",
    )


@dataclass(frozen=True, slots=True)
class Pools:
    """Every pool of the public server. None of them starts a thread before it has work."""

    quick: BoundedPool = field(default_factory=_quick)
    """Health, metadata, statistics, index, settings: nothing that blocks."""
    repository: BoundedPool = field(default_factory=_repository)
    """Loads and unloads, each of which holds a thread until it is done."""
    inspection: BoundedPool = field(default_factory=_inspection)
    """What reads the repository, which may be slow, and changes nothing."""
    introspection: BoundedPool = field(default_factory=_introspection)
    """Reflection, whose streams hold a thread while they are open, and channelz."""
    fallback: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_FALLBACK_THREADS, "grpc-fallback")
    )
    """ModelInfer and ModelStreamInfer where the completion queue cannot be used."""
    refusal: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_REFUSAL_THREADS, "grpc-refusal")
    )
    """Says no for a pool that is full."""

    def close(self) -> None:
        """Start nothing more. Does not wait: a load may hang."""
        bounded = (self.quick, self.repository, self.inspection, self.introspection)
        for pool in (*bounded, self.fallback, self.refusal):
            pool.shutdown(wait=False, cancel_futures=True)


class RefuseWhenFull(grpc.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """Answers RESOURCE_EXHAUSTED for a method whose pool is full.

    grpcio asks on its serving thread, the only one that submits, so that nothing comes
    between the question and the submission. The refusal runs in the server's own pool.
    """

    def __init__(self, pools: Mapping[str, BoundedPool]) -> None:
        self._pools = pools
        self._refusals = {method: _refusal(pool.sentence) for method, pool in pools.items()}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        pool = self._pools.get(handler_call_details.method)
        if pool is None or not pool.full:
            return continuation(handler_call_details)
        return self._refusals[handler_call_details.method]


def _refusal(sentence: str) -> grpc.RpcMethodHandler:
    """Return a handler that ends a call of any kind, and does not wait for its message."""

    def refuse(_messages: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)

    return grpc.stream_stream_rpc_method_handler(refuse)
