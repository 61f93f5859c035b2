"""Decide whether a report comes too late: for a generation that has moved on without it.

Such a report is no bug. A load that was written off goes on in its thread, and what it had
to say may cross the decision to wait for it no longer.
"""

from collections.abc import Mapping
from typing import Final

from interlock.control.lifecycle import TRANSITIONS, Event
from interlock.control.reports import Drained, LoadDropped, Loaded, LoadFailed, Progress, Report
from interlock.domain.transition import Phase

_BEING_BUILT: Final = frozenset({Phase.LOADING, Phase.WARMING, Phase.PROVING})
_MAY_END: Final[Mapping[type[Report], frozenset[Phase]]] = {
    Loaded: _BEING_BUILT,
    # Repository agents refuse what nobody has begun to build.
    LoadFailed: _BEING_BUILT | {Phase.PREPARING},
}


def is_late(report: Report, phase: Phase, *, built: bool) -> bool:
    """Return whether nothing is to become of the report any more.

    `phase` is that of the generation now; `built` is whether its load has delivered already.
    """
    match report:
        case Progress(event=event):
            return built or (phase, event) not in TRANSITIONS
        case Loaded() | LoadFailed():
            return built or phase not in _MAY_END[type(report)]
        case LoadDropped():
            return (phase, Event.DROP) not in TRANSITIONS
        case Drained():
            return phase is not Phase.DRAINING
        case _:
            return phase is not Phase.UNLOADING
