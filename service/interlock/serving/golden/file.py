"""Find, read and write the files of golden requests, whatever their format.

docs/golden.md describes them. What a file does not say of its tensors' datatypes the
model's configuration says.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from interlock.domain.datatypes import BYTES
from interlock.repository.layout import is_inside
from interlock.serving.golden.json_format import json_text, read_json
from interlock.serving.golden.npz_format import npz_arrays, read_npz
from interlock.serving.golden.request import Declared, GoldenFileError, GoldenRequest
from interlock.serving.load_job import Inside

log = structlog.get_logger()

_FOLDER: Final = "golden"
_NPZ: Final = ".npz"
_JSON: Final = ".json"


def golden_files(model_directory: Path, version: int) -> Sequence[Path]:
    """Return the files of a version's golden requests: those of all versions, then its own.

    Hidden ones are drafts. Raise GoldenFileError where it cannot be told what there is.
    """
    folders = (model_directory / _FOLDER, model_directory / str(version) / _FOLDER)
    return [path for folder in folders for path in _files_in(folder)]


def read_golden(
    path: Path, declared: Declared, *, model_directory: Path, inside: Inside = is_inside
) -> GoldenRequest:
    """Read one file. Raise GoldenFileError, whatever is wrong with it."""
    name = str(path.relative_to(model_directory))
    try:
        _check_place(path, model_directory, inside)
        return (read_npz if path.suffix == _NPZ else read_json)(path, name, declared)
    except GoldenFileError as error:
        raise GoldenFileError(f"golden file '{name}' cannot be used: {error}") from error
    except Exception as error:  # a damaged archive makes NumPy raise all sorts of things
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise GoldenFileError(
            f"golden file '{name}' cannot be read: {text or type(error).__name__}"
        ) from error


def write_golden(request: GoldenRequest, folder: Path) -> Path | None:
    """Write `NAME.npz`, or `NAME.json` where there are BYTES, in one step; return its path.

    `None` where the folder has a request of that name already. Raise OSError.
    """
    if any((folder / f"{request.name}{suffix}").exists() for suffix in (_NPZ, _JSON)):
        return None
    is_json = any(tensor.datatype == BYTES for tensor in (*request.inputs, *request.expected))
    path = folder / f"{request.name}{_JSON if is_json else _NPZ}"
    # Hidden: a server that looks in the middle of it does not take it for a request.
    draft = folder / f".{path.name}.{os.getpid()}"
    try:
        if is_json:
            draft.write_text(json_text(request), encoding="utf-8")
        else:
            with draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **npz_arrays(request))
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path


def _check_place(path: Path, model_directory: Path, inside: Inside) -> None:
    if not inside(path, model_directory):
        raise GoldenFileError("it lies outside the model's directory")
    if not stat.S_ISREG(path.stat().st_mode):
        raise GoldenFileError("it is not a regular file")


def _files_in(folder: Path) -> Iterator[Path]:
    # A link that leads nowhere is a folder that cannot be listed, not one that is not there.
    if not folder.exists() and not folder.is_symlink():
        return
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise GoldenFileError(
            f"golden requests in {folder} cannot be listed: {error.strerror}"
        ) from error
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.suffix in {_NPZ, _JSON}:
            yield path
        else:
            log.warning("not a golden request", file=str(path))
