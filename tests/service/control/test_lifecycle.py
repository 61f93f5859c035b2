"""The table of the life of a version."""

from itertools import product

import pytest
from hypothesis import given, strategies as st

from interlock.control.lifecycle import (
    ON_THE_WAY,
    OVER,
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    Phase,
    advance,
    readiness_of,
)
from interlock.domain.readiness import Readiness

ILLEGAL = [pair for pair in product(Phase, Event) if pair not in TRANSITIONS]


@pytest.mark.parametrize(
    ("phase", "event"),
    [pytest.param(*pair, id=f"{pair[0].value}-{pair[1].value}") for pair in ILLEGAL],
)
def test_a_move_outside_the_table_is_refused(phase: Phase, event: Event) -> None:
    with pytest.raises(IllegalTransitionError) as caught:
        advance(phase, event)

    assert (caught.value.phase, caught.value.event) == (phase, event)
    assert phase.value in str(caught.value)
    assert event.value in str(caught.value)


def test_the_way_of_a_version_that_serves() -> None:
    phases = [Phase.NEW]
    for event in (
        Event.PREPARE,
        Event.LOAD,
        Event.WARM,
        Event.PROVE,
        Event.SHOW,
        Event.WITHDRAW,
        Event.DRAINED,
        Event.UNLOADED,
    ):
        phases.append(advance(phases[-1], event))

    assert phases == [
        Phase.NEW,
        Phase.PREPARING,
        Phase.LOADING,
        Phase.WARMING,
        Phase.PROVING,
        Phase.READY,
        Phase.DRAINING,
        Phase.UNLOADING,
        Phase.UNLOADED,
    ]


def test_what_serves_goes_on_to_until_it_drains() -> None:
    moves = {event: after for (phase, event), after in TRANSITIONS.items() if phase is Phase.READY}

    assert moves == {
        Event.ADJUST: Phase.READY,
        Event.KEEP: Phase.READY,
        Event.STAND_BY: Phase.STANDBY,
        Event.WITHDRAW: Phase.DRAINING,
    }


def test_what_stands_by_serves_again_or_drains() -> None:
    from_standby = {event for phase, event in TRANSITIONS if phase is Phase.STANDBY}
    assert from_standby == {Event.WITHDRAW, Event.SHOW}


def test_every_phase_short_of_ready_can_fail_once_it_was_touched() -> None:
    failing = {phase for phase, event in TRANSITIONS if event is Event.FAIL}

    assert failing == (ON_THE_WAY | {Phase.PROVING}) - {Phase.NEW}


@given(st.lists(st.sampled_from(Event)))
def test_no_event_leaves_the_end(events: list[Event]) -> None:
    phase = Phase.NEW
    ended = False
    for event in events:
        if (phase, event) in TRANSITIONS:
            assert not ended
            phase = advance(phase, event)
        ended = phase is Phase.UNLOADED


def test_every_phase_can_be_reached() -> None:
    assert set(TRANSITIONS.values()) | {Phase.NEW} == set(Phase) - {Phase.STAGING}


def test_clients_see_ready_for_what_is_ready_only() -> None:
    assert {phase for phase in Phase if readiness_of(phase) is Readiness.READY} == {Phase.READY}


def test_clients_see_unavailable_for_what_is_over_or_has_not_begun() -> None:
    gone = {phase for phase in Phase if readiness_of(phase) is Readiness.UNAVAILABLE}

    assert gone == OVER | {Phase.STAGING}
