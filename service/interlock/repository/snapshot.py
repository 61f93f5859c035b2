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
from typing import Final, NamedTuple

from interlock.domain.errors import InvalidRequestError, NotFoundError, UnavailableError
from interlock.repository import layout
from interlock.repository.namespaces import SEPARATOR, ambiguity, namespaces_of, qualified
from interlock.repository.plain_file import read_file

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One model's directory at one moment.

    `config_text` is `None` where there is no configuration; bytes that are not UTF-8 stand
    in it as lone surrogates, which its parser reports with their place. `first_entries` are
    the names in the first sub-directory, which tell the backend. `remarks` are for the log.
    `namespace` is set where other repositories have a model of this name as well.
    """

    name: str
    directory: Path
    config_path: Path | None
    config_text: str | None
    versions: tuple[int, ...]
    first_entries: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    namespace: str = ""

    @property
    def identifier(self) -> str:
        """What the model is called among all models."""
        return qualified(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class RepositorySnapshot:
    """All models of all roots, by the names that tell them apart.

    `duplicates` are names that lie in several roots; `models` does not hold them.
    `problems` says what could not be read: by model name, and for a root by its absolute
    path, which always has a slash where a model's name has none.
    """

    models: Mapping[str, ModelSource]
    duplicates: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)


def read_repository(
    roots: Sequence[Path], *, config_name: str = "", namespacing: bool = False
) -> RepositorySnapshot:
    """Read every model of every root.

    With `namespacing` nothing is a duplicate: see `namespaces`.
    """
    problems: dict[str, str] = {}
    directories = _model_directories(roots, problems)
    namespaces = namespaces_of(roots) if namespacing else {}
    models: dict[str, ModelSource] = {}
    for name, places in sorted(directories.items()):
        if len(places) > 1 and not namespacing:
            continue
        for place in places:
            namespace = namespaces[place.parent] if len(places) > 1 else ""
            identifier = qualified(namespace, name)
            try:
                models[identifier] = _read_source(name, place, config_name, namespace)
            except InvalidRequestError as error:
                problems[identifier] = str(error)
            except FileNotFoundError:
                continue  # it went away between the listing and the reading
    several = (name for name, places in directories.items() if len(places) > 1)
    return RepositorySnapshot(models, frozenset(() if namespacing else several), problems)


def _model_directories(roots: Sequence[Path], problems: dict[str, str]) -> dict[str, list[Path]]:
    """Return where each model lies; roots that cannot be listed go to `problems`."""
    directories: dict[str, list[Path]] = {}
    for root in distinct_roots(roots):
        try:
            names = list_root(root).names
        except OSError as error:
            problems[str(root.absolute())] = root_problem(root, error)
            continue
        for name in names:
            directories.setdefault(name, []).append(root / name)
    return directories


class RootListing(NamedTuple):
    """What may be models in one root: the names of its directories, and on which device.

    `place` is the root's path after all links.
    """

    place: str
    device: int
    names: frozenset[str]

    def is_unmounted(self, device: int) -> bool:
        """Whether this is what a mounted root of that device leaves behind: an empty directory."""
        return not self.names and device != self.device


def list_root(root: Path) -> RootListing:
    """List the directories of a root that can be models. Raise OSError where that fails."""
    device = root.stat().st_dev
    found = subdirectories(root)
    names = frozenset(
        one for one in found if layout.is_nameable(one) and not layout.is_ignored(one)
    )
    return RootListing(os.path.realpath(root), device, names)


def read_model(
    roots: Sequence[Path], name: str, *, config_name: str = "", namespacing: bool = False
) -> ModelSource:
    """Read one model; with `namespacing` its name may be a qualified one.

    Raise NotFoundError where no root has it, InvalidRequestError for a name that is none, a
    model that several roots have and one that cannot be read, UnavailableError where no
    root has it but one could not be looked at.
    """
    layout.check_model_name(name)
    places, problem = _places(roots, name)
    if len(places) > 1:
        raise InvalidRequestError(
            ambiguity(name, len(places))
            if namespacing
            else f"failed to poll model '{name}': not unique across all model repositories"
        )
    namespace, _, bare = name.rpartition(SEPARATOR) if not places and namespacing else ("", "", "")
    if namespace and bare:
        namespaces = namespaces_of(roots)
        of_all, problem = _places(roots, bare)
        if len(of_all) > 1:  # else the model is called by its bare name
            places = [place for place in of_all if namespaces[place.parent] == namespace]
    if not places and problem:
        raise UnavailableError(f"failed to poll model '{name}': {problem}")
    if places:
        try:
            return _read_source(places[0].name, places[0], config_name, namespace)
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


def unmounted_problem(root: Path) -> str:
    """Return what to say of a root that had models and is an empty directory of another device."""
    return f"model repository is no longer mounted: {root}"


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


def _read_source(name: str, directory: Path, config_name: str, namespace: str = "") -> ModelSource:
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
        namespace=namespace,
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
