"""What "changed" means: what a model's files are, not what a clock says.

A fingerprint covers the relative path, size, inode, mtime and ctime of every file, and two
are compared for equality only: a file that is restored with an older time is as much of a
change as one that is newer. The manifest says what the others shall be and is none of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interlock.repository.layout import MANIFEST_FILE, is_config, version_of
from interlock.repository.listing import DIRECTORY, Entry, list_model


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of each version of a model.

    The configuration and every other file outside the version directories belong to all
    versions alike. `bodies` are those of the same versions without the configuration: what
    a version is made of, however it is to be served.
    """

    versions: Mapping[int, str]
    common: str
    bodies: Mapping[int, str] = field(default_factory=dict)

    def of(self, version: int) -> str:
        """Return a version's fingerprint; without a directory only what is common."""
        return self.versions.get(version, self.common)

    def body_of(self, version: int) -> str:
        """Return the fingerprint of a version's files but for the configuration."""
        return self.bodies.get(version, "")


def fingerprint(model_directory: Path) -> Fingerprint:
    """Look at every file of a model, opening none.

    Raise OSError where it, or a directory in it, cannot be listed. A link that leads nowhere
    is a file that differs from every other.
    """
    entries, problems = list_model(model_directory)
    for problem in problems:
        raise problem.as_error(model_directory)
    return fingerprint_of(*by_version(entries))


def by_version(entries: Iterable[Entry]) -> tuple[dict[int, list[Entry]], list[Entry]]:
    """Return what belongs to each version, its directory included, and what to all of them."""
    versions: dict[int, list[Entry]] = {}
    common: list[Entry] = []
    for entry in entries:
        first, _, rest = entry.path.partition("/")
        version = version_of(first)[0] if rest or entry.kind == DIRECTORY else None
        if version is not None:
            versions.setdefault(version, []).append(entry)
        elif entry.path != MANIFEST_FILE:
            common.append(entry)
    return versions, common


def files_of(version: int, entries: Iterable[Entry]) -> list[Entry]:
    """Return the files of a version, those that all versions share first."""
    versions, common = by_version(entries)
    return [entry for entry in [*common, *versions.get(version, [])] if entry.kind != DIRECTORY]


def fingerprint_of(versions: Mapping[int, Iterable[Entry]], common: Sequence[Entry]) -> Fingerprint:
    """Return the fingerprint of what has been listed."""
    of_all = _lines(common)
    of_bodies = _lines(body_entries(common))
    own = {version: _lines(entries) for version, entries in versions.items()}
    return Fingerprint(
        {version: _digest(of_all + lines) for version, lines in own.items()},
        _digest(of_all),
        {version: _digest(of_bodies + lines) for version, lines in own.items()},
    )


def body_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return what is no configuration."""
    return [entry for entry in entries if not is_config(entry.path)]


def _lines(entries: Iterable[Entry]) -> list[str]:
    """Return a line for each file. An empty directory is nothing."""
    return [
        f"{path}\0{(size, inode, mtime_ns, ctime_ns)}"
        for path, kind, size, inode, mtime_ns, ctime_ns, _ in entries
        if kind != DIRECTORY
    ]


def _digest(lines: list[str]) -> str:
    text = "\n".join(lines).encode("utf-8", errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()
