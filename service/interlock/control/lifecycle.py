"""The life of a version: its phases, and the moves between them.

The table is the machine. Nothing else assigns a phase: `control.records` asks `advance`,
and a move that the table does not have is a bug, whoever asks for it. Clients never see a
phase; `readiness_of` projects it to Triton's words.

A phase belongs to one *generation* of a version. A directory that has changed is a new
generation with a life of its own, so that a reload is an upgrade like any other: the old
generation stays READY until the new one takes its place.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from interlock.domain.readiness import Readiness
from interlock.domain.transition import Phase, Transition

__all__ = [
    "ON_THE_WAY",
    "OVER",
    "TRANSITIONS",
    "Event",
    "IllegalTransitionError",
    "Phase",
    "Transition",
    "advance",
    "readiness_of",
]


class Event(Enum):
    """What happens to a generation."""

    PREPARE = "prepare"
    LOAD = "load"
    WARM = "warm"
    PROVE = "prove"
    SHOW = "show"
    STAND_BY = "stand_by"
    """Replaced, and kept warm for a while."""
    FAIL = "fail"
    DROP = "drop"
    """Given up before anything was built."""
    DISCARD = "discard"
    """Given up after it was built, without ever having been shown."""
    ADJUST = "adjust"
    """Other instances have taken over; it served all the time."""
    KEEP = "keep"
    """Other instances could not be had; it serves as before."""
    WITHDRAW = "withdraw"
    DRAINED = "drained"
    UNLOADED = "unloaded"
    DISMISS = "dismiss"
    """A failed one that nobody asks for any more."""


TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = MappingProxyType(
    {
        (Phase.NEW, Event.PREPARE): Phase.PREPARING,
        (Phase.NEW, Event.LOAD): Phase.LOADING,
        (Phase.NEW, Event.DROP): Phase.UNLOADED,
        (Phase.PREPARING, Event.LOAD): Phase.LOADING,
        (Phase.PREPARING, Event.FAIL): Phase.FAILED,
        (Phase.PREPARING, Event.DROP): Phase.UNLOADED,
        (Phase.LOADING, Event.WARM): Phase.WARMING,
        (Phase.LOADING, Event.PROVE): Phase.PROVING,
        (Phase.LOADING, Event.FAIL): Phase.FAILED,
        (Phase.LOADING, Event.DROP): Phase.UNLOADED,
        (Phase.WARMING, Event.PROVE): Phase.PROVING,
        (Phase.WARMING, Event.FAIL): Phase.FAILED,
        (Phase.PROVING, Event.SHOW): Phase.READY,
        (Phase.PROVING, Event.FAIL): Phase.FAILED,
        (Phase.PROVING, Event.DISCARD): Phase.UNLOADING,
        (Phase.READY, Event.STAND_BY): Phase.STANDBY,
        (Phase.READY, Event.ADJUST): Phase.READY,
        (Phase.READY, Event.KEEP): Phase.READY,
        (Phase.READY, Event.WITHDRAW): Phase.DRAINING,
        (Phase.STANDBY, Event.SHOW): Phase.READY,
        (Phase.STANDBY, Event.WITHDRAW): Phase.DRAINING,
        (Phase.DRAINING, Event.DRAINED): Phase.UNLOADING,
        (Phase.UNLOADING, Event.UNLOADED): Phase.UNLOADED,
        (Phase.FAILED, Event.DISMISS): Phase.UNLOADED,
    }
)


ON_THE_WAY: Final = frozenset(
    {
        Phase.NEW,
        Phase.PREPARING,
        Phase.LOADING,
        Phase.WARMING,
    }
)
"""The phases in which it is still open whether the generation will be built."""

OVER: Final = frozenset({Phase.UNLOADED, Phase.FAILED})
"""The phases in which a generation holds nothing."""

_READINESS: Final[Mapping[Phase, Readiness]] = MappingProxyType(
    {
        Phase.NEW: Readiness.UNKNOWN,
        Phase.STAGING: Readiness.UNAVAILABLE,
        Phase.PREPARING: Readiness.LOADING,
        Phase.LOADING: Readiness.LOADING,
        Phase.WARMING: Readiness.LOADING,
        Phase.PROVING: Readiness.LOADING,
        Phase.READY: Readiness.READY,
        Phase.STANDBY: Readiness.UNLOADING,
        Phase.DRAINING: Readiness.UNLOADING,
        Phase.UNLOADING: Readiness.UNLOADING,
        Phase.UNLOADED: Readiness.UNAVAILABLE,
        Phase.FAILED: Readiness.UNAVAILABLE,
    }
)


class IllegalTransitionError(Exception):
    """A move that the table does not have was asked for. The phase has not changed."""

    def __init__(self, phase: Phase, event: Event) -> None:
        super().__init__(f"a version that is {phase.value} cannot take the event {event.value}")
        self.phase = phase
        self.event = event


def advance(phase: Phase, event: Event) -> Phase:
    """Return the phase after `event`. Raise IllegalTransitionError where there is no such move."""
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise IllegalTransitionError(phase, event) from None


def readiness_of(phase: Phase) -> Readiness:
    """Return what clients see of a version whose generation is in `phase`."""
    return _READINESS[phase]
