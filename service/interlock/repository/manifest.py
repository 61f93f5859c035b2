"""The manifest of a model: what files it is made of, says whoever published it.

`manifest.json` in the model's directory holds the size and the SHA-256 of every file, for
each version apart and once for what all versions share. A version is what its manifest says
or it is not complete; a model without one is judged by how long it has lain still. A
signature need not be listed: it is made of all other files, the manifest among them.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from interlock.domain.errors import InvalidRequestError
from interlock.repository.digest import FileDigest
from interlock.repository.layout import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    is_ignored,
    is_left_behind,
    version_of,
)
from interlock.repository.listing import FILE, Entry
from interlock.repository.plain_file import open_file

MAX_BYTES: Final = 16 << 20
FORMAT: Final = 1

_NO_NAMES: Final = frozenset({"", ".", ".."})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ManifestError(InvalidRequestError):
    """The manifest is none: it cannot be read, or does not say what one must."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model by relative path, with slashes.

    `common` are those outside the version directories; `versions` has the others, with
    paths relative to their version's directory.
    """

    common: Mapping[str, FileDigest] = field(default_factory=dict)
    versions: Mapping[int, Mapping[str, FileDigest]] = field(default_factory=dict)

    def of(self, version: int) -> Mapping[str, FileDigest]:
        """Return all that a version is made of, relative to the model's directory."""
        own = self.versions.get(version, {})
        return {**self.common, **{f"{version}/{path}": file for path, file in own.items()}}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is there of a version, held against its manifest; paths in order.

    `missing` are not there; `other_size` are shorter or longer than listed; `other_content`
    have the size but not the digest; `unlisted` are there and should not be.
    """

    listed: int
    missing: tuple[str, ...] = ()
    other_size: tuple[str, ...] = ()
    other_content: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    is_listed: bool = True

    @property
    def is_complete(self) -> bool:
        return self.is_listed and not (
            self.missing or self.other_size or self.other_content or self.unlisted
        )

    @property
    def progress(self) -> str:
        """How far the version has come: "3 of 4 files", with what more can be said."""
        if not self.is_listed:
            return f"not in {MANIFEST_FILE}"
        lacking = len(self.missing) + len(self.other_size) + len(self.other_content)
        told = [f"{self.listed - lacking} of {self.listed} files"]
        if self.other_content:
            told.append(f"{_first(self.other_content)} differs from {MANIFEST_FILE}")
        if self.unlisted:
            told.append(f"{_first(self.unlisted)} is not in {MANIFEST_FILE}")
        return ", ".join(told)


def _first(paths: Sequence[str]) -> str:
    more = len(paths) - 1
    return f"{paths[0]} (and {more} more)" if more else paths[0]


def compare_sizes(manifest: Manifest, version: int, files: Iterable[Entry]) -> Comparison:
    """Hold the names and sizes of a version's files, the common ones included, against it."""
    if version not in manifest.versions:
        return Comparison(listed=0, is_listed=False)
    listed = manifest.of(version)
    there = {file.path: file for file in files}
    present = sorted(listed.keys() & there.keys())
    return Comparison(
        listed=len(listed),
        missing=tuple(sorted(listed.keys() - there.keys())),
        other_size=tuple(
            path
            for path in present
            if there[path].kind != FILE or there[path].size != listed[path].size
        ),
        unlisted=_unlisted(there, listed),
    )


def compare_digests(
    manifest: Manifest, version: int, digests: Mapping[str, FileDigest]
) -> Comparison:
    """Hold the digests of a version's files, the common ones included, against it."""
    if version not in manifest.versions:
        return Comparison(listed=0, is_listed=False)
    listed = manifest.of(version)
    present = sorted(listed.keys() & digests.keys())
    other = [path for path in present if digests[path] != listed[path]]
    other_size = tuple(path for path in other if digests[path].size != listed[path].size)
    return Comparison(
        listed=len(listed),
        missing=tuple(sorted(listed.keys() - digests.keys())),
        other_size=other_size,
        other_content=tuple(path for path in other if path not in other_size),
        unlisted=_unlisted(digests, listed),
    )


def _unlisted(there: Iterable[str], listed: Mapping[str, FileDigest]) -> tuple[str, ...]:
    return tuple(sorted(set(there) - listed.keys() - {SIGNATURE_FILE}))


def manifest_of(digests: Mapping[str, FileDigest], versions: Iterable[int]) -> Manifest:
    """Return the manifest of files with these digests; a version may have no files.

    A signature is not listed.
    """
    own: dict[int, dict[str, FileDigest]] = {version: {} for version in sorted(versions)}
    common: dict[str, FileDigest] = {}
    for path, file in sorted(digests.items()):
        first, _, rest = path.partition("/")
        version = version_of(first)[0] if rest else None
        if version is not None:
            own[version][rest] = file
        elif path != SIGNATURE_FILE:
            common[path] = file
    return Manifest(common, own)


