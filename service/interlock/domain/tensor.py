"""Tensors as they stand on the wire: raw bytes with a name, a datatype and a shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ParameterValue = bool | int | float | str
Buffer = bytes | memoryview


@dataclass(slots=True)
class InputTensor:
    """One input of a request.

    `data` is the raw form: little-endian, row-major, contiguous; for BYTES each element
    behind its length as 4 bytes. It is a view of the message wherever that is possible.
    `contents` is what the client sent instead: the parts of a serialized InferTensorContents,
    one as a rule, still to be decoded; `None` once `data` holds the tensor.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer = b""
    contents: tuple[memoryview, ...] | None = None
    parameters: Mapping[str, ParameterValue | None] | None = None


@dataclass(slots=True)
class RequestedOutput:
    """An output that the client asked for. `classes` is 0 where it wants the tensor itself."""

    name: str
    classes: int = 0
    parameters: Mapping[str, ParameterValue | None] | None = None


@dataclass(slots=True)
class OutputTensor:
    """One output of a response; `data` as in `InputTensor`, C-contiguous."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
