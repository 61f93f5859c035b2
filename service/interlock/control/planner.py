"""Decide what to do next for one model: aspired and actual in, actions out.

The rule is availability first: what serves goes on serving until all that is aspired has
been built, then the whole set changes at once. A load in which one version failed changes
nothing of what serves. Where each version stands alone, that holds for each version: it is
shown as soon as it is built, and what failed takes nothing away. A version that only gets
other instances goes on serving; it counts as built when these are. A model may ask for the
contrary, resources first: then what serves goes before its successor is built.

What was replaced stands by for the rollback window, until the next change.

`plan` looks at one *unit*, the models that must change together; without ensembles that is
one model. It is total, deterministic, and empty on its own result.
"""

from collections.abc import Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from interlock.control.actions import (
    Action,
    Discard,
    Dismiss,
    Drop,
    Forget,
    Load,
    Show,
    StandBy,
    Withdraw,
)
from interlock.control.adjusting import GOING_ON, NOTHING, Adjusting, Stage, adjust
from interlock.control.lifecycle import ON_THE_WAY, OVER, Phase
from interlock.domain.ids import Generation, GenerationKey, VersionKey

Aspired = AbstractSet[GenerationKey]
Actual = Mapping[GenerationKey, Phase]
Banned = Mapping[GenerationKey, str]
NOBODY: Final[Banned] = {}

_BUILT = frozenset({Phase.PROVING, Phase.READY, Phase.STANDBY})
_NOT_BEGUN = frozenset({Phase.NEW, Phase.PREPARING})
_UNSHOWN = frozenset({Phase.PROVING, Phase.STANDBY})
_SHOWABLE = frozenset({Phase.READY, Phase.STANDBY})


@dataclass(frozen=True, slots=True)
class Window:
    """What of a model stands by.

    `recent` came to it through the present wish, so that its next step does not end it;
    the time of `over` has run out. `unkept` never comes to it: what replaces that is the same.
    """

    recent: Aspired = frozenset()
    over: Aspired = frozenset()
    unkept: Aspired = frozenset()


def plan(
    aspired: Aspired,
    actual: Actual,
    *,
    alone: bool = False,
    adjusting: Adjusting = NOTHING,
    window: Window | None = None,
    room_first: bool = False,
    banned: Banned = NOBODY,
) -> tuple[Action, ...]:
    """Return what to do now, in the order in which it is to be marked.

    Every aspired generation has an entry in `actual`, NEW if nothing was done for it yet;
    `adjusting` holds those of them that serve and are to get other instances. Without a
    `window` nothing stands by. With `room_first`, which goes without one, nothing is built
    before what it replaces is gone. What is `banned`, with a reason, goes whatever else is so;
    it is not among what is aspired.
    """
    newest = _newest(actual)
    complete = alone or is_reached(aspired, actual, adjusting)
    undecided = _is_undecided(aspired, actual, adjusting)
    room_first = room_first and any(actual[key] is Phase.NEW for key in aspired)
    staying = {key: phase for key, phase in actual.items() if key not in banned}
    leaving = _leaving(aspired, staying, alone=alone, complete=complete, room_first=room_first)
    waits = room_first and _has_others(aspired, actual)
    successors = {key.version_key for key in aspired}
    actions: list[Action] = list(adjust(aspired, adjusting, complete=complete, undecided=undecided))
    # What serves comes last: the new READY is announced before the old UNLOADING.
    for key in sorted(actual, key=lambda key: (actual[key] is Phase.READY, key)):
        phase = actual[key]
        if key in banned and phase in _SHOWABLE:
            actions.append(Withdraw(key, banned[key]))
        elif key in leaving:
            is_replaced = room_first or key.version_key in successors
            reason = "replaced" if is_replaced else "no longer asked for"
            stays = window is not None and bool(aspired) and key not in window.unkept
            actions.append(StandBy(key, reason) if stays else Withdraw(key, reason))
        elif key in aspired:
            if not (waits and phase is Phase.NEW):
                actions += _for_aspired(key, phase, complete=complete, undecided=undecided)
        elif phase is Phase.STANDBY:
            if not (aspired and window and _stays(key, window, swaps=bool(leaving))):
                actions.append(Withdraw(key, "no longer kept for a rollback"))
        else:
            actions += _for_the_rest(key, phase, last=newest[key.version_key] == key.generation)
    return tuple(actions)


