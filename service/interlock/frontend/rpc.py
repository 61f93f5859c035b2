"""Make a grpcio handler out of a function: gate, errors, pool.

Every RPC off the hot path is one function from request to response. What surrounds it is
the same for all and stands here once.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from interlock.domain.cause import Actor
from interlock.domain.errors import InternalError, ServiceError
from interlock.frontend.auditing import Asked, CallAudit, NoCallAudit
from interlock.frontend.caller import caller_of
from interlock.frontend.gate import Category, Gate
from interlock.frontend.status import code_of, text_of

log = structlog.get_logger()

_BROKEN: Final = InternalError("the server's own code broke, see its log")

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Answer = TypeVar("_Answer")
_Handler = TypeVar("_Handler", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class WithTrailers(Generic[_Response]):
    """A response with metadata that goes behind it."""

    response: _Response
    trailers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its full name, and what answers each of its methods."""

    name: str
    handlers: Mapping[str, grpc.RpcMethodHandler]


def in_pool(handler: _Handler, pool: ThreadPoolExecutor) -> _Handler:
    """Say which pool runs a handler; grpcio reads it from this attribute."""
    handler.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return handler


def pool_of(handler: grpc.RpcMethodHandler) -> ThreadPoolExecutor | None:
    """Return the pool that `in_pool` named for a handler."""
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
    pool: ThreadPoolExecutor | None = getattr(behaviour, "experimental_thread_pool", None)
    return pool


def abort(context: grpc.ServicerContext, error: ServiceError) -> NoReturn:
    """End the call with the status of the error."""
    context.abort(code_of(error), text_of(error))
    raise AssertionError("grpcio's abort raises")


class Guard:
    """Stands in front of every RPC off the hot path. Any thread."""

    def __init__(
        self,
        gate: Gate,
        *,
        before_reply: Callable[[], None] | None = None,
        audit: CallAudit | None = None,
    ) -> None:
        self._gate = gate
        self._audit = audit or NoCallAudit()
        self._before_reply = before_reply

    def unary(
        self,
        answer: Callable[[_Request], _Response | WithTrailers[_Response]],
        *,
        request: type[_Request],
        category: Category,
        pool: ThreadPoolExecutor,
        asked: Callable[[_Request], Asked] | None = None,
    ) -> grpc.RpcMethodHandler:
        """Make the handler of a method that takes one message and answers one."""
        return self._handler(self.checked(answer, category, asked=asked), request, pool)

    def changing(
        self,
        answer: Callable[[_Request, Actor], _Response | WithTrailers[_Response]],
        *,
        request: type[_Request],
        category: Category,
        pool: ThreadPoolExecutor,
        asked: Callable[[_Request], Asked],
    ) -> grpc.RpcMethodHandler:
        """Make the handler of a method that changes what is served, and is told who asks."""
        key_name = self._gate.key_name(category)

        def audited(
            message: _Request, context: grpc.ServicerContext
        ) -> _Response | WithTrailers[_Response]:
            who = caller_of(context, key_name)
            try:
                response = answer(message, who)
            except Exception as error:
                failure = error if isinstance(error, ServiceError) else _BROKEN
                self._audit.answered(asked(message), who, failure)
                raise
            self._audit.answered(asked(message), who, None)
            return response

        return self._handler(self._guarded(audited, category, asked), request, pool)

    def _handler(
        self,
        call: Callable[[_Request, grpc.ServicerContext], _Response | WithTrailers[_Response]],
        request: type[_Request],
        pool: ThreadPoolExecutor,
    ) -> grpc.RpcMethodHandler:
        def handle(message: _Request, context: grpc.ServicerContext) -> _Response:
            response = call(message, context)
            if self._before_reply is not None:
                self._before_reply()
            if isinstance(response, WithTrailers):
                context.set_trailing_metadata(tuple(response.trailers.items()))
                return response.response
            return response

        return grpc.unary_unary_rpc_method_handler(
            in_pool(handle, pool),
            request_deserializer=request.FromString,
            response_serializer=_serialize,
        )

    def checked(
        self,
        answer: Callable[[_Request], _Answer],
        category: Category,
        *,
        asked: Callable[[_Request], Asked] | None = None,
    ) -> Callable[[_Request, grpc.ServicerContext], _Answer]:
        """Put the gate before and the translation of errors around `answer`.

        With `asked`, the audit log tells of the calls that the gate refuses.
        """
        return self._guarded(lambda message, _context: answer(message), category, asked)

    def _guarded(
        self,
        answer: Callable[[_Request, grpc.ServicerContext], _Answer],
        category: Category,
        asked: Callable[[_Request], Asked] | None,
    ) -> Callable[[_Request, grpc.ServicerContext], _Answer]:
        def call(message: _Request, context: grpc.ServicerContext) -> _Answer:
            try:
                self._check(message, context, category, asked)
                return answer(message, context)
            except ServiceError as error:
                refused = error
            except Exception as error:  # the edge of an RPC
                log.exception(
                    "a request broke the server's own code", request=type(message).__name__
                )
                refused = InternalError(f"internal error: {type(error).__name__}")
            # Outside of the clauses above: grpcio's abort raises a bare Exception.
            abort(context, refused)

        return call

    def _check(
        self,
        message: _Request,
        context: grpc.ServicerContext,
        category: Category,
        asked: Callable[[_Request], Asked] | None,
    ) -> None:
        """Let the call pass, or raise ServiceError."""
        try:
            self._gate.check(category, context.invocation_metadata())
        except ServiceError as error:
            if asked is not None:
                # Whatever key it has shown, it was not the right one.
                self._audit.refused(asked(message), caller_of(context, ""), error)
            raise


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
