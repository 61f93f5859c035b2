"""Run a model's repository agents in order, and tell each of them once how it ended.

A chain belongs to one load, whatever number of versions that loads. It blocks whoever calls:
one thread at a time, not the manager's.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from interlock.control.agent_model import Found, HeldModel, ScratchRoot, Subject
from interlock.control.agent_pool import CutOff, Ending
from interlock.control.agent_seat import Seat
from interlock.control.agent_story import advance, ending, is_forward, is_over, name_of
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)
from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    Fault,
    Location,
    PathError,
    RepositoryAgent,
)

log = structlog.get_logger()

_FAULTS: Final[Mapping[Fault, type[ServiceError]]] = {
    Fault.INVALID: InvalidRequestError,
    Fault.UNSUPPORTED: UnsupportedError,
    Fault.UNAVAILABLE: UnavailableError,
    Fault.INTERNAL: InternalError,
}


class Pool(Protocol):
    """Runs what agents do. Any thread may call."""

    @property
    def timeout_s(self) -> float:
        """How long a call may take; 0 is for ever."""
        ...

    @property
    def lost(self) -> int:
        """How many threads are still inside a call that nobody waits for."""
        ...

    def run(self, call: Callable[[], None], cut_off: CutOff | None = None) -> Ending:
        """Run `call` and return once it is over, or need not be waited for."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """One agent of a chain, as the configuration names it; `make` runs the agent's code."""

    name: str
    make: Callable[[], RepositoryAgent]
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that an agent has recorded of its model."""

    agent: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every chain of a server needs.

    `read_config` returns the configuration at a location, empty where there is none, and
    raises ServiceError where it cannot be read.
    """

    pool: Pool
    scratch_root: ScratchRoot
    read_config: Callable[[Location], Mapping[str, object]]