def render(manifest: Manifest) -> bytes:
    """Return what the file holds."""
    content = {
        "manifest": FORMAT,
        "files": _rendered(manifest.common),
        "versions": {str(key): _rendered(files) for key, files in manifest.versions.items()},
    }
    try:
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a name that is no text; escaped, it can be told all the same
        return (json.dumps(content, indent=2) + "\n").encode()


def _rendered(files: Mapping[str, FileDigest]) -> dict[str, object]:
    return {path: {"size": file.size, "sha256": file.sha256} for path, file in files.items()}


def write(manifest: Manifest, path: Path) -> None:
    """Put the manifest in its place, whole or not at all. Raise OSError where it cannot be."""
    # As the swap file of an editor, it is nothing that a server looks at.
    draft = path.with_name(f".{path.name}.{os.getpid()}.swp")
    try:
        with draft.open("xb") as file:
            file.write(render(manifest))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def read(path: Path) -> Manifest:
    """Read a manifest. Raise OSError where there is none, ManifestError where it is none."""
    with open_file(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{path.name} is longer than {MAX_BYTES >> 20} MiB")
    return parse(content, name=path.name)


def parse(content: bytes, *, name: str = MANIFEST_FILE) -> Manifest:
    """Read the text of a manifest; `name` is what errors call it."""
    try:
        return _Reader(name).manifest(json.loads(content, object_pairs_hook=_unique))
    except _DuplicateError as error:
        raise ManifestError(f"{name}: {error} stands there twice") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ManifestError(f"{name} is not JSON ({place}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # no text, too long a number, too deep
        raise ManifestError(f"{name} is not JSON") from error


class _DuplicateError(Exception):
    """A name stands twice in one object, and JSON does not say which of them counts."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise _DuplicateError(repr(key))
        fields[key] = value
    return fields


class _Reader:
    """Turns JSON values into a manifest, and says where they do not make one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def manifest(self, value: object) -> Manifest:
        fields = self._object(value, "")
        if fields.get("manifest") != FORMAT or fields["manifest"] is True:
            raise self._error("manifest", f"must be {FORMAT}, the only format that we know")
        self._check_names(fields, "", required={"manifest", "versions"}, optional={"files"})
        versions = self._object(fields["versions"], "versions")
        return Manifest(
            common=self._files(fields.get("files", {}), "files", is_common=True),
            versions={
                self._version(key): self._files(files, f"versions.{key}")
                for key, files in versions.items()
            },
        )

    def _version(self, key: str) -> int:
        version = version_of(key)[0]
        if version is None:
            raise self._error("versions", f"{key!r} is not a version")
        return version

    def _files(
        self, value: object, where: str, *, is_common: bool = False
    ) -> dict[str, FileDigest]:
        files = self._object(value, where)
        for path in files:
            self._check_path(path, where, is_common=is_common)
        return {path: self._file(file, f"{where}.{path}") for path, file in files.items()}

    def _check_path(self, path: str, where: str, *, is_common: bool) -> None:
        parts = path.split("/")
        if "\0" in path or any(part in _NO_NAMES for part in parts):
            raise self._error(where, f"{path!r} is not a relative path without detours")
        if any(map(is_ignored, parts[:-1])) or is_left_behind(parts[-1]):
            raise self._error(where, f"{path!r} is not looked at, and cannot be listed")
        if is_common and path == MANIFEST_FILE:
            raise self._error(where, f"{path!r} cannot list itself")
        if is_common and len(parts) > 1 and version_of(parts[0])[0] is not None:
            raise self._error(where, f"{path!r} belongs below versions.{parts[0]}")

    def _file(self, value: object, where: str) -> FileDigest:
        fields = self._object(value, where)
        self._check_names(fields, where, required={"size", "sha256"})
        size, sha256 = fields["size"], fields["sha256"]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise self._error(f"{where}.size", "must be a whole number, not below zero")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            raise self._error(f"{where}.sha256", "must be 64 hexadecimal digits")
        return FileDigest(size, sha256.lower())

    def _object(self, value: object, where: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(where, "must be an object")
        return value

    def _check_names(
        self,
        fields: Mapping[str, object],
        where: str,
        *,
        required: AbstractSet[str],
        optional: AbstractSet[str] = frozenset(),
    ) -> None:
        for name in sorted(required - fields.keys()):
            raise self._error(where, f"{name!r} is missing")
        for name in sorted(fields.keys() - required - optional):
            raise self._error(where, f"{name!r} is not known")

    def _error(self, where: str, what: str) -> ManifestError:
        place = f"{self._name}: {where}: " if where else f"{self._name}: "
        return ManifestError(place + what)
