"""Make models and versions of the keys of an object store, and leave out what is neither.

Decides alone; asks no store and touches no disk. A key is not to be trusted: one that would
lead out of its model's directory costs itself and nothing else.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from interlock.repository.layout import is_ignored, is_left_behind, version_of

VERSIONS_FOLDER: Final = ".versions"
"""In a mirrored model's directory: where its versions lie. No key may be called so."""
_MAX_NAME_BYTES: Final = 255
_IN_MODEL: Final = 2
"""How many parts the key of something has that lies directly in a model's directory."""
_MAX_PATH_BYTES: Final = 2048
"""Of a key. What lies in front of it on the disk must fit into a path as well."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object as a listing told of it; `path` is relative to the repository.

    Two with one path hold the same content where they are equal. `etag` is "" where the
    store has none; the time stands in `stamp` then.
    """

    path: str
    size: int
    etag: str
    modified: datetime = field(compare=False)
    stamp: str = ""


class Unit(NamedTuple):
    """What is shown in one step: a version, or (`None`) what all versions have in common."""

    model: str
    version: int | None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a unit; `path` is relative to the unit's directory."""

    path: str
    source: RemoteObject


Files = tuple[RemoteFile, ...]


class Refusal(NamedTuple):
    """A key that no file is made of, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What the keys of a repository come to: the units of each model, at least one."""

    models: Mapping[str, Mapping[Unit, Files]] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()


def difference(
    before: Mapping[Unit, Files], after: Mapping[Unit, Files]
) -> dict[Unit, Files | None]:
    """Return the units that are not what they were; `None` for those that have gone."""
    changed: dict[Unit, Files | None] = {
        unit: files for unit, files in after.items() if before.get(unit) != files
    }
    changed.update((unit, None) for unit in before.keys() - after.keys())
    return changed


def arrange(objects: Iterable[RemoteObject]) -> Arrangement:
    """Sort objects into the units that they belong to."""
    listed = sorted(objects, key=lambda one: one.path)
    folders = _folders(listed)
    models: dict[str, dict[Unit, list[RemoteFile]]] = {}
    refusals: list[Refusal] = []
    for one in listed:
        reason = _why_not(one, folders)
        if reason:
            refusals.append(Refusal(one.path, reason))
        elif (place := _place(one, folders)) is not None:
            unit, path = place
            files = models.setdefault(unit.model, {}).setdefault(unit, [])
            if path:
                files.append(RemoteFile(path, one))
    return Arrangement(
        {
            model: {unit: tuple(files) for unit, files in units.items()}
            for model, units in models.items()
        },
        tuple(refusals),
    )


def _why_not(one: RemoteObject, folders: Collection[str]) -> str:
    """Return why a key can be no file; "" where it can."""
    segments = one.path.split("/")
    reasons = {
        "leads out of the repository, or has an empty part": any(
            segment in {"", ".", ".."} for segment in segments
        ),
        "holds a NUL": "\0" in one.path,
        f"has a part of more than {_MAX_NAME_BYTES} bytes": any(
            len(_bytes(segment)) > _MAX_NAME_BYTES for segment in segments
        ),
        f"has more than {_MAX_PATH_BYTES} bytes": len(_bytes(one.path)) > _MAX_PATH_BYTES,
        "is a file, and a folder of other keys as well": one.size > 0 and one.path in folders,
        "is a file where the folder of a version should be": one.size > 0
        and _is_version_itself(segments),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_version_itself(segments: Sequence[str]) -> bool:
    return len(segments) == _IN_MODEL and version_of(segments[1])[0] is not None


def _place(one: RemoteObject, folders: Collection[str]) -> tuple[Unit, str] | None:
    """Return the unit of a key and its path in it; an empty path is the unit's directory.

    `None` for what is not looked at in a folder on a disk either.
    """
    model, *inside = one.path.split("/")
    if not _is_looked_at(model, inside):
        return None
    version, _ = version_of(inside[0])
    if version is not None:
        # Without more it is what consoles leave for a folder, its slash lost on the way: a
        # version may be empty.
        unit, path = Unit(model, version), "/".join(inside[1:])
    else:
        unit, path = Unit(model, None), "/".join(inside)
    if path and (one.path in folders or is_left_behind(inside[-1])):
        return None
    return unit, path


def _is_looked_at(model: str, inside: Sequence[str]) -> bool:
    if not inside or inside == [VERSIONS_FOLDER]:
        return False
    return not any(is_ignored(name) for name in (model, *inside[:-1]))


def _folders(objects: Sequence[RemoteObject]) -> frozenset[str]:
    """Return every prefix that other keys lie below."""
    folders: set[str] = set()
    for one in objects:
        parent = one.path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(folders)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")
