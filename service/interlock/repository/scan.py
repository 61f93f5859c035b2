"""Scan the repositories: what is there now, and what differs from the time before.

The listing of directories is all it costs; what a model is made of is worked out anew only
where a file differs. What cannot be looked at now is taken to be as it was last seen, and is
named as unknown: a repository that fails to answer has not lost its models.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from interlock.repository.fingerprint import Fingerprint, by_version, fingerprint_of
from interlock.repository.layout import MANIFEST_FILE, version_of
from interlock.repository.listing import DIRECTORY, Entry, Listing, Problem, list_model
from interlock.repository.namespaces import namespaces_of, qualified
from interlock.repository.snapshot import (
    distinct_roots,
    list_root,
    root_problem,
    unmounted_problem,
)


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version's files as a scan saw them, the common ones of its model among them.

    `moved_ns` is when something happened last to any of them, or to a directory that they
    lie in, by the file system's clock. `body` is the fingerprint without the configuration.
    """

    version: int
    fingerprint: str
    files: tuple[Entry, ...]
    moved_ns: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model's files as a scan saw them.

    `manifest` is the entry of its manifest, `None` where it has none. `hidden` are those of
    its versions that could not be looked at and are as they were last seen. Two are equal
    when nothing has changed in between, the manifest and empty directories included.
    """

    name: str
    directory: Path
    entries: tuple[Entry, ...]
    fingerprint: Fingerprint = field(compare=False)
    versions: Mapping[int, FoundVersion] = field(compare=False)
    manifest: Entry | None = field(compare=False)
    hidden: frozenset[int] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Scan:
    """What the repositories held at one moment.

    `unknown` are those of `models` and `duplicates` that could not be looked at, or not as
    a whole, and are as they were last seen. `problems` says why, by model name, and for a
    root by its absolute path, which always has a slash where a model's name has none.
    """

    models: Mapping[str, FoundModel] = field(default_factory=dict)
    duplicates: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)


class Scanning(Protocol):
    """What finds out what the repositories hold."""

    def scan(self) -> Scan:
        """Look at every file of every model of every root."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """What a scan shows that the one before it did not.

    A model that has become a duplicate is removed here, and named in the scan's
    `duplicates`.
    """

    added: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference(before: Scan, after: Scan) -> Difference:
    """Return what has changed. What is unknown has not, as far as it could not be seen."""
    old, new = before.models, after.models
    return Difference(
        added=frozenset(new.keys() - old.keys()),
        changed=frozenset(
            name
            for name, model in new.items()
            # Identity first: a scanner hands out the same object where nothing differs.
            if name in old and model is not old[name] and model != old[name]
        ),
        removed=frozenset(old.keys() - new.keys()),
    )


class _Root(NamedTuple):
    """A repository as it was last seen: the models in it, on which device."""

    device: int
    models: Mapping[str, FoundModel]


_NEVER: Final = _Root(-1, {})


class Scanner:
    """Scans the repositories, one scan at a time; the threads that ask take turns themselves.

    `look` lists a model's directory. With `namespacing` nothing is a duplicate.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        look: Callable[[Path | str], Listing] = list_model,
        namespacing: bool = False,
    ) -> None:
        self._roots = tuple(roots)
        self._namespaces = namespaces_of(self._roots) if namespacing else None
        self._look = look
        self._seen: dict[Path, _Root] = {}

    def scan(self) -> Scan:
        """Look at every file of every model of every root."""
        problems: dict[str, str] = {}
        unknown: set[str] = set()
        places: dict[str, list[FoundModel]] = {}
        for root in self._current_roots():
            for model in self._models_of(root, problems, unknown).values():
                places.setdefault(model.name, []).append(model)
        duplicates = frozenset(name for name, found in places.items() if len(found) > 1)
        models = {name: found[0] for name, found in places.items() if name not in duplicates}
        if self._namespaces is not None:
            for name in sorted(duplicates):
                of_name = _told_apart(places[name], self._namespaces)
                models |= of_name
                if name in unknown:
                    unknown |= of_name.keys()
            unknown -= duplicates
            duplicates = frozenset()
        return Scan(
            models=dict(sorted(models.items())),
            duplicates=duplicates,
            unknown=frozenset(unknown),
            problems=problems,
        )

    def _current_roots(self) -> list[Path]:
        """Return each root once; two of them may be the same now and not have been before."""
        roots = distinct_roots(self._roots)
        for forgotten in self._seen.keys() - set(roots):
            del self._seen[forgotten]
        return roots

    def _models_of(
        self, root: Path, problems: dict[str, str], unknown: set[str]
    ) -> Mapping[str, FoundModel]:
        seen = self._seen.get(root, _NEVER)
        try:
            listed = list_root(root)
        except OSError as error:
            problems[str(root.absolute())] = root_problem(root, error)
        else:
            if not seen.models or not listed.is_unmounted(seen.device):
                models = self._look_at(root, listed.names, problems, unknown)
                self._seen[root] = _Root(listed.device, models)
                return models
            problems[str(root.absolute())] = unmounted_problem(root)
        unknown.update(seen.models)
        models = {name: _as_last_seen(model) for name, model in seen.models.items()}
        self._seen[root] = _Root(seen.device, models)
        return models

    def _look_at(
        self, root: Path, names: Iterable[str], problems: dict[str, str], unknown: set[str]
    ) -> Mapping[str, FoundModel]:
        models: dict[str, FoundModel] = {}
        prefix = os.fspath(root)
        seen = self._seen.get(root, _NEVER).models
        for name in names:
            try:
                listing = self._look(f"{prefix}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away just now
            except OSError as error:
                listing = Listing(
                    (), (Problem("", error.errno or 0, error.strerror or str(error)),)
                )
            model = _model(name, root, listing, seen.get(name))
            if listing.problems:
                problems[name] = _problem_text(root / name, listing.problems)
                unknown.add(name)
            if model is not None:
                models[name] = model
        return models


def _told_apart(
    models: Iterable[FoundModel], namespaces: Mapping[Path, str]
) -> dict[str, FoundModel]:
    """Return models of one name by names of their own."""
    named = (
        replace(model, name=qualified(namespaces[model.directory.parent], model.name))
        for model in models
    )
    return {model.name: model for model in named}


def _model(name: str, root: Path, listing: Listing, before: FoundModel | None) -> FoundModel | None:
    """Return what is to be taken for the model, the same object where nothing differs."""
    hidden = frozenset({_version_of(problem) for problem in listing.problems})
    folders = frozenset(version for version in hidden if version is not None)
    if folders != hidden:  # a file of all versions could not be looked at
        return None if before is None else _as_last_seen(before)
    entries = _completed(listing.entries, folders, before)
    if before is None or before.entries != entries:
        return _found(name, root / name, entries, folders)
    return before if before.hidden == folders else replace(before, hidden=folders)


def _as_last_seen(model: FoundModel) -> FoundModel:
    everything = frozenset(model.versions)
    return model if model.hidden == everything else replace(model, hidden=everything)


def _found(
    name: str, directory: Path, entries: tuple[Entry, ...], hidden: frozenset[int]
) -> FoundModel:
    versions, common = by_version(entries)
    prints = fingerprint_of(versions, common)
    return FoundModel(
        name=name,
        directory=directory,
        entries=entries,
        fingerprint=prints,
        versions={
            version: _version(version, prints, [*common, *own])
            for version, own in sorted(versions.items())
        },
        manifest=next((entry for entry in entries if entry.path == MANIFEST_FILE), None),
        hidden=hidden & versions.keys(),
    )


def _completed(
    entries: tuple[Entry, ...], hidden: frozenset[int], before: FoundModel | None
) -> tuple[Entry, ...]:
    """Put what was last seen in the place of each version that could not be seen as a whole."""
    if not hidden:
        return entries
    folders = {str(version) for version in hidden}
    seen = [entry for entry in entries if _first(entry) not in folders]
    earlier = before.entries if before is not None else ()
    return tuple(sorted([*seen, *(entry for entry in earlier if _first(entry) in folders)]))


def _version_of(problem: Problem) -> int | None:
    return version_of(problem.path.partition("/")[0])[0]


def _first(entry: Entry) -> str:
    return entry.path.partition("/")[0]


def _version(version: int, prints: Fingerprint, entries: Sequence[Entry]) -> FoundVersion:
    return FoundVersion(
        version=version,
        fingerprint=prints.of(version),
        files=tuple(entry for entry in entries if entry.kind != DIRECTORY),
        moved_ns=max(entry.moved_ns for entry in entries),
        body=prints.body_of(version),
    )


def _problem_text(directory: Path, problems: Sequence[Problem]) -> str:
    first = problems[0]
    text = f"failed to read {directory / first.path}: {first.text}"
    more = len(problems) - 1
    return f"{text} (and {more} more)" if more else text
