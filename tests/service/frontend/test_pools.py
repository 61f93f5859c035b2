"""Pools with a bound, and what a full one answers."""

import threading
from types import SimpleNamespace

import grpc
import pytest

from interlock.frontend.pools import BoundedPool, Pools, RefuseWhenFull
from tests.support.boundary import TIMEOUT_S

METHOD = "/s/M"


def small_pool() -> BoundedPool:
    return BoundedPool("small", threads=1, calls=2, sentence="two at once are enough")


def test_a_pool_is_full_until_one_of_its_calls_has_ended() -> None:
    go = threading.Event()
    with small_pool() as pool:
        fullness = [pool.full]
        calls = []
        for _ in range(2):
            calls.append(pool.submit(go.wait, TIMEOUT_S))
            fullness.append(pool.full)

        go.set()
        assert all(call.result(TIMEOUT_S) for call in calls)
    assert [*fullness, pool.full] == [False, False, True, False]


def test_a_call_that_is_dropped_before_it_runs_makes_room() -> None:
    go = threading.Event()
    with small_pool() as pool:
        pool.submit(go.wait, TIMEOUT_S)
        waiting = pool.submit(go.wait, TIMEOUT_S)

        assert waiting.cancel()

        assert not pool.full
        go.set()


def test_a_call_that_a_closed_pool_refuses_is_not_counted() -> None:
    pool = small_pool()
    pool.shutdown()
    for _ in range(3):
        with pytest.raises(RuntimeError):
            pool.submit(print)

    assert not pool.full


def test_a_call_that_fails_makes_room() -> None:
    def fail() -> None:
        raise ValueError

    with small_pool() as pool:
        failing = [pool.submit(fail) for _ in range(2)]
        assert all(isinstance(one.exception(TIMEOUT_S), ValueError) for one in failing)
    assert not pool.full


def test_a_full_pool_is_told_as_resource_exhausted() -> None:
    go = threading.Event()
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: None)
    details = SimpleNamespace(method=METHOD)
    aborted: list[tuple[grpc.StatusCode, str]] = []
    context = SimpleNamespace(abort=lambda *status: aborted.append(status))
    with small_pool() as pool:
        interceptor = RefuseWhenFull({METHOD: pool})
        assert interceptor.intercept_service(lambda _details: handler, details) is handler
        pool.submit(go.wait, TIMEOUT_S)
        pool.submit(go.wait, TIMEOUT_S)

        refusal = interceptor.intercept_service(lambda _details: handler, details)

        assert refusal is not None
        refusal.stream_stream(iter(()), context)
        go.set()
    assert aborted == [(grpc.StatusCode.RESOURCE_EXHAUSTED, "two at once are enough")]


def test_a_method_without_a_bound_is_never_refused() -> None:
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: None)
    details = SimpleNamespace(method=METHOD)

    assert RefuseWhenFull({}).intercept_service(lambda _details: handler, details) is handler


def test_closed_pools_take_nothing_more() -> None:
    pools = Pools()
    pools.close()

    for pool in (pools.quick, pools.repository, pools.introspection, pools.fallback, pools.refusal):
        with pytest.raises(RuntimeError):
            pool.submit(print)