class AgentChain:
    """The agents of one load. What comes out of the table's order raises IllegalActionError.

    Whatever was begun is to be ended: `close` does, wherever the story stands. Only `cancel`
    may be called by any thread, at any time.
    """

    def __init__(
        self, subject: Subject, links: Iterable[Link], found: Found, surroundings: Surroundings
    ) -> None:
        self._subject = subject
        self._links = tuple(links)
        self._found = found
        self._surroundings = surroundings
        self._cut_off = CutOff()
        self._lock = threading.Lock()  # guards the next line
        self._last: Action | None = None
        self._seats: list[Seat] = []

    @property
    def location(self) -> Location:
        """Where the model's files are, after the agents that have been at work."""
        return self._found.location

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the agents have recorded, in their order."""
        return tuple(
            Note(seat.name, name, value)
            for seat in self._seats
            for name, value in seat.model.notes.items()
        )

    @property
    def last(self) -> Action | None:
        """What the agents were told last."""
        return self._last

    def load(self) -> Location:
        """Tell each agent LOAD, and return where the model is to be loaded from then.

        Raise ServiceError with the reason of the first that refuses it, takes too long or is
        cut off; those that were told know then that the load has failed.
        """
        self._advance(Action.LOAD)
        try:
            for link in self._links:
                self._load(link)
            self._check_wanted()
        except BaseException:
            self.fail()
            raise
        return self.location

    def complete(self) -> None:
        """The model serves, and nobody reads its files any more: what is in memory is wiped."""
        self._advance(Action.LOAD_COMPLETE)
        for seat in self._seats:
            seat.model.forget_memory(is_in_use=seat.is_busy)
        self._tell_all(Action.LOAD_COMPLETE)

    def fail(self) -> None:
        """The model will not be loaded after all."""
        self._advance(Action.LOAD_FAIL)
        self._tell_all(Action.LOAD_FAIL)

    def unload(self) -> None:
        """The model is about to be unloaded."""
        self._advance(Action.UNLOAD)
        self._tell_all(Action.UNLOAD)

    def unloaded(self) -> None:
        """The model is gone."""
        self._advance(Action.UNLOAD_COMPLETE)
        self._tell_all(Action.UNLOAD_COMPLETE)

    def close(self) -> None:
        """End the story wherever it stands, as if the model were given up now."""
        for action in ending(self._last):
            self._advance(action)
            self._tell_all(action)

    def cancel(self) -> None:
        """Nobody waits for the load any more; does nothing once LOAD is over."""
        self._cut_off.cut()

    def _advance(self, action: Action) -> None:
        with self._lock:
            self._last = advance(self._last, action)

    def _load(self, link: Link) -> None:
        self._check_wanted()
        model = HeldModel(
            self._subject,
            link.parameters,
            self._found,
            scratch_root=self._surroundings.scratch_root,
            cut_off=self._cut_off,
        )
        seat = Seat(link.name, link.make, model)
        self._seats.append(seat)
        self._judge(seat, self._tell(seat, Action.LOAD))
        if model.published is not None:
            config = self._surroundings.read_config(model.published)
            self._found = Found(model.published, config)

    def _judge(self, seat: Seat, how: Ending) -> None:
        """Raise ServiceError where a LOAD has not ended well."""
        match how:
            case Ending.RETURNED:
                self._judge_refusal(seat)
            case Ending.OVER_TIME:
                raise UnavailableError(
                    f"agent '{seat.name}' did not come to an end within "
                    f"--agent-timeout-secs={self._surroundings.pool.timeout_s:g}"
                )
            case Ending.CUT_OFF:
                raise self._unwanted()
            case Ending.NO_THREAD:
                raise UnavailableError(
                    f"no thread is left for agent '{seat.name}': {self._surroundings.pool.lost} "
                    "agents hang; restart the server"
                )

    def _judge_refusal(self, seat: Seat) -> None:
        refusal = seat.take_refusal()
        if refusal is None:
            return
        reason = self._reason(seat, refusal)
        # The reason is kept, and its frames with it: they must not lead to those of the
        # agent, which may hold what was decrypted.
        del refusal
        raise reason

    def _reason(self, seat: Seat, refusal: BaseException) -> ServiceError:
        """Return what the model's reason is; what nobody meant to raise is logged whole."""
        if isinstance(refusal, AgentCancelledError) and self._cut_off.is_cut:
            return self._unwanted()
        if isinstance(refusal, AgentError):
            return _FAULTS[refusal.fault](str(refusal))
        if isinstance(refusal, PathError):
            return InvalidRequestError(str(refusal))
        log.error(
            "an agent failed unexpectedly",
            model=str(self._subject),
            agent=seat.name,
            exc_info=refusal,
        )
        return InternalError(f"agent '{seat.name}' failed: {_words_of(refusal)}")

    def _check_wanted(self) -> None:
        if self._cut_off.is_cut:
            raise self._unwanted()

    def _unwanted(self) -> UnavailableError:
        return UnavailableError("the load was given up while repository agents were at work")

    def _tell_all(self, action: Action) -> None:
        """Tell an action to every agent that was started; none keeps another from hearing it."""
        for seat in self._in_order(action):
            how = self._tell(seat, action)
            if is_over(action) and how is not Ending.RETURNED:
                # It may hang for ever; what it was given is taken back from outside.
                seat.model.free(is_in_use=seat.is_busy)

    def _in_order(self, action: Action) -> Sequence[Seat]:
        return self._seats if is_forward(action) else self._seats[::-1]

    def _tell(self, seat: Seat, action: Action) -> Ending:
        """Let an agent act, and wait for that; one that hangs hears it when it is back."""
        if not seat.post(action):
            self._warn(seat, action, "still at work, and will hear of it then")
            return Ending.OVER_TIME
        cut_off = self._cut_off if action is Action.LOAD else None
        how = self._surroundings.pool.run(seat.work, cut_off)
        if how is Ending.NO_THREAD:
            seat.take_back()
            self._warn(seat, action, "does not hear of it: no thread is left")
        elif how is not Ending.RETURNED:
            seat.model.abandon()
            self._warn(seat, action, how.value)
        return how

    def _warn(self, seat: Seat, action: Action, what: str) -> None:
        log.warning(
            "an agent was not waited for",
            model=str(self._subject),
            agent=seat.name,
            action=name_of(action),
            what=what,
            hanging=self._surroundings.pool.lost,
        )


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": '{error.filename}'" if error.filename else ""
        return f"{error.strerror}{place}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
