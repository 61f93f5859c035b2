"""Read a model repository into an immutable snapshot.

An entry that cannot be looked at costs that entry and nothing else. A root that cannot be
listed is a problem and not an empty repository: what it holds is unknown.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Final

from interlock.domain.errors import InvalidRequestError, NotFoundError, UnavailableError
from interlock.repository import layout
from interlock.repository.plain_file import read_file

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One model's directory at one moment.

    `config_text` is `None` where there is no configuration; bytes that are not UTF-8 stand
    in it as lone surrogates, which its parser reports with their place. `first_entries` are
    the names in the first sub-directory, which tell the backend. `remarks` are for the log.
    """

    name: str
    directory: Path
    config_path: Path | None
    config_text: str | None
    versions: tuple[int, ...]
    first_entries: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepositorySnapshot:
    """All models of all roots.

    `duplicates` are names that lie in several roots; `models` does not hold them.
    `problems` says what could not be read: by model name, and for a root by its absolute
    path, which always has a slash where a model's name has none.
    """

    models: Mapping[str, ModelSource]
    duplicates: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)


def read_repository(roots: Sequence[Path], *, config_name: str = "") -> RepositorySnapshot:
    """Read every model of every root."""
    problems: dict[str, str] = {}
    directories = _model_directories(roots, problems)
    models: dict[str, ModelSource] = {}
    for name, places in sorted(directories.items()):
        if len(places) > 1:
            continue
        try:
            models[name] = _read_source(name, places[0], config_name)
        except InvalidRequestError as error:
            problems[name] = str(error)
        except FileNotFoundError:
            continue  # it went away between the listing and the reading
    duplicates = frozenset(name for name, places in directories.items() if len(places) > 1)
    return RepositorySnapshot(models, duplicates, problems)


def _model_directories(roots: Sequence[Path], problems: dict[str, str]) -> dict[str, list[Path]]:
    """Return where each model lies; roots that cannot be listed go to `problems`."""
    directories: dict[str, list[Path]] = {}
    for root in distinct_roots(roots):
        try:
            names = list(subdirectories(root))
        except OSError as error:
            problems[str(root.absolute())] = root_problem(root, error)
            continue
        for name in names:
            if not layout.is_ignored(name):
                directories.setdefault(name, []).append(root / name)
    return directories


def read_model(roots: Sequence[Path], name: str, *, config_name: str = "") -> ModelSource:
    """Read one model.

    Raise NotFoundError where no root has it, InvalidRequestError for a name that is none, a
    model that several roots have and one that cannot be read, UnavailableError where no
    root has it but one could not be looked at.
    """
    layout.check_model_name(name)
    places, problem = _places(roots, name)
    if len(places) > 1:
        raise InvalidRequestError(
            f"failed to poll model '{name}': not unique across all model repositories"
        )
    if not places and problem:
        raise UnavailableError(f"failed to poll model '{name}': {problem}")
    if places:
        try:
            return _read_source(name, places[0], config_name)
        except FileNotFoundError:
            pass  # it went away just now
    raise NotFoundError(f"failed to poll model '{name}': model not found in any model repository.")


def read_directory(name: str, directory: Path) -> ModelSource:
    """Read one model where it lies outside of every root.

    Raise InvalidRequestError where it cannot be read, OSError where it has gone.
    """
    return _read_source(name, directory, config_name="")


def distinct_roots(roots: Sequence[Path]) -> list[Path]:
    """Return the roots in order of their names, each directory once however it is spelled."""
    by_place: dict[str, Path] = {}
    for root in sorted(roots):
        by_place.setdefault(os.path.realpath(root), root)
    return list(by_place.values())


def _places(roots: Sequence[Path], name: str) -> tuple[list[Path], str]:
    """Return where the model lies, and what could not be looked at on the way.

    Looks the name up; a repository of a thousand models is not listed for one of them.
    """
    places: list[Path] = []
    problem = ""
    for root in distinct_roots(roots):
        try:
            if _has_model(root, name):
                places.append(root / name)
        except OSError as error:
            problem = root_problem(root, error)
    return places, problem


def _has_model(root: Path, name: str) -> bool:
    """Whether there is such a directory; raise OSError where the root tells nothing."""
    if not S_ISDIR(root.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if layout.is_ignored(name):
        return False
    try:
        return S_ISDIR(root.joinpath(name).stat().st_mode)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


def root_problem(root: Path, error: OSError) -> str:
    """Return what to say of a root that cannot be looked at."""
    if isinstance(error, (NotADirectoryError, FileNotFoundError)):
        return f"repository path is not a valid directory: {root}"
    return f"failed to stat file {root}: {error.strerror}"


def subdirectories(directory: Path) -> Iterator[str]:
    """Yield the names of directories and of links to such, leaving out what cannot be seen."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                is_directory = entry.is_dir()
            except OSError:  # a loop of links, or gone
                continue
            if is_directory:
                yield entry.name


def _read_source(name: str, directory: Path, config_name: str) -> ModelSource:
    try:
        folders = sorted(subdirectories(directory))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidRequestError(
            f"failed to read model directory {directory}: {error.strerror}"
        ) from error
    versions, remarks = _versions(folders)
    path = layout.config_path(directory, config_name)
    return ModelSource(
        name=name,
        directory=directory,
        config_path=path,
        config_text=None if path is None else _read_text(path),
        versions=tuple(sorted(versions)),
        first_entries=_first_entries(directory, folders, versions),
        remarks=tuple(remarks),
    )


def _versions(folders: Sequence[str]) -> tuple[list[int], list[str]]:
    versions: list[int] = []
    remarks: list[str] = []
    for folder in folders:
        version, remark = layout.version_of(folder)
        if version is not None:
            versions.append(version)
        if remark:
            remarks.append(remark)
    return versions, remarks


def _first_entries(
    directory: Path, folders: Sequence[str], versions: Sequence[int]
) -> tuple[str, ...]:
    """Return what lies in the first sub-directory by name, versions before others."""
    candidates = sorted(str(version) for version in versions)
    candidates += [folder for folder in folders if not layout.is_ignored(folder)]
    if not candidates:
        return ()
    try:
        return tuple(sorted(entry.name for entry in (directory / candidates[0]).iterdir()))
    except OSError:
        return ()


def _read_text(path: Path) -> str | None:
    """Return the file's text, `None` if it has gone; raise InvalidRequestError if unreadable."""
    try:
        return read_file(path).decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise InvalidRequestError(
            f"failed to open text file for read {path}: {error.strerror}"
        ) from error