def is_reached(aspired: Aspired, actual: Actual, adjusting: Adjusting = NOTHING) -> bool:
    """Return whether all that is aspired has been built, so that it can serve."""
    return all(
        actual[key] in _BUILT and adjusting.get(key, Stage.PREPARED) is Stage.PREPARED
        for key in aspired
    )


def is_settled(aspired: Aspired, actual: Actual, adjusting: Adjusting = NOTHING) -> bool:
    """Return whether it is known how the wish ended: all serve, or some never will."""
    if not is_reached(aspired, actual, adjusting):
        return not _is_undecided(aspired, actual, adjusting)
    return not any(
        phase in _UNSHOWN or key in adjusting if key in aspired else phase is Phase.READY
        for key, phase in actual.items()
    )


def _is_undecided(aspired: Aspired, actual: Actual, adjusting: Adjusting = NOTHING) -> bool:
    return any(actual[key] in ON_THE_WAY or adjusting.get(key) in GOING_ON for key in aspired)


def _leaving(
    aspired: Aspired, actual: Actual, *, alone: bool, complete: bool, room_first: bool
) -> AbstractSet[GenerationKey]:
    """Return what serves and does so no longer."""
    return {
        key
        for key, phase in actual.items()
        if phase is Phase.READY
        and key not in aspired
        and (room_first or (_may_go(key, aspired, actual) if alone else complete))
    }


def _has_others(aspired: Aspired, actual: Actual) -> bool:
    """Return whether something holds memory that nobody asks for.

    What has not begun is given up at once, and nothing will be heard of it any more.
    """
    return any(
        phase not in OVER | _NOT_BEGUN for key, phase in actual.items() if key not in aspired
    )


def _stays(key: GenerationKey, window: Window, *, swaps: bool) -> bool:
    """Return whether one goes on to stand by; a change makes room for what it replaces."""
    return key not in window.over and (not swaps or key in window.recent)


def _may_go(key: GenerationKey, aspired: Aspired, actual: Actual) -> bool:
    """Return whether what serves and is not aspired has what takes its place.

    Each version stands alone. One that only gets other instances serves all the time.
    """
    if not aspired:
        return True
    successors = [other for other in aspired if other.version_key == key.version_key]
    if successors:
        return is_reached(frozenset(successors), actual)
    if _is_undecided(aspired, actual):
        return False
    # What stands by, or has only been built, serves only if it is asked for.
    serving = {
        other.version_key
        for other, phase in actual.items()
        if phase is Phase.READY or (phase in _BUILT and other in aspired)
    }
    return any(other.version_key in serving for other in aspired)


def _newest(actual: Actual) -> Mapping[VersionKey, Generation]:
    newest: dict[VersionKey, Generation] = {}
    for key in actual:
        newest[key.version_key] = max(key.generation, newest.get(key.version_key, key.generation))
    return newest


def _for_aspired(
    key: GenerationKey, phase: Phase, *, complete: bool, undecided: bool
) -> Iterator[Action]:
    if phase is Phase.NEW:
        yield Load(key, "asked for")
    elif phase is Phase.PROVING and complete:
        yield Show(key, "loaded")
    elif phase is Phase.STANDBY and complete:
        yield Show(key, "it stood by")
    elif phase is Phase.STANDBY and not undecided:
        yield Withdraw(key, "another version of this load failed")
    elif phase is Phase.PROVING and not undecided:
        # All or nothing: another version of the same load failed. What it leaves behind
        # stays aspired, so that nothing loads it again before somebody asks.
        yield Discard(key, "another version of this load failed")


def _for_the_rest(key: GenerationKey, phase: Phase, *, last: bool) -> Iterator[Action]:
    if phase is Phase.PROVING:
        yield Discard(key, "no longer asked for")
    elif phase is Phase.FAILED and last:
        yield Dismiss(key, "no longer asked for")
    elif phase in _NOT_BEGUN:
        yield Drop(key, "no longer asked for")
    if not last and phase in OVER | _NOT_BEGUN:
        yield Forget(key, "a newer generation tells of this version")
