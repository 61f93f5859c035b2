"""Run a model's repository agents in order, and tell each of them once how it ended.

A chain belongs to one load, whatever number of versions that loads. It blocks whoever calls:
one thread at a time, not the manager's.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import structlog

from interlock.control.agent_model import Found, HeldModel, ScratchRoot, Subject
from interlock.control.agent_pool import CutOff, Ending, OnNotice
from interlock.control.agent_seat import Seat, text_of
from interlock.control.agent_story import advance, ending, is_forward, is_over, name_of
from interlock.control.agent_verdicts import Heard
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

    def run(self, call: Callable[[], None], cut_off: CutOff | None, on_notice: OnNotice) -> Ending:
        """Run `call` and return once it is over, or need not be waited for.

        `on_notice` is told of one that goes on for long.
        """
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """One agent of a chain; `make` runs the agent's code.

    One that is not binding only looks on: what it refuses is written down, and the chain goes
    on with what there was before it.
    """

    name: str
    make: Callable[[], RepositoryAgent]
    parameters: Mapping[str, str] = field(default_factory=dict)
    is_binding: bool = True


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

    Whatever was begun is to be ended: `close` does, wherever the story stands. `cancel` and
    `at_work` are for any thread, at any time.
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
        self._heard: list[Heard] = []

    @property
    def location(self) -> Location:
        """Where the model's files are, after the agents that have been at work."""
        return self._found.location

    @property
    def heard(self) -> tuple[Heard, ...]:
        """What the agents have said on LOAD, in their order, as far as they came."""
        return tuple(self._heard)

    @property
    def at_work(self) -> tuple[tuple[str, Action], ...]:
        """The agents that are inside an action now, and that action. Any thread may ask."""
        return tuple(
            (seat.name, action) for seat in tuple(self._seats) if (action := seat.model.action)
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
        refusal = self._refusal_of(seat, self._tell(seat, Action.LOAD))
        reason = None if refusal is None else str(refusal)
        self._heard.append(Heard(link.name, link.parameters, reason, model.notes))
        if refusal is not None:
            if link.is_binding:
                raise refusal
            return
        if model.published is not None:
            config = self._surroundings.read_config(model.published)
            self._found = Found(model.published, config)

    def _refusal_of(self, seat: Seat, how: Ending) -> ServiceError | None:
        """Return why a LOAD has not ended well. Raise ServiceError where nobody wants it."""
        match how:
            case Ending.RETURNED:
                return self._words_against(seat)
            case Ending.OVER_TIME:
                return UnavailableError(
                    f"agent '{seat.name}' did not come to an end within "
                    f"--agent-timeout-secs={self._surroundings.pool.timeout_s:g}"
                )
            case Ending.CUT_OFF:
                raise self._unwanted()
            case Ending.NO_THREAD:
                return UnavailableError(
                    f"no thread is left for agent '{seat.name}': {self._surroundings.pool.lost} "
                    "agents hang; restart the server"
                )

    def _words_against(self, seat: Seat) -> ServiceError | None:
        # The reason is kept, and its frames with it: they must not lead to those of the
        # agent, which may hold what was decrypted.
        refusal = seat.take_refusal()
        return None if refusal is None else self._reason(seat, refusal)

    def _reason(self, seat: Seat, refusal: BaseException) -> ServiceError:
        """Return what the model's reason is; what nobody meant to raise is logged whole."""
        if isinstance(refusal, AgentCancelledError) and self._cut_off.is_cut:
            return self._unwanted()
        if isinstance(refusal, AgentError):
            text = text_of(refusal) or f"agent '{seat.name}' refuses it, and does not say why"
            return _kind_of(refusal.fault)(text)
        if isinstance(refusal, PathError):
            return InvalidRequestError(text_of(refusal))
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
        notice = partial(self._notice, seat, action)
        how = self._surroundings.pool.run(seat.work, cut_off, notice)
        if how is Ending.NO_THREAD:
            seat.take_back()
            self._warn(seat, action, "does not hear of it: no thread is left")
        elif how is not Ending.RETURNED:
            seat.model.abandon()
            self._warn(seat, action, how.value)
        return how

    def _notice(self, seat: Seat, action: Action, seconds: float) -> None:
        log.warning(
            "an agent is still at work",
            model=self._subject.name,
            agent=seat.name,
            action=name_of(action),
            seconds=round(seconds),
        )

    def _warn(self, seat: Seat, action: Action, what: str) -> None:
        log.warning(
            "an agent was not waited for",
            model=str(self._subject),
            agent=seat.name,
            action=name_of(action),
            what=what,
            hanging=self._surroundings.pool.lost,
        )


def _kind_of(fault: object) -> type[ServiceError]:
    """Return the kind of error for a fault, which foreign code may have made up."""
    return _FAULTS[fault] if isinstance(fault, Fault) else InternalError


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": '{error.filename}'" if error.filename else ""
        return f"{error.strerror}{place}"
    kind, text = type(error).__name__, " ".join(text_of(error).split())
    return f"{kind}: {text}" if text not in {"", kind} else kind
