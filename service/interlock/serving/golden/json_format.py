"""Golden requests as JSON, for people to write and for BYTES, which NumPy's files cannot hold."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.serving.golden.request import (
    BF16,
    EXPECT,
    INPUT,
    SETTINGS,
    Declared,
    GoldenFileError,
    GoldenRequest,
    GoldenTensor,
    array_of,
    golden_request,
    settings_of,
)

_BASE64: Final = "base64"
_BOUNDLESS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_json(path: Path, name: str, declared: Declared) -> GoldenRequest:
    """Return the request in a file. Raise GoldenFileError, or OSError."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise GoldenFileError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise GoldenFileError("it must be a JSON object")
    unknown = document.keys() - {INPUT, EXPECT, *SETTINGS}
    if unknown:
        raise GoldenFileError(
            f"it has '{min(unknown)}', and no meaning for it: write {INPUT}, {EXPECT} or one of "
            f"{', '.join(SETTINGS)}"
        )
    return golden_request(
        name,
        _json_tensors(document.get(INPUT, {}), INPUT, declared.inputs),
        _json_tensors(document.get(EXPECT, {}), EXPECT, declared.outputs),
        {key: document[key] for key in SETTINGS if key in document},
    )


def _json_tensors(given: object, kind: str, declared: Mapping[str, str]) -> list[GoldenTensor]:
    if not isinstance(given, dict):
        raise GoldenFileError(f"'{kind}' must be an object: a tensor for each name")
    return [_json_tensor(name, value, declared.get(name)) for name, value in given.items()]


def _json_tensor(name: str, given: object, declared: str | None) -> GoldenTensor:
    fields = given if isinstance(given, dict) else {"data": given}
    if "data" not in fields or fields.keys() - {"data", "datatype", "shape"}:
        raise GoldenFileError(f"'{name}' must have data, and may have datatype and shape")
    datatype = fields.get("datatype", declared)
    if not isinstance(datatype, str) or datatype not in BY_WIRE:
        known = "the model has no such tensor" if datatype is None else f"{datatype} is none"
        raise GoldenFileError(f"'{name}' needs a datatype: {known}")
    elements, natural = _flat(name, fields["data"])
    shape = _shape(name, fields.get("shape"), natural)
    if math.prod(shape) != len(elements):
        raise GoldenFileError(
            f"'{name}' of shape {list(shape)} must have {math.prod(shape)} elements, not "
            f"{len(elements)}"
        )
    return GoldenTensor(name, datatype, shape, _raw(name, datatype, elements))


def _flat(name: str, data: object) -> tuple[list[object], tuple[int, ...]]:
    """Return the elements of nested lists, row by row, and the shape that the nesting gives."""
    elements: list[object] = [data]
    shape: list[int] = []
    while elements and isinstance(elements[0], list):
        rows = [row for row in elements if isinstance(row, list)]
        lengths = {len(row) for row in rows}
        if len(rows) != len(elements) or len(lengths) > 1:
            raise GoldenFileError(f"the lists of '{name}' are not all of one length")
        shape.append(lengths.pop())
        elements = [element for row in rows for element in row]
    return elements, tuple(shape)


def _shape(name: str, given: object, natural: tuple[int, ...]) -> tuple[int, ...]:
    if given is None:
        return natural
    if not isinstance(given, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in given
    ):
        raise GoldenFileError(f"the shape of '{name}' must be a list of sizes")
    return tuple(given)


def _raw(name: str, datatype: str, elements: Sequence[object]) -> bytes:
    if datatype == BYTES:
        return encode_elements([_bytes(name, element) for element in elements])
    dtype = np.dtype("<f4") if datatype == BF16 else BY_WIRE[datatype].dtype
    convert = _CONVERTERS[dtype.kind]
    try:
        with np.errstate(over="ignore"):
            array = np.array([convert(element) for element in elements], dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise GoldenFileError(f"'{name}' is of {datatype}: {error}") from error
    if datatype == BF16:
        return (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.tobytes()


def _bytes(name: str, element: object) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, dict) and element.keys() == {_BASE64}:
        try:
            return base64.b64decode(element[_BASE64], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise GoldenFileError(f"'{name}' has an element that is no base64") from error
    raise GoldenFileError(f'\'{name}\' is of BYTES: write texts, or {{"{_BASE64}": "..."}}')


def _boolean(element: object) -> object:
    if isinstance(element, bool):
        return element
    raise TypeError(f"{element!r} is neither true nor false")


def _integer(element: object) -> object:
    if isinstance(element, int) and not isinstance(element, bool):
        return element
    raise TypeError(f"{element!r} is no integer")


def _number(element: object) -> object:
    if isinstance(element, str) and element in _BOUNDLESS:
        return _BOUNDLESS[element]
    if isinstance(element, int | float) and not isinstance(element, bool):
        return element
    raise TypeError(f"{element!r} is no number")


_CONVERTERS: Final[Mapping[str, Callable[[object], object]]] = {
    "b": _boolean,
    "i": _integer,
    "u": _integer,
    "f": _number,
}


def json_text(request: GoldenRequest) -> str:
    """Return the file of a request."""
    document: dict[str, object] = {**settings_of(request)}
    for kind, tensors in ((INPUT, request.inputs), (EXPECT, request.expected)):
        document[kind] = {
            tensor.name: {
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "data": [
                    _plain(element)
                    for element in array_of(tensor.datatype, tensor.shape, tensor.data)
                    .ravel()
                    .tolist()
                ],
            }
            for tensor in tensors
        }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(element: object) -> object:
    if isinstance(element, bytes):
        try:
            return element.decode()
        except UnicodeDecodeError:
            return {_BASE64: base64.b64encode(element).decode()}
    if isinstance(element, float) and not math.isfinite(element):
        return next(
            word
            for word, value in _BOUNDLESS.items()
            if value == element or (math.isnan(value) and math.isnan(element))
        )
    return element
