"""Write ModelInferResponse and ModelStreamInferResponse as bytes.

The tensors are copied once, when everything is joined. What does not change from answer to
answer is kept: a version's own fields, and the description of an output.
"""

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final

from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import Buffer, OutputTensor, ParameterValue
from interlock.frontend.classification import classify
from interlock.frontend.wire_format import MORE
from interlock.serving.served_model import ServedModel

MAX_RESPONSE_BYTES: Final = 0x7FFF_FFFF

# Tags: the number of the field, times 8, plus the wire type.
_MODEL_NAME: Final = b"\x0a"
_MODEL_VERSION: Final = b"\x12"
_ID: Final = b"\x1a"
_PARAMETERS: Final = b"\x22"
_OUTPUTS: Final = b"\x2a"
_RAW: Final = b"\x32"

_NAME: Final = b"\x0a"
_DATATYPE: Final = b"\x12"
_SHAPE: Final = b"\x1a"

_KEY: Final = b"\x0a"
_VALUE: Final = b"\x12"
_BOOL: Final = b"\x08"
_INT64: Final = b"\x10"
_STRING: Final = b"\x1a"
_DOUBLE: Final = b"\x21"
_UINT64: Final = b"\x28"

_ERROR_MESSAGE: Final = b"\x0a"
_INFER_RESPONSE: Final = b"\x12"

_pack_double: Final = Struct("<d").pack
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(MORE))
_TWO_BYTES: Final = MORE * MORE
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF

_FINAL_RESPONSE: Final = "triton_final_response"

_MEMO_ENTRIES: Final = 1024
_versions_seen: dict[tuple[str, str], bytes] = {}
_outputs_seen: dict[tuple[str, str, tuple[int, ...]], bytes] = {}


def encode_response(
    request: InferRequest, model: ServedModel, response: InferResponse, *, streaming: bool
) -> bytes:
    """Return the answer to `request`: the outputs that it asked for, in the client's shapes.

    A streamed answer is marked as the final one, and wrapped. Raise InvalidRequestError for
    a classification that is not possible, or an answer larger than gRPC can carry.
    """
    outputs: Sequence[OutputTensor] = response.outputs
    if request.outputs or model.rules.reshapes_outputs:
        outputs = _as_requested(request, model, outputs)
    parts: list[Buffer] = [_of_version(model)]
    if request.id:
        parts.append(_text(_ID, request.id))
    if streaming or response.parameters:
        parts += (_parameters(response.parameters), _FINAL if streaming else b"")
    tensors: list[Buffer] = []
    tensor_bytes = 0
    for output in outputs:
        parts.append(_description(output))
        data = output.data
        # A view may be of elements wider than a byte.
        size = data.nbytes if type(data) is memoryview else len(data)
        tensor_bytes += size
        tensors += (_RAW + _varint(size), data)
    if streaming:
        size = tensor_bytes + _head_bytes(parts, tensors)
        parts.insert(0, _INFER_RESPONSE + _varint(size))
    if tensor_bytes > MAX_RESPONSE_BYTES:  # Known without joining them.
        raise _too_large(tensor_bytes + _head_bytes(parts, tensors))
    message = b"".join(parts + tensors)
    if len(message) > MAX_RESPONSE_BYTES:
        raise _too_large(len(message))
    return message


def encode_stream_error(
    message: str,
    *,
    id: str,  # noqa: A002 the field's own name
    model_name: str = "",
    model_version: str = "",
    final: bool | None = None,
) -> bytes:
    """Return an error inside a stream; `final` is None for a request that never reached a model."""
    inner = b"".join(
        (
            _text(_MODEL_NAME, model_name) if model_name else b"",
            _text(_MODEL_VERSION, model_version) if model_version else b"",
            _text(_ID, id) if id else b"",
            b"" if final is None else _parameters({_FINAL_RESPONSE: final}),
        )
    )
    return _text(_ERROR_MESSAGE, message) + _INFER_RESPONSE + _varint(len(inner)) + inner


