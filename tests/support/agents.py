"""Agents that do as they are told and remember what they heard; a pool that lets them hang."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interlock.control.agent_chain import AgentChain, Link, Pool, Surroundings
from interlock.control.agent_model import Found, Subject
from interlock.control.agent_pool import CutOff, Ending, OnNotice, quiet
from interlock.domain.errors import ServiceError
from interlock.runtime.threads import spawn
from interlock_agents.api import (
    Action,
    AgentModel,
    DirectoryLocation,
    FilesLocation,
    Location,
    MemoryFile,
    RepositoryAgent,
)

PATIENCE_S = 30.0

Act = Callable[[Action, AgentModel], object]


def nothing(action: Action, model: AgentModel) -> None:
    """Agree to everything."""


@dataclass
class Player:
    """What is known of one agent of a chain, from outside; `hold` may keep it from returning."""

    act: Act
    name: str
    diary: list[tuple[str, Action]]
    hold: Callable[[], None]
    story: list[Action] = field(default_factory=list)
    made: int = 0
    is_at_work: bool = False

    def make(self) -> RepositoryAgent:
        self.made += 1
        return _Playing(self)


class _Playing(RepositoryAgent):
    def __init__(self, player: Player) -> None:
        self._player = player

    def act(self, action: Action, model: AgentModel) -> None:
        player = self._player
        assert not player.is_at_work
        player.is_at_work = True
        player.story.append(action)
        player.diary.append((player.name, action))
        player.hold()
        try:
            player.act(action, model)
        finally:
            player.is_at_work = False


class PoolFake:
    """Runs calls in the caller's thread, or lets them hang in one until they are let go.

    `fate` is asked before each call what shall become of it.
    """

    timeout_s = 5.0

    def __init__(self, fate: Callable[[], Ending] = lambda: Ending.RETURNED) -> None:
        self._fate = fate
        self.hanging: list[_Hanging] = []

    @property
    def lost(self) -> int:
        return len(self.hanging)

    def run(
        self,
        call: Callable[[], None],
        cut_off: CutOff | None = None,
        on_notice: OnNotice = quiet,
    ) -> Ending:
        how = self._fate()
        if how is Ending.RETURNED or (how is Ending.CUT_OFF and cut_off is None):
            call()
            return Ending.RETURNED
        if how is Ending.NO_THREAD:
            return how
        hanging = _Hanging(call)
        if not hanging.is_inside_an_agent():
            return Ending.RETURNED
        self.hanging.append(hanging)
        if how is Ending.CUT_OFF and cut_off is not None:
            cut_off.cut()
        return how

    def let_go(self, index: int = 0) -> None:
        """Let one of those that hang come to an end after all."""
        self.hanging.pop(index).let_go()


class _Hanging:
    """A call in a thread of its own that stops inside the first agent that it comes to."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._stops = threading.Event()
        self._gate = threading.Event()
        self._has_stopped = False
        self._thread = spawn("hanging", self._run)

    def _run(self) -> None:
        _current.hanging = self
        self._call()
        self._stops.set()

    def is_inside_an_agent(self) -> bool:
        assert self._stops.wait(PATIENCE_S)
        return self._has_stopped

    def let_go(self) -> None:
        self._gate.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @staticmethod
    def hold() -> None:
        hanging: _Hanging | None = getattr(_current, "hanging", None)
        if hanging is not None and not hanging._has_stopped:
            hanging._has_stopped = True
            hanging._stops.set()
            assert hanging._gate.wait(PATIENCE_S)


_current = threading.local()

hold = _Hanging.hold
"""For agents to call: there they hang where `PoolFake` lets them."""


class ScratchFake:
    """Makes directories that are only names."""

    def __init__(self) -> None:
        self.made = 0
        self.there: set[Path] = set()

    def folder(self, prefix: str) -> Path:
        self.made += 1
        path = Path(f"/scratch/{prefix}{self.made}")
        self.there.add(path)
        return path

    def remove(self, directory: Path) -> None:
        self.there.remove(directory)


def config_file_of(location: Location) -> Mapping[str, object]:
    """Read a configuration that holds the model's name alone."""
    file = location.files().get("config.pbtxt")
    return {} if file is None else {"name": file.read().decode()}


NOWHERE = DirectoryLocation(Path("/nowhere"))


class Stage:
    """A chain of players, with all that it needs."""

    def __init__(
        self,
        *acts: Act,
        pool: Pool | None = None,
        found: Found | None = None,
        parameters: Mapping[str, str] | None = None,
        then: Link | None = None,
        is_binding: bool = True,
        read_config: Callable[[Location], Mapping[str, object]] = config_file_of,
    ) -> None:
        self.diary: list[tuple[str, Action]] = []
        self.scratch = ScratchFake()
        self.players = [
            Player(act, name, self.diary, _Hanging.hold)
            for act, name in zip(acts, "abcd", strict=False)
        ]
        links = [
            Link(player.name, player.make, parameters or {}, is_binding=is_binding)
            for player in self.players
        ]
        links += [] if then is None else [then]
        self.pool = pool or PoolFake()
        surroundings = Surroundings(self.pool, self.scratch, read_config)
        found = found or Found(NOWHERE, {"name": "m"})
        self.chain = AgentChain(Subject("m", (1,)), links, found, surroundings)

    @property
    def stories(self) -> list[list[Action]]:
        return [player.story for player in self.players]


def in_memory(model: AgentModel, **files: bytes) -> FilesLocation:
    """Return files in memory that were got through the model; `config` is config.pbtxt."""
    made: dict[str, MemoryFile] = {}
    for name, content in files.items():
        made[name] = model.memory_file(len(content))
        made[name].buffer[:] = content
        made[name].seal()
    return FilesLocation(
        {"config.pbtxt" if name == "config" else name: file for name, file in made.items()}
    )


def on(action: Action, act: Act) -> Act:
    """An agent that does something on one action, and agrees to the others."""
    return lambda heard, model: heard is action and act(heard, model)


def raising(error: BaseException) -> Act:
    def act(action: Action, model: AgentModel) -> None:
        raise error

    return act


def publishing(location: Location) -> Act:
    return on(Action.LOAD, lambda _, model: model.publish(location))


def live(stage: Stage) -> None:
    """Go from the load to the end."""
    chain = stage.chain
    for move in (chain.load, chain.complete, chain.unload, chain.unloaded):
        move()


def refusal_of(stage: Stage) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        stage.chain.load()
    return refused.value


def fate_of(call: int, how: Ending) -> Callable[[], Ending]:
    """The fate of the call with this number; all others return."""
    calls = iter(range(1000))
    return lambda: how if next(calls) == call else Ending.RETURNED
