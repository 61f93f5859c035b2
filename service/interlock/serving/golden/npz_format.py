"""Golden requests as NumPy's archives: an array for each tensor, `input:NAME` or `expect:NAME`."""

from collections.abc import Mapping
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
    Array,
    Declared,
    GoldenFileError,
    GoldenRequest,
    GoldenTensor,
    golden_request,
    settings_of,
)

_WIRE: Final = {datatype.dtype: wire for wire, datatype in BY_WIRE.items() if wire != BF16}


def read_npz(path: Path, name: str, declared: Declared) -> GoldenRequest:
    """Return the request in a file. Raise GoldenFileError, or whatever NumPy and the disk do."""
    # Opened here: NumPy leaves a file open whose archive is damaged.
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise GoldenFileError("it holds a single array, not an archive of named ones")
        with archive:
            return _from_arrays(archive, name, declared)


def _from_arrays(arrays: Mapping[str, Array], name: str, declared: Declared) -> GoldenRequest:
    tensors: dict[str, list[GoldenTensor]] = {INPUT: [], EXPECT: []}
    settings: dict[str, object] = {}
    for key in arrays:
        kind, colon, tensor = key.partition(":")
        if colon and tensor and kind in tensors:
            known = declared.inputs if kind == INPUT else declared.outputs
            tensors[kind].append(_from_array(tensor, arrays[key], known.get(tensor)))
        elif key in SETTINGS:
            settings[key] = arrays[key].item()
        else:
            raise GoldenFileError(
                f"it has an array '{key}', and no meaning for it: write {INPUT}:NAME, "
                f"{EXPECT}:NAME or one of {', '.join(SETTINGS)}"
            )
    return golden_request(name, tensors[INPUT], tensors[EXPECT], settings)


def _from_array(name: str, array: Array, declared: str | None) -> GoldenTensor:
    if array.dtype.kind in "SU":
        elements = [
            element.encode() if isinstance(element, str) else bytes(element)
            for element in array.ravel().tolist()
        ]
        return GoldenTensor(name, BYTES, array.shape, encode_elements(elements))
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    wire = _WIRE.get(little.dtype)
    if wire is None:
        raise GoldenFileError(f"'{name}' is of type {array.dtype}, which no tensor can have")
    if declared == BF16 and wire == "UINT16":
        wire = BF16
    return GoldenTensor(name, wire, array.shape, little.tobytes())


def npz_arrays(request: GoldenRequest) -> dict[str, Array]:
    """Return the arrays of a request that has no BYTES; BF16 as 16-bit words."""
    arrays: dict[str, Array] = {
        f"{kind}:{tensor.name}": np.frombuffer(tensor.data, BY_WIRE[tensor.datatype].dtype).reshape(
            tensor.shape
        )
        for kind, tensors in ((INPUT, request.inputs), (EXPECT, request.expected))
        for tensor in tensors
    }
    return arrays | {key: np.array(value) for key, value in settings_of(request).items()}