def _head_bytes(parts: Sequence[Buffer], tensors: Sequence[Buffer]) -> int:
    """How long everything is but the data, which is every second of `tensors`."""
    return sum(map(len, parts)) + sum(map(len, tensors[::2]))


def _too_large(size: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"Response has byte size {size} which exceeds gRPC's byte size limit {MAX_RESPONSE_BYTES}."
    )


def _varint(number: int) -> bytes:
    if number < MORE:
        return _ONE_BYTE[number]
    if number < _TWO_BYTES:
        return bytes((number & 0x7F | MORE, number >> 7))
    encoded = bytearray()
    while number >= MORE:
        encoded.append(number & 0x7F | MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _text(tag: bytes, text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        # A file's name, and so an error, may hold what UTF-8 cannot say.
        encoded = text.encode(errors="replace")
    size = len(encoded)
    return tag + (_ONE_BYTE[size] if size < MORE else _varint(size)) + encoded


def _of_version(model: ServedModel) -> bytes:
    key = (model.key.model, model.version_text)
    known = _versions_seen.get(key)
    if known is None:
        known = _text(_MODEL_NAME, key[0]) + _text(_MODEL_VERSION, key[1])
        if len(_versions_seen) >= _MEMO_ENTRIES:
            _versions_seen.clear()
        _versions_seen[key] = known
    return known


def _description(output: OutputTensor) -> bytes:
    if output.parameters:
        return _described(output)
    key = (output.name, output.datatype, output.shape)
    known = _outputs_seen.get(key)
    if known is None:
        known = _described(output)
        if len(_outputs_seen) >= _MEMO_ENTRIES:
            _outputs_seen.clear()
        _outputs_seen[key] = known
    return known


def _described(output: OutputTensor) -> bytes:
    shape = b"".join([_varint(size & _MASK64) for size in output.shape])
    description = b"".join(
        (
            _text(_NAME, output.name),
            _text(_DATATYPE, output.datatype),
            _SHAPE + _varint(len(shape)) + shape if shape else b"",
            _parameters(output.parameters),
        )
    )
    return _OUTPUTS + _varint(len(description)) + description


def _parameters(parameters: Mapping[str, ParameterValue]) -> bytes:
    entries: list[bytes] = []
    for key, value in parameters.items():
        encoded = _parameter(key, value)
        entry = b"".join((_text(_KEY, key), _VALUE, _varint(len(encoded)), encoded))
        entries += (_PARAMETERS, _varint(len(entry)), entry)
    return b"".join(entries)


def _parameter(key: str, value: ParameterValue) -> bytes:
    if isinstance(value, bool):
        return _BOOL + _ONE_BYTE[value]
    if isinstance(value, str):
        return _text(_STRING, value)
    if isinstance(value, float):
        return _DOUBLE + _pack_double(value)
    if -(2**63) <= value < 2**63:
        return _INT64 + _varint(value & _MASK64)
    if value <= _MASK64 and value > 0:
        return _UINT64 + _varint(value)
    raise InternalError(f"response parameter '{key}' does not fit into 64 bits")


_FINAL: Final = _parameters({_FINAL_RESPONSE: True})


def _reshaped(model: ServedModel, outputs: Sequence[OutputTensor]) -> list[OutputTensor]:
    return [
        OutputTensor(
            output.name,
            output.datatype,
            model.rules.output_shape(output.name, output.shape),
            output.data,
            output.parameters,
        )
        for output in outputs
    ]


def _as_requested(
    request: InferRequest, model: ServedModel, outputs: Sequence[OutputTensor]
) -> Sequence[OutputTensor]:
    if model.rules.reshapes_outputs:
        outputs = _reshaped(model, outputs)
    wanted = request.outputs
    if not wanted:
        return outputs
    if len(wanted) == len(outputs) == 1:
        first = wanted[0]
        if first.classes == 0 and first.name == outputs[0].name:
            return outputs
    classes = {output.name: output.classes for output in wanted}
    return [
        classify(model, output, count) if (count := classes[output.name]) else output
        for output in outputs
        if output.name in classes
    ]
