"""Compare our reader with protobuf's, message by message."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from interlock.domain.datatypes import BY_WIRE
from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import InputTensor
from interlock.frontend.request_codec import UnsignedParameter, parse_request
from interlock.frontend.tensor_codec import decode_contents
from interlock.frontend.wire_format import MalformedMessageError
from interlock.pb import grpc_service_pb2 as pb

CONTENTS = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT32", "INT8", "INT16"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT32", "UINT8", "UINT16"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}
DATATYPES = [datatype for group in CONTENTS.values() for datatype in group]
ALREADY = "binary data was already supplied."


def difference(message: bytes) -> str | None:
    """Say how we and protobuf read a message differently, `None` where we do not."""
    theirs = read_by_protobuf(message)
    for _ in range(2):  # what was read before is remembered
        ours = read_by_us(message)
        if ours != theirs:
            return f"{message.hex()}\nprotobuf: {theirs}\nours:     {ours}"
    return None


def read_by_protobuf(message: bytes) -> Any:
    try:
        request = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        return "refused"
    return (
        request.model_name,
        request.model_version,
        request.id,
        _their_parameters(request.parameters),
        [
            (
                tensor.name,
                tensor.datatype,
                tuple(tensor.shape),
                _their_parameters(tensor.parameters),
                _their_contents(tensor) if tensor.HasField("contents") else None,
            )
            for tensor in request.inputs
        ],
        [(output.name, _their_parameters(output.parameters)) for output in request.outputs],
        list(request.raw_input_contents),
    )


def read_by_us(message: bytes) -> Any:
    try:
        request, raw = parse_request(message)
        inputs = [
            (
                tensor.name,
                tensor.datatype,
                tensor.shape,
                _our_parameters(tensor.parameters or {}),
                _our_contents(tensor) if tensor.contents is not None else None,
            )
            for tensor in request.inputs
        ]
    except MalformedMessageError:
        return "refused"
    return (
        request.model_name,
        request.model_version,
        request.id,
        _our_parameters(request.parameters),
        inputs,
        [(output.name, _our_parameters(output.parameters or {})) for output in request.outputs],
        [bytes(entry) for entry in raw],
    )


def _their_parameters(parameters: Mapping[str, pb.InferParameter]) -> Any:
    return {key: _their_parameter(parameter) for key, parameter in parameters.items()}


def _their_parameter(parameter: pb.InferParameter) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        return None
    value = getattr(parameter, kind)
    return kind, struct.pack("<d", value) if kind == "double_param" else value


def _our_parameters(parameters: Mapping[str, Any]) -> Any:
    return {key: _our_parameter(value) for key, value in parameters.items()}


def _our_parameter(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, float):
        return "double_param", struct.pack("<d", value)
    kinds = {
        bool: "bool_param",
        int: "int64_param",
        str: "string_param",
        UnsignedParameter: "uint64_param",
    }
    return kinds[type(value)], value


def _datatypes(tensor: Any) -> list[str]:
    """The declared one, and a third of the others: another third for every length of the name."""
    return [tensor.datatype, *DATATYPES[len(tensor.name) % 3 :: 3]]


def _our_contents(tensor: InputTensor) -> list[Any]:
    return [_decoded(tensor, datatype) for datatype in _datatypes(tensor)]


def _decoded(tensor: InputTensor, datatype: str) -> Any:
    as_if = InputTensor(tensor.name, datatype, tensor.shape, contents=tensor.contents)
    try:
        decoded = bytes(decode_contents(as_if, "m"))
        return _same_nan(decoded) if datatype == "FP32" else decoded
    except MalformedMessageError:
        raise
    except InvalidRequestError as error:
        return str(error).split("model 'm'")[1]


def _their_contents(tensor: Any) -> list[Any]:
    return [_encoded(tensor.contents, datatype) for datatype in _datatypes(tensor)]


def _encoded(contents: Any, datatype: str) -> Any:
    filled = [field for field in CONTENTS if len(getattr(contents, field))]
    if not filled:
        return b""
    declared = datatype if datatype in BY_WIRE else "<invalid>"
    if declared not in CONTENTS[filled[0]]:
        implied = CONTENTS[filled[0]][0]
        return f" of type '{implied}', expected datatype '{declared}'"
    if len(filled) > 1:
        return f", {ALREADY}"
    values = getattr(contents, filled[0])
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    # Wide first: from Python's numbers NumPy would refuse what does not fit.
    wide = {"f": np.float64, "i": np.int64, "u": np.uint64, "b": np.bool_}
    dtype = BY_WIRE[datatype].dtype
    if datatype == "FP32":
        return _same_nan(np.array(list(values), "<f4").tobytes())
    return np.array(list(values), wide[dtype.kind]).astype(dtype).tobytes()


def _same_nan(data: bytes) -> bytes:
    """Give all NaN the same bits: Python's float, as protobuf returns it, does not keep them."""
    values = np.frombuffer(data, "<f4")
    return np.where(np.isnan(values), np.float32(np.nan), values).tobytes()
