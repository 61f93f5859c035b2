"""Read a ModelInferRequest from its bytes, without a copy of any tensor.

This is the hottest code of the server, so it knows the wire format itself. It means what
protobuf means: fields in any order, the last of several, unknown ones passed over, parts of
one message joined. Whether the request makes sense is `admission`'s business.

Clients send the same few inputs and outputs again and again, and only the id and the data
change. So what a short input, output or parameter came to is kept by its bytes; only values
that cannot change are kept.
"""

from struct import Struct
from types import MappingProxyType
from typing import Final, TypeVar, cast

from interlock.domain.request import InferRequest
from interlock.domain.tensor import InputTensor, ParameterValue, RequestedOutput
from interlock.frontend.wire_format import (
    FIRST_TAG,
    LENGTH_DELIMITED,
    MORE,
    MalformedMessageError,
    ends_inside_field,
    fields,
    malformed,
    read_field,
    read_size,
    read_varint,
    signed,
)

Parameters = dict[str, ParameterValue | None]


class UnsignedParameter(int):
    """A parameter that came as uint64_param, which few places take. One that is unset is None."""

    __slots__ = ()


# Tags: the number of the field, times 8, plus the wire type.
_MODEL_NAME: Final = 0x0A
_MODEL_VERSION: Final = 0x12
_ID: Final = 0x1A
_PARAMETERS: Final = 0x22
_INPUTS: Final = 0x2A
_OUTPUTS: Final = 0x32
_RAW: Final = 0x3A

_ONE_BYTE_TAG: Final = 0x87  # Of a tag: whether it goes on, and the wire type.

# Of an input; the first is an output's and a map entry's as well.
_NAME: Final = 0x0A
_DATATYPE: Final = 0x12
_SHAPE: Final = 0x18
_SHAPE_PACKED: Final = 0x1A
_INPUT_PARAMETERS: Final = 0x22
_CONTENTS: Final = 0x2A
_OUTPUT_PARAMETERS: Final = 0x12

_KEY: Final = 0x0A
_VALUE: Final = 0x12
_BOOL: Final = 0x08
_INT64: Final = 0x10
_STRING: Final = 0x1A
_DOUBLE: Final = 0x21
_UINT64: Final = 0x28

_read_double: Final = Struct("<d").unpack_from

_SMALL: Final = 16 << 10
"""What may be read at once, on the polling thread, in bytes that are not tensor data."""
_FEW_FIELDS: Final = 256

_MEMO_ENTRIES: Final = 1024
_MEMO: Final = 257  # Longer ones are not kept,
_MEMO_DEPTH: Final = 1  # nor what is deeper in the message, where less may be nested.
_Frozen = MappingProxyType[str, ParameterValue | None]
_InputFields = tuple[
    str, str, tuple[int, ...], bytes, tuple[memoryview, ...] | None, _Frozen | None
]
_OutputFields = tuple[str, int, _Frozen | None]
_Fields = TypeVar("_Fields")
_inputs_seen: dict[bytes, _InputFields] = {}
_outputs_seen: dict[bytes, _OutputFields] = {}
_entries_seen: dict[bytes, tuple[str, ParameterValue | None]] = {}


def parse_request(message: bytes) -> tuple[InferRequest, list[memoryview]]:
    """Return the request and its raw_input_contents, which are views of the message.

    Raise MalformedMessageError where protobuf would refuse the message. The insides of
    typed contents are left to `tensor_codec`, which may take long.
    """
    try:
        return _parse(message)
    except IndexError:
        raise ends_inside_field(len(message)) from None


def is_costly_to_parse(message: bytes) -> bool:
    """Whether reading the message may take long: it is large, and not for its tensors.

    Two bytes can be a field, and a field costs a microsecond. A client that means well
    sends a few dozen, whatever the size of its tensors.
    """
    end = len(message)
    if end <= _SMALL:
        return False
    position = structure = 0
    try:
        for _ in range(_FEW_FIELDS):
            if position >= end:
                return structure > _SMALL
            tag, start, stop = read_field(message, position, end, depth=0)
            structure += start - position if tag == _RAW else stop - position
            position = stop
    except (IndexError, MalformedMessageError):
        # Broken further on; what stands before that is what reading it will cost.
        return structure > _SMALL
    return True


