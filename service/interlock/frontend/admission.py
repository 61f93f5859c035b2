"""Decide whether a request may go to its model's scheduler.

Parameters, duplicates, forwarded headers, data, what is wanted of the outputs, then the
model's own rules: steps 2 to 8 of ModelInfer, in Triton's order, since only the first fault
is told. Runs on the thread that read the message, unless `is_costly` says better not.
"""

from collections.abc import Callable, Mapping
from typing import Final

from interlock.domain.datatypes import BYTES
from interlock.domain.errors import InvalidRequestError, UnsupportedError
from interlock.domain.request import InferRequest
from interlock.domain.tensor import ParameterValue, RequestedOutput
from interlock.frontend.request_codec import UnsignedParameter
from interlock.frontend.tensor_codec import decode_contents
from interlock.serving.served_model import ServedModel

# What typed contents, and elements of BYTES, may have in bytes to be checked at once: 100 µs.
CHEAP_BYTES: Final = 4096

_MAX_CORRELATION_ID: Final = 128
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_RESERVED_PREFIX: Final = "triton_"
_EMPTY_FINAL_RESPONSE: Final = "triton_enable_empty_final_response"
_CLASSIFICATION: Final = "classification"
_RESERVED_HEADERS: Final = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
    }
)
_SHARED_MEMORY: Final = frozenset(
    {"shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"}
)

Value = ParameterValue | None


def admit(
    request: InferRequest,
    raw: list[memoryview],
    served: ServedModel,
    *,
    forwarded: Mapping[str, str],
) -> None:
    """Check everything, resolve the data of the inputs, and fill what the scheduler looks at.

    `forwarded` holds the headers that become parameters, keys in lower case. Raise
    InvalidRequestError or UnsupportedError with the first fault.
    """
    if request.parameters:
        _take_parameters(request)
    if len(request.inputs) > 1 or len(request.outputs) > 1:
        served.rules.refuse_duplicates(request)
    if forwarded:
        _forward(request, forwarded)
    _gather(request, raw)
    for output in request.outputs:
        if output.parameters:
            _take_output_parameters(output)
    served.rules.check(request)


def is_costly(request: InferRequest, raw: list[memoryview], served: ServedModel) -> bool:  # noqa: ARG001 what a later rule needs is there
    """Whether `admit` would hold the polling thread up: long typed contents, many elements."""
    costly = 0
    for index, tensor in enumerate(request.inputs):
        if tensor.contents is not None:
            costly += sum(map(len, tensor.contents))
        elif tensor.datatype == BYTES and index < len(raw):
            costly += len(raw[index])
    return costly > CHEAP_BYTES


def _gather(request: InferRequest, raw: list[memoryview]) -> None:
    """Give each input its data: the next raw entry, or what its typed contents hold."""
    given = len(raw)
    for index, tensor in enumerate(request.inputs):
        if tensor.parameters and not _SHARED_MEMORY.isdisjoint(tensor.parameters):
            raise UnsupportedError("shared memory is not implemented by this server")
        if tensor.contents is not None:
            if given:
                raise InvalidRequestError(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{tensor.name}' for model '{request.model_name}'"
                )
            tensor.data = decode_contents(tensor, request.model_name)
            tensor.contents = None
        elif index < given:
            tensor.data = raw[index]
        else:
            raise InvalidRequestError(
                f"unable to find data for input tensor '{tensor.name}' for model "
                f"'{request.model_name}' in request."
            )


def _forward(request: InferRequest, forwarded: Mapping[str, str]) -> None:
    for key in forwarded:
        if key in _RESERVED_HEADERS or key.startswith(_RESERVED_PREFIX):
            raise InvalidRequestError(
                f"Header '{key}' is reserved for Triton usage and cannot be forwarded."
            )
    request.parameters.update(forwarded)


def _take_output_parameters(output: RequestedOutput) -> None:
    parameters: Mapping[str, Value] = output.parameters or {}
    if not _SHARED_MEMORY.isdisjoint(parameters):
        raise UnsupportedError("shared memory is not implemented by this server")
    if _CLASSIFICATION not in parameters:
        return
    classes = parameters[_CLASSIFICATION]
    if type(classes) is not int:
        raise InvalidRequestError(
            "invalid value type for 'classification' parameter, expected int64_param"
        )
    if classes <= 0:
        raise InvalidRequestError("invalid value for 'classification' parameter, expected >= 0")
    output.classes = classes


def _take_parameters(request: InferRequest) -> None:
    """Move what the server itself understands to its place; the rest stays, for the backend."""
    custom: dict[str, ParameterValue] = {}
    for key, value in request.parameters.items():
        take = _TAKERS.get(key)
        if take is not None:
            take(request, key, value)
        elif key.startswith(_RESERVED_PREFIX):
            raise InvalidRequestError(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
                f"following keys starting with 'triton_' are allowed: {_EMPTY_FINAL_RESPONSE}"
            )
        else:
            custom[key] = _custom(key, value)
    request.parameters = custom


def _custom(key: str, value: Value) -> ParameterValue:
    if value is None or type(value) is UnsignedParameter:
        raise _wrong_type(key, "int64_param, bool_param, or string_param")
    return value


def _wrong_type(key: str, expected: str) -> InvalidRequestError:
    return InvalidRequestError(f"invalid value type for '{key}' parameter, expected {expected}.")


def _take_sequence_id(request: InferRequest, key: str, value: Value) -> None:
    if type(value) is int:
        request.sequence_id = value & _MASK64
    elif isinstance(value, str):
        if len(value.encode()) > _MAX_CORRELATION_ID:
            raise UnsupportedError(
                f"string correlation ID cannot be longer than {_MAX_CORRELATION_ID} characters"
            )
        request.sequence_id = value
    else:
        raise _wrong_type(key, "int64_param or string_param")


def _take_sequence_start(request: InferRequest, key: str, value: Value) -> None:
    request.sequence_start = _flag(key, value)


def _take_sequence_end(request: InferRequest, key: str, value: Value) -> None:
    request.sequence_end = _flag(key, value)


def _take_priority(request: InferRequest, key: str, value: Value) -> None:
    if type(value) is not int and type(value) is not UnsignedParameter:
        raise _wrong_type(key, "int64_param or uint64_param")
    if value < 0:
        raise InvalidRequestError("invalid value for 'priority', expected value >= 0.")
    request.priority = int(value)


def _take_timeout(request: InferRequest, key: str, value: Value) -> None:
    if type(value) is not int:
        raise _wrong_type(key, "int64_param")
    # As Triton: the same bits, without a sign.
    request.timeout_us = value & _MASK64


def _take_empty_final_response(request: InferRequest, key: str, value: Value) -> None:  # noqa: ARG001 only decoupled models act on it
    _flag(key, value)


def _flag(key: str, value: Value) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(key, "bool_param")
    return value


_TAKERS: Final[Mapping[str, Callable[[InferRequest, str, Value], None]]] = {
    "sequence_id": _take_sequence_id,
    "sequence_start": _take_sequence_start,
    "sequence_end": _take_sequence_end,
    "priority": _take_priority,
    "timeout": _take_timeout,
    _EMPTY_FINAL_RESPONSE: _take_empty_final_response,
}
