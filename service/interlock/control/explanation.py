"""Say why a version does not serve: the one place where that sentence is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock.domain.transition import Phase, VersionState

NOT_IN_REPOSITORY: Final = "its directory is not in the repository"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else is known of a version.

    `problem` says why the repository's copy of the model cannot be loaded, `policy` what the
    version policy is, `trouble` what was wrong when the model was last polled, `staging` how
    far a content is that arrives, `hold` what keeps the model as it is.
    """

    is_on_disk: bool = True
    is_selected: bool = True
    problem: str = ""
    policy: str = ""
    trouble: str = ""
    staging: str = ""
    hold: str = ""


def why_not_ready(states: Sequence[VersionState], around: Surroundings, now: float) -> str:
    """Return why none of a version's contents serves, "" where one does.

    `states` are those of its contents, the newest last; `now` is monotonic.
    """
    if any(state.phase is Phase.READY for state in states):
        return ""
    reason = _why(states, around, now)
    if not around.hold or reason == around.hold or not _is_wanted(around):
        return reason
    return f"{reason}; {around.hold}"


def _is_wanted(around: Surroundings) -> bool:
    """Whether it would serve if nothing held the model."""
    return around.is_on_disk and around.is_selected and not around.problem


def _why(states: Sequence[VersionState], around: Surroundings, now: float) -> str:
    if not states:
        return around.staging or _why_untouched(around)
    newest = states[-1]
    if newest.phase is Phase.UNLOADED:
        return around.staging or _why_unloaded(newest, around)
    reason = _told(newest)
    if newest.next_try is not None:
        reason = f"{reason}; {_quarantine(newest, newest.next_try, now)}"
    return f"{reason}; its next content is {around.staging}" if around.staging else reason


def _why_untouched(around: Surroundings) -> str:
    if not around.is_on_disk:
        return around.problem or NOT_IN_REPOSITORY
    if around.problem:
        return around.problem
    if not around.is_selected:
        return _policy(around)
    return around.trouble or around.hold or "nothing has asked to load it since its files came"


def _why_unloaded(state: VersionState, around: Surroundings) -> str:
    if around.is_on_disk and not around.is_selected and not around.problem:
        return _policy(around)
    return _told(state)


def _told(state: VersionState) -> str:
    if state.reason in {"", state.phase.value}:
        return state.phase.value
    return f"{state.phase.value}: {state.reason}"


def _policy(around: Surroundings) -> str:
    return f"the version policy ({around.policy}) does not select it"


def _quarantine(state: VersionState, next_try: float, now: float) -> str:
    times = "" if state.failures == 1 else f" after {state.failures} failures"
    return f"quarantined{times}, next try in {max(0.0, next_try - now):.0f} s"