# One flat loop, the hottest of the server: each call in it would cost a tenth of it.
def _parse(  # noqa: C901, PLR0912, PLR0915
    message: bytes,
) -> tuple[InferRequest, list[memoryview]]:
    model_name = model_version = request_id = ""
    parameters: Parameters = {}
    inputs: list[InputTensor] = []
    outputs: list[RequestedOutput] = []
    raw: list[memoryview] = []
    view = memoryview(message)
    position = 0
    end = len(message)
    while position < end:
        tag = message[position]
        if tag & _ONE_BYTE_TAG == LENGTH_DELIMITED:
            size = message[position + 1]
            start = position + 2
            if size >= MORE:
                size, start = read_size(message, position + 1)
            stop = start + size
            if stop > end or tag < FIRST_TAG:
                read_field(message, position, end, depth=0)  # which says what is wrong
            position = stop
        else:
            tag, start, position = read_field(message, position, end, depth=0)
        if tag == _INPUTS:
            known = _inputs_seen.get(message[start:position]) if position - start < _MEMO else None
            inputs.append(InputTensor(*(known or _parse_input(message, view, start, position))))
        elif tag == _RAW:
            raw.append(view[start:position])
        elif tag == _OUTPUTS:
            wanted = (
                _outputs_seen.get(message[start:position]) if position - start < _MEMO else None
            )
            outputs.append(RequestedOutput(*(wanted or _parse_output(message, start, position))))
        elif tag == _MODEL_NAME:
            model_name = _text(message, start, position)
        elif tag == _ID:
            request_id = _text(message, start, position)
        elif tag == _MODEL_VERSION:
            model_version = _text(message, start, position)
        elif tag == _PARAMETERS:
            entry = _entries_seen.get(message[start:position]) if position - start < _MEMO else None
            if entry is None:
                _parse_parameter(message, start, position, parameters, depth=1)
            else:
                parameters[entry[0]] = entry[1]
    # Admission refuses what is None before anybody else sees the parameters.
    set_parameters = cast("dict[str, ParameterValue]", parameters)
    return InferRequest(model_name, model_version, request_id, set_parameters, inputs, outputs), raw


def _text(message: bytes, start: int, stop: int) -> str:
    try:
        return message[start:stop].decode()
    except UnicodeDecodeError as error:
        raise malformed("a string that is not UTF-8", start + error.start) from None


def _parse_input(message: bytes, view: memoryview, start: int, stop: int) -> _InputFields:
    name = datatype = ""
    shape: list[int] = []
    contents: list[memoryview] = []
    parameters: Parameters = {}
    for tag, first, last in fields(message, start, stop, depth=1):
        if tag == _NAME:
            name = _text(message, first, last)
        elif tag == _DATATYPE:
            datatype = _text(message, first, last)
        elif tag in (_SHAPE, _SHAPE_PACKED):
            _extend_shape(shape, message, first, last)
        elif tag == _INPUT_PARAMETERS:
            _parse_parameter(message, first, last, parameters, depth=2)
        elif tag == _CONTENTS:
            contents.append(view[first:last])
    frozen = MappingProxyType(parameters) if parameters else None
    parsed = (name, datatype, tuple(shape), b"", tuple(contents) or None, frozen)
    if stop - start < _MEMO and not contents:
        _remember(_inputs_seen, message[start:stop], parsed)
    return parsed


def _extend_shape(shape: list[int], message: bytes, position: int, stop: int) -> None:
    while position < stop:
        size, position = read_varint(message, position)
        shape.append(signed(size))
    if position > stop:
        raise ends_inside_field(stop)


def _parse_output(message: bytes, start: int, stop: int) -> _OutputFields:
    name = ""
    parameters: Parameters = {}
    for tag, first, last in fields(message, start, stop, depth=1):
        if tag == _NAME:
            name = _text(message, first, last)
        elif tag == _OUTPUT_PARAMETERS:
            _parse_parameter(message, first, last, parameters, depth=2)
    parsed = (name, 0, MappingProxyType(parameters) if parameters else None)
    if stop - start < _MEMO:
        _remember(_outputs_seen, message[start:stop], parsed)
    return parsed


def _remember(seen: dict[bytes, _Fields], key: bytes, parsed: _Fields) -> None:
    # Any thread may come here: each step is one that the interpreter does not interrupt.
    if len(seen) >= _MEMO_ENTRIES:
        seen.clear()
    seen[key] = parsed


def _parse_parameter(
    message: bytes, start: int, stop: int, parameters: Parameters, *, depth: int
) -> None:
    """Add one entry of a parameter map; `depth` is that of the entry."""
    key = ""
    value: ParameterValue | None = None
    whole = True
    for tag, first, last in fields(message, start, stop, depth=depth):
        if tag == _KEY:
            key = _text(message, first, last)
        elif tag == _VALUE:
            value = _parse_value(message, first, last, value, depth=depth + 1)
        else:
            whole = False
    if not whole:
        return  # upb takes an entry with an unknown field for unknown as a whole.
    parameters[key] = value
    if depth == _MEMO_DEPTH and stop - start < _MEMO:
        _remember(_entries_seen, message[start:stop], (key, value))


def _parse_value(
    message: bytes, start: int, stop: int, value: ParameterValue | None, *, depth: int
) -> ParameterValue | None:
    """Return what the last field says; `value` where there is none."""
    for tag, first, last in fields(message, start, stop, depth=depth):
        if tag == _INT64:
            value = signed(read_varint(message, first)[0])
        elif tag == _STRING:
            value = _text(message, first, last)
        elif tag == _BOOL:
            value = read_varint(message, first)[0] != 0
        elif tag == _DOUBLE:
            (value,) = _read_double(message, first)
        elif tag == _UINT64:
            value = UnsignedParameter(read_varint(message, first)[0])
    return value
