"""The agent that compares a model's files with digests before they are loaded.

Its parameters are Triton's and a few more; docs/agents.md says what each of them means.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DiskFile,
    Fault,
    FilesLocation,
    Location,
    ModelFile,
    Parameter,
    PathError,
    RepositoryAgent,
    below,
)
from interlock_agents.digesting import ALGORITHMS, Digester
from interlock_agents.file_list import MAX_BYTES, FileList, parse, version_of

MANIFEST: Final = "manifest"
SIGNATURE_FILE: Final = "model.sig"
"""Says of all other files that they are genuine, so that no list can say what it is."""

_SHA256: Final = "SHA256"
_TOO_LATE: Final = (
    " (it may be that of the encrypted files: name 'checksum' before 'decrypt' in config.pbtxt)"
)


class ChecksumAgent(RepositoryAgent):
    """Compares files with digests before they are loaded."""

    parameters: ClassVar[Sequence[Parameter]] = (
        *(
            Parameter(f"{name}:<path>", f"the {name} of a file, or of all files in a directory")
            for name in ALGORITHMS
        ),
        Parameter(MANIFEST, "the list of every file with its SHA-256, as 'manifest.json'"),
    )

    def act(self, action: Action, model: AgentModel) -> None:
        """Raise AgentError on LOAD for the first file that is not what it must be."""
        if action is not Action.LOAD:
            return
        digester = Digester(model.check)
        digests = {key: value for key, value in model.parameters.items() if key != MANIFEST}
        # Keys that are none, before any file is read.
        for key in sorted(digests):
            _parsed(key)
        for key, expected in sorted(digests.items()):
            algorithm, path = _parsed(key)
            _compare(algorithm, path, expected, _digest(digester, algorithm, model, path))
        if (name := model.parameters.get(MANIFEST)) is not None:
            _compare_all(digester, model, name)
        model.note("checked files", str(digester.files))


def _parsed(key: str) -> tuple[str, str]:
    """Return the algorithm and the path that a parameter names."""
    algorithm, colon, path = key.partition(":")
    if not colon:
        raise AgentError(f"failed to parse key: {key}")
    if algorithm.upper() not in ALGORITHMS:
        text = f"Unsupported checksum algorithm: {algorithm}"
        raise AgentError(f"{text} (known are {', '.join(ALGORITHMS)})", Fault.UNSUPPORTED)
    return algorithm.upper(), path


def _digest(digester: Digester, algorithm: str, model: AgentModel, path: str) -> str:
    """Return the digest of what is at a path, a file or a directory."""
    with _reading(path):
        try:
            return digester.of_file(algorithm, model.location.file(path))
        except (IsADirectoryError, FileNotFoundError):
            files = below(model.location.files(), path)
            if not files:
                raise
            return digester.of_files(algorithm, files)


def _compare(algorithm: str, path: str, expected: str, got: str) -> None:
    if not hmac.compare_digest(expected.lower().encode(), got.encode()):
        raise AgentError(
            f"Mismatched {algorithm} hash for file {path}, expect: {expected}, got: {got}"
        )


def _compare_all(digester: Digester, model: AgentModel, name: str) -> None:
    """Hold every file of the model, or of the versions to be loaded, against the list."""
    listed = _read_list(model, name)
    for version in model.versions:
        if version not in listed.versions:
            raise AgentError(f"version {version} is not in {name}")
    wanted = {path: listed.files[path] for path in _of(model.versions, listed.files)}
    with _reading("."):
        there = model.location.files()
    known = {*wanted, name, SIGNATURE_FILE}
    if unlisted := _beyond(there, _of(model.versions, there), known):
        raise AgentError(f"file {unlisted} is there and not in {name}")
    for path, file in wanted.items():
        with _reading(path):
            size = model.location.file(path).size
        if size != file.size:
            raise AgentError(f"file {path} has {size} bytes, and {file.size} in {name}")
    for path, file in wanted.items():
        with _reading(path):
            got = digester.of_file(_SHA256, model.location.file(path))
        _compare(_SHA256, path, file.sha256, got)


def _read_list(model: AgentModel, name: str) -> FileList:
    try:
        with _reading(name), model.location.file(name).open() as stream:
            content = stream.read(MAX_BYTES + 1)
    except AgentError as error:
        if isinstance(error.__cause__, FileNotFoundError) and _was_published(model.location):
            raise AgentError(f"{error}{_TOO_LATE}") from error
        raise
    if len(content) > MAX_BYTES:
        raise AgentError(f"{name} is longer than {MAX_BYTES >> 20} MiB")
    return parse(content, name=name)


def _was_published(location: Location) -> bool:
    """Whether another agent has put the files there."""
    return isinstance(location, FilesLocation)


def _of(versions: Sequence[int], paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that belong to any of the versions, or to all; without versions, all."""
    for path in paths:
        if not versions or version_of(path) in {None, *versions}:
            yield path


def _beyond(there: Mapping[str, ModelFile], paths: Iterable[str], known: set[str]) -> str | None:
    """Return the first path that is not known, nor another name of a file that is."""
    places = {_place_of(there[path]) for path in known if path in there} - {None}
    for path in paths:
        if path not in known and _place_of(there[path]) not in places:
            return path
    return None


def _place_of(file: ModelFile) -> Path | None:
    """Return where a file lies after all links, `None` for one that is not on a disk."""
    return file.path.resolve() if isinstance(file, DiskFile) else None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Say of a file that cannot be read which it is, as Triton does."""
    try:
        yield
    except OSError as error:
        raise AgentError(
            f"failed to open text file for read {path}: {error.strerror or error}"
        ) from error
    except PathError as error:
        raise AgentError(f"failed to open text file for read {path}: {error}") from error
