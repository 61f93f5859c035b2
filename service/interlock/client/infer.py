"""Send a ModelInfer and read its answer."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from interlock.client.calls import Client
from interlock.client.plain import plain
from interlock.client.tensor_text import Array, RawTensor
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.pb import grpc_service_pb2 as pb

ParameterValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InferCall:
    """What to ask. `classes` asks for the best so many classes of each output in `outputs`."""

    model: str
    inputs: Sequence[RawTensor]
    version: str = ""
    id: str = ""
    outputs: Sequence[str] = ()
    classes: int = 0
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputArray:
    """One output; BYTES is an array of `bytes`, BF16 one of float32."""

    name: str
    datatype: str
    array: Array


@dataclass(frozen=True, slots=True)
class InferAnswer:
    model: str
    version: str
    id: str
    parameters: Mapping[str, object]
    outputs: tuple[OutputArray, ...]


def _set(parameter: pb.InferParameter, value: ParameterValue) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int():
            parameter.int64_param = value
        case float():
            parameter.double_param = value
        case str():
            parameter.string_param = value


def _request(call: InferCall) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=call.model, model_version=call.version, id=call.id)
    for tensor in call.inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.data)
    for name in call.outputs:
        output = request.outputs.add(name=name)
        if call.classes:
            output.parameters["classification"].int64_param = call.classes
    for key, value in call.parameters.items():
        _set(request.parameters[key], value)
    return request


def _elements(data: bytes) -> list[bytes]:
    """Take the raw form of BYTES apart."""
    elements, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place)
        elements.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return elements


def _array(datatype: str, shape: Sequence[int], data: bytes) -> Array:
    if datatype == BYTES:
        array = np.empty(len(elements := _elements(data)), dtype=object)
        array[:] = elements
        return array.reshape(shape)
    flat = np.frombuffer(data, BY_WIRE[datatype].dtype)
    if datatype == "BF16":
        return (flat.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return flat.reshape(shape)


def infer(client: Client, call: InferCall) -> InferAnswer:
    answer = client.call("ModelInfer", _request(call), pb.ModelInferResponse)
    outputs = [
        OutputArray(output.name, output.datatype, _array(output.datatype, output.shape, data))
        for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ]
    parameters = {
        name: next(iter(plain(answer.parameters[name]).values()), None)
        for name in answer.parameters
    }
    return InferAnswer(
        answer.model_name, answer.model_version, answer.id, parameters, tuple(outputs)
    )
