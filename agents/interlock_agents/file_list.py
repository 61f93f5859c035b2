"""Read `manifest.json`: what files a model is made of, says whoever published it.

`interlock manifest` writes it: the size and the SHA-256 of every file, once for what all
versions share and apart for each version.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock_agents.api import AgentError, PathError, checked
from interlock_agents.json_text import JsonTextError, decoded

MAX_BYTES: Final = 16 << 20
FORMAT: Final = 1

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file must be: its size in bytes, and the SHA-256 of its content."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FileList:
    """The files of a model by their paths in it, and the versions that the list knows."""

    files: Mapping[str, Listed]
    versions: frozenset[int]


def version_of(path: str) -> int | None:
    """Return the version whose directory a path lies in, `None` for what all versions share."""
    first, slash, _ = path.partition("/")
    return int(first) if slash and _VERSION.fullmatch(first) else None


def parse(content: bytes, *, name: str) -> FileList:
    """Read the text of a list. Raise AgentError, which calls it `name`, where it is none."""
    try:
        value = decoded(content, name)
    except JsonTextError as error:
        raise AgentError(str(error)) from error
    return _Reader(name).whole(value)


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name

    def whole(self, value: object) -> FileList:
        fields = self._object(value, "it")
        if unknown := sorted(fields.keys() - {"manifest", "files", "versions"}):
            raise self._error(f"{unknown[0]!r} is unknown")
        if (number := fields.get("manifest")) != FORMAT or isinstance(number, bool):
            raise self._error(f"'manifest' must be {FORMAT}, the version of the format")
        versions = self._object(fields.get("versions", {}), "'versions'")
        files = self._files(fields.get("files", {}), "")
        for version, own in versions.items():
            if not _VERSION.fullmatch(version):
                raise self._error(f"{version!r} is no version")
            files |= self._files(own, f"{version}/")
        return FileList(files, frozenset(map(int, versions)))

    def _files(self, value: object, prefix: str) -> dict[str, Listed]:
        files: dict[str, Listed] = {}
        for path, entry in self._object(value, f"'{prefix or 'files'}'").items():
            full = self._path(prefix, path)
            if not prefix and version_of(full) is not None:
                raise self._error(f"'{full}' belongs under 'versions'")
            files[full] = self._entry(entry, full)
        return files

    def _path(self, prefix: str, path: str) -> str:
        try:
            is_simple = checked(path) == path != "."
        except PathError as error:
            raise self._error(str(error)) from error
        if not is_simple:
            raise self._error(f"{path!r} is not a path in its simplest form")
        return prefix + path

    def _entry(self, value: object, path: str) -> Listed:
        match self._object(value, f"'{path}'"):
            case {"size": int(size), "sha256": str(sha256), **rest} if not rest:
                if size >= 0 and not isinstance(size, bool) and _SHA256.fullmatch(sha256):
                    return Listed(size, sha256)
            case _:
                pass
        raise self._error(f"'{path}' must have a size in bytes and a sha256 in hexadecimal")

    def _object(self, value: object, what: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(f"{what} is no object")
        return value

    def _error(self, text: str) -> AgentError:
        return AgentError(f"{self._name}: {text}")
