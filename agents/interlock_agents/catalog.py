"""Where agents come from: built in, from a directory of the operator's, from packages.

An agent's code is imported when the agent is first needed, in the thread of whoever needs
it, and once in the life of the process.
"""

import importlib.util
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from interlock_agents.api import AgentError, Fault, Parameter, RepositoryAgent
from interlock_agents.checksum import ChecksumAgent

GROUP: Final = "interlock.agents"
"""The entry points of installed packages: a name, and a class that is a RepositoryAgent."""
AGENT_FILE: Final = "agent.py"
AGENT_CLASS: Final = "Agent"

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_MODULES: Final = "interlock_agents_from_directory"
_AS_MODULE: Final = str.maketrans({"_": "__", ".": "_d", "-": "_h"})
_BUILT_IN: Final = "built in"


@dataclass(frozen=True, slots=True)
class Offer:
    """An agent: the class, which says what it takes, and how one of it is made."""

    kind: type[RepositoryAgent]
    make: Callable[[], RepositoryAgent]

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        lines = (self.kind.__doc__ or "").strip().splitlines()
        return lines[0] if lines else ""

    @property
    def parameters(self) -> Sequence[Parameter]:
        return tuple(self.kind.parameters)


class KnownAgent:
    """An agent by its name and origin, whose code may not have been imported yet.

    Any thread may call; whoever comes second waits for the one that imports.
    """

    def __init__(self, name: str, origin: str, find: Callable[[], Offer]) -> None:
        self.name = name
        self.origin = origin
        self._find = find
        self._lock = threading.Lock()  # guards the next line, and is held while importing
        self._offer: Offer | None = None

    def offer(self) -> Offer:
        """Return the agent. Raise AgentError where its code cannot be imported."""
        with self._lock:
            if self._offer is None:
                try:
                    self._offer = self._find()
                except AgentError:
                    raise
                except BaseException as error:  # foreign code may raise SystemExit
                    raise self._broken(error) from error
            return self._offer

    def make(self) -> RepositoryAgent:
        """Return a new one, for one model. Raise AgentError as `offer` does."""
        return self.offer().make()

    def _broken(self, error: BaseException) -> AgentError:
        text = " ".join(str(error).split())
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return AgentError(f"agent '{self.name}' ({self.origin}): {what}", Fault.INTERNAL)


class AgentCatalog:
    """Names to agents: those built in, then those of the directory, then those of packages.

    A name that stands for one cannot be taken by another further down. The directory is
    looked into whenever a name is asked for. Any thread may call.
    """

    def __init__(
        self,
        built_in: Mapping[str, Offer] | None = None,
        *,
        directory: Path | None = None,
        installed: Callable[[], Iterable[EntryPoint]] = lambda: entry_points(group=GROUP),
    ) -> None:
        offers = default_offers() if built_in is None else built_in
        self._directory = directory
        self._built_in = {name: _fixed(name, offer) for name, offer in offers.items()}
        self._installed = installed
        # Guards the next line.
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], KnownAgent] = {}

    def names(self) -> tuple[str, ...]:
        """Return every name that there is, in order."""
        found = {*self._built_in, *self._names_in_directory()}
        return tuple(sorted(found | {point.name for point in self._installed()}))

    def find(self, name: str) -> KnownAgent:
        """Return the agent with a name. Raise AgentError, which lists those that there are."""
        if (known := self._built_in.get(name)) is not None:
            return known
        # A name is never a way out of the directory.
        if _NAME.fullmatch(name) and (found := self._found_by(name)) is not None:
            return found
        raise AgentError(self._unknown(name))

    def _found_by(self, name: str) -> KnownAgent | None:
        if (path := self._file_of(name)) is not None:
            return self._once(name, str(path), lambda: _from_file(name, path))
        points = [point for point in self._installed() if point.name == name]
        if not points:
            return None
        origin = " and ".join(sorted(map(_package_of, points)))
        return self._once(name, origin, lambda: _from_package(name, points))

    def _once(self, name: str, origin: str, find: Callable[[], Offer]) -> KnownAgent:
        with self._lock:
            return self._found.setdefault((name, origin), KnownAgent(name, origin, find))

    def _file_of(self, name: str) -> Path | None:
        if self._directory is None:
            return None
        path = self._directory / name / AGENT_FILE
        return path if path.is_file() else None

    def _names_in_directory(self) -> set[str]:
        if self._directory is None or not self._directory.is_dir():
            return set()
        names = {path.name for path in self._directory.iterdir() if _NAME.fullmatch(path.name)}
        return {name for name in names if self._file_of(name) is not None}

    def _unknown(self, name: str) -> str:
        known = f"this server has {', '.join(self.names())}"
        if self._directory is None:
            return f"unable to find repo agent '{name}': {known}"
        searched = self._directory / name if _NAME.fullmatch(name) else self._directory
        return (
            f"unable to find '{AGENT_FILE}' for repo agent '{name}', searched: {searched}; {known}"
        )


def default_offers() -> Mapping[str, Offer]:
    """Return the agents that need nothing from the server."""
    return {"checksum": Offer(ChecksumAgent, ChecksumAgent)}


def _fixed(name: str, offer: Offer) -> KnownAgent:
    return KnownAgent(name, _BUILT_IN, lambda: offer)


def _from_file(name: str, path: Path) -> Offer:
    kind = getattr(_module(name, path), AGENT_CLASS, None)
    return _offer(kind, f"{path} has no class '{AGENT_CLASS}'")


def _from_package(name: str, points: Sequence[EntryPoint]) -> Offer:
    if len(points) > 1:
        packages = ", ".join(sorted(map(_package_of, points)))
        raise AgentError(
            f"several packages offer an agent '{name}': {packages}; one of them must go",
            Fault.INTERNAL,
        )
    return _offer(points[0].load(), f"'{points[0].value}' is no class")


def _offer(kind: object, otherwise: str) -> Offer:
    if isinstance(kind, type) and issubclass(kind, RepositoryAgent):
        return Offer(kind, kind)
    raise AgentError(
        f"{otherwise} that is a RepositoryAgent of interlock_agents.api", Fault.INTERNAL
    )


def _package_of(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else point.value


def _module(name: str, path: Path) -> ModuleType:
    """Import a file as a package of its own, with what lies beside it as its modules.

    Nothing is added to the search path, so that agents neither see each other's modules nor
    hide those that are installed.
    """
    full_name = f"{_MODULES}_{name.translate(_AS_MODULE)}"
    spec = importlib.util.spec_from_file_location(
        full_name, path, submodule_search_locations=[str(path.parent)]
    )
    if spec is None or spec.loader is None:
        raise AgentError(f"{path} cannot be imported", Fault.INTERNAL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for one in [
            one for one in sys.modules if one == full_name or one.startswith(f"{full_name}.")
        ]:
            del sys.modules[one]
        raise
    return module
