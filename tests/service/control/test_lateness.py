"""Which reports come too late."""

import pytest

from interlock.control.lateness import is_late
from interlock.control.lifecycle import Event
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Report,
    Unloaded,
)
from interlock.domain.errors import InternalError
from interlock.domain.transition import Phase
from tests.support.control import key, served

KEY = key(1)
WARM = Progress(KEY, Event.WARM)
PROVE = Progress(KEY, Event.PROVE)
LOADED = Loaded(KEY, served(KEY))
FAILED = LoadFailed(KEY, InternalError("broken"))
DROPPED = LoadDropped(KEY)
BEING_BUILT = {Phase.LOADING, Phase.WARMING, Phase.PROVING}


@pytest.mark.parametrize(
    ("report", "in_time"),
    [
        pytest.param(WARM, {Phase.LOADING}, id="warm"),
        pytest.param(PROVE, {Phase.LOADING, Phase.WARMING}, id="prove"),
        pytest.param(LOADED, BEING_BUILT, id="loaded"),
        pytest.param(FAILED, BEING_BUILT | {Phase.PREPARING}, id="failed"),
        pytest.param(Drained(KEY), {Phase.DRAINING}, id="drained"),
        pytest.param(Unloaded(KEY), {Phase.UNLOADING}, id="unloaded"),
    ],
)
def test_a_report_is_in_time_in_the_phases_that_wait_for_it(
    report: Report, in_time: set[Phase]
) -> None:
    assert {phase for phase in Phase if not is_late(report, phase, built=False)} == in_time


@pytest.mark.parametrize("report", [WARM, PROVE, LOADED, FAILED], ids=repr)
def test_what_has_been_delivered_is_not_loaded_any_more(report: Report) -> None:
    assert is_late(report, Phase.PROVING, built=True)


def test_what_waits_for_a_thread_can_be_dropped_and_what_is_over_cannot() -> None:
    assert not is_late(DROPPED, Phase.LOADING, built=False)
    assert is_late(DROPPED, Phase.FAILED, built=False)
    assert is_late(DROPPED, Phase.WARMING, built=False)
