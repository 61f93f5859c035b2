"""Know what the names in a model repository mean: models, versions, what is not looked at."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from interlock.domain.errors import InvalidRequestError

_RESERVED: Final = frozenset({"warmup", "golden", "initial_state", "configs"})
_IGNORED: Final = frozenset({"lost+found", "__pycache__"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_INTEGER: Final = re.compile(r"[0-9]+", re.ASCII)
_MAX_VERSION: Final = 2**63 - 1
_CONFIG_FILE: Final = "config.pbtxt"
_CONFIG_FOLDER: Final = "configs"
_LEFT_BEHIND: Final = re.compile(
    r"""
      \..*\.sw[a-z]     # vim's swap files
    | 4913              # vim's test whether it may write here
    | .*~               # backups
    | \#.*\# | \.\#.*   # emacs: unsaved text, locks
    """,
    re.VERBOSE,
)
MANIFEST_FILE: Final = "manifest.json"
"""In a model's directory: what files the model is made of, says whoever published it."""
SIGNATURE_FILE: Final = "model.sig"
"""In a model's directory: who has signed all others, the manifest among them. It comes last."""


def check_model_name(name: str) -> None:
    """Raise InvalidRequestError for a name that is none, or that leads out of the repository."""
    trimmed = name.strip()
    if not trimmed:
        raise InvalidRequestError(
            "Model name cannot be empty. Please enter a valid name to deploy."
        )
    if trimmed in {".", ".."} or "/" in trimmed or "\0" in trimmed:
        raise InvalidRequestError(
            f"invalid model name '{name}', model name must not contain path traversal characters"
        )
    if _CONTROL.search(trimmed):
        raise InvalidRequestError(
            f"invalid model name {name!r}, model name must not contain control characters"
        )


def is_ignored(name: str) -> bool:
    """Whether a directory is neither a model nor a version, whatever lies in it.

    Hidden ones are Git's, an editor's, or Kubernetes' `..data`; the rest are a file
    system's and Python's.
    """
    return name.startswith(".") or name in _IGNORED


def is_nameable(name: str) -> bool:
    """Whether a request could name it: what is not UTF-8 on the disk comes as lone surrogates."""
    return name.isascii() or _SURROGATE.search(name) is None


def is_left_behind(name: str) -> bool:
    """Whether a file is what an editor leaves beside what it edits."""
    return _LEFT_BEHIND.fullmatch(name) is not None


def version_of(name: str) -> tuple[int | None, str]:
    """Return the version that a directory holds, or else a remark why it holds none.

    Both are empty for directories that have another purpose.
    """
    if name in _RESERVED or is_ignored(name):
        return None, ""
    if len(name) > 1 and name.startswith("0"):
        return None, (
            f"ignore version directory '{name}' which contains leading zeros in its directory name"
        )
    if not _INTEGER.fullmatch(name) or len(name) > len(str(_MAX_VERSION)):
        return None, _not_a_number(name)
    version = int(name)
    return (version, "") if version <= _MAX_VERSION else (None, _not_a_number(name))


def _not_a_number(name: str) -> str:
    return f"ignore version directory '{name}' which fails to convert to integral number"


def config_path(model_directory: Path, config_name: str = "") -> Path | None:
    """Return the file that holds the model's configuration now, `None` where there is none.

    With a `config_name` (`--model-config-name`), `configs/<name>.pbtxt` goes first.
    """
    names = [Path(_CONFIG_FILE)]
    if config_name:
        names.insert(0, Path(_CONFIG_FOLDER) / f"{config_name}.pbtxt")
    for name in names:
        path = model_directory / name
        # A link that leads nowhere is a broken file, not a missing one.
        if path.exists() or path.is_symlink():
            return path
    return None


def default_config_path(model_directory: Path) -> Path:
    """Return where the configuration would be looked for last."""
    return model_directory / _CONFIG_FILE


def is_config(path: str) -> bool:
    """Whether a file of a model, by its relative path, says how to serve it, and nothing else."""
    return path == _CONFIG_FILE or path.startswith(f"{_CONFIG_FOLDER}/")


def root_around(path: Path, roots: Iterable[Path]) -> Path | None:
    """Return the repository that a path lies in, by its name or after all links, if it does."""
    for root in roots:
        if path.absolute().is_relative_to(root.absolute()) or is_inside(path, root):
            return root
    return None


def is_linked_inside(path: Path, directory: Path) -> bool:
    """Whether a path lies in a directory by its name; for one that has only links we made."""
    return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(directory))


def is_inside(path: Path, directory: Path) -> bool:
    """Whether a path, after all its links, lies in a directory, after all of that one's."""
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a name that cannot be
        return False
