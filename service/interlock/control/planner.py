"""Decide what to do next for one model: aspired and actual in, actions out.

The rule is availability first: what serves goes on serving until all that is aspired has
been built, then the whole set changes at once. A load in which one version failed changes
nothing of what serves. Where each version stands alone, that holds for each version: it is
shown as soon as it is built, and what failed takes nothing away. A version that only gets
other instances goes on serving; it counts as built when these are.

`plan` looks at one *unit*, the models that must change together; without ensembles that is
one model. It is total, deterministic, and empty on its own result.
"""

from collections.abc import Iterator, Mapping, Set as AbstractSet

from interlock.control.actions import (
    Action,
    Discard,
    Dismiss,
    Drop,
    Forget,
    Load,
    Show,
    Withdraw,
)
from interlock.control.adjusting import GOING_ON, NOTHING, Adjusting, Stage, adjust
from interlock.control.lifecycle import ON_THE_WAY, OVER, Phase
from interlock.domain.ids import Generation, GenerationKey, VersionKey

Aspired = AbstractSet[GenerationKey]
Actual = Mapping[GenerationKey, Phase]

_BUILT = frozenset({Phase.PROVING, Phase.READY})
_UNTOUCHED = frozenset({Phase.NEW, Phase.STAGING})


def plan(
    aspired: Aspired, actual: Actual, *, alone: bool = False, adjusting: Adjusting = NOTHING
) -> tuple[Action, ...]:
    """Return what to do now, in the order in which it is to be marked.

    Every aspired generation has an entry in `actual`, NEW if nothing was done for it yet;
    `adjusting` holds those of them that serve and are to get other instances.
    """
    newest = _newest(actual)
    complete = alone or is_reached(aspired, actual, adjusting)
    undecided = _is_undecided(aspired, actual, adjusting)
    succeeded = {key.version_key for key in aspired}
    actions: list[Action] = list(adjust(aspired, adjusting, complete=complete, undecided=undecided))
    # What serves comes last: the new READY is announced before the old UNLOADING.
    for key in sorted(actual, key=lambda key: (actual[key] is Phase.READY, key)):
        phase = actual[key]
        if key in aspired:
            actions += _for_aspired(key, phase, complete=complete, undecided=undecided)
        elif phase is Phase.READY and (_may_go(key, aspired, actual) if alone else complete):
            replaced = key.version_key in succeeded
            actions.append(Withdraw(key, "replaced" if replaced else "no longer asked for"))
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
        phase is Phase.PROVING or key in adjusting if key in aspired else phase is Phase.READY
        for key, phase in actual.items()
    )


def _is_undecided(aspired: Aspired, actual: Actual, adjusting: Adjusting = NOTHING) -> bool:
    return any(actual[key] in ON_THE_WAY or adjusting.get(key) in GOING_ON for key in aspired)


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
    serving = {other.version_key for other, phase in actual.items() if phase in _BUILT}
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
    elif phase is Phase.PROVING and not undecided:
        # All or nothing: another version of the same load failed. What it leaves behind
        # stays aspired, so that nothing loads it again before somebody asks.
        yield Discard(key, "another version of this load failed")


def _for_the_rest(key: GenerationKey, phase: Phase, *, last: bool) -> Iterator[Action]:
    if phase is Phase.PROVING:
        yield Discard(key, "no longer asked for")
    elif phase is Phase.FAILED and last:
        yield Dismiss(key, "no longer asked for")
    elif phase in _UNTOUCHED:
        yield Drop(key, "no longer asked for")
    if not last and (phase in OVER or phase in _UNTOUCHED):
        yield Forget(key, "a newer generation tells of this version")
