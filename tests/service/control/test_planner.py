"""What is done next, for every aspired and actual."""

import pytest
from hypothesis import given, strategies as st

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
from interlock.control.adjusting import Stage
from interlock.control.lifecycle import Event, Phase, advance
from interlock.control.planner import is_reached, is_settled, plan
from interlock.domain.ids import GenerationKey
from tests.support.control import key

EVENTS: dict[type[Action], Event] = {
    Load: Event.LOAD,
    Show: Event.SHOW,
    Withdraw: Event.WITHDRAW,
    Discard: Event.DISCARD,
    Drop: Event.DROP,
    Dismiss: Event.DISMISS,
}

V1, V2 = key(1), key(2)
V1_NEXT = key(1, 2)


def moves(aspired: set[GenerationKey], actual: dict[GenerationKey, Phase]) -> list[tuple[str, str]]:
    return [(type(action).__name__, str(action.key)) for action in plan(aspired, actual)]


@pytest.mark.parametrize(
    ("aspired", "actual", "expected"),
    [
        pytest.param(set(), {}, [], id="nothing at all"),
        pytest.param({V1}, {V1: Phase.NEW}, [("Load", "m/1#1")], id="what is new is loaded"),
        pytest.param({V1}, {V1: Phase.LOADING}, [], id="what loads is waited for"),
        pytest.param({V1}, {V1: Phase.PROVING}, [("Show", "m/1#1")], id="what is built is shown"),
        pytest.param({V1}, {V1: Phase.READY}, [], id="what serves is left alone"),
        pytest.param({V1}, {V1: Phase.FAILED}, [], id="what failed is not tried again"),
        pytest.param({V1}, {V1: Phase.UNLOADED}, [], id="what was given up is not tried again"),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.READY, V1_NEXT: Phase.LOADING},
            [],
            id="the old one serves while the new one loads",
        ),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.READY, V1_NEXT: Phase.PROVING},
            [("Show", "m/1#2"), ("Withdraw", "m/1#1")],
            id="the new one takes over in one round",
        ),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.READY, V1_NEXT: Phase.FAILED},
            [],
            id="the old one goes on when the new one failed",
        ),
        pytest.param(
            {V1_NEXT, V2},
            {V1: Phase.READY, V1_NEXT: Phase.PROVING, V2: Phase.LOADING},
            [],
            id="one that is built waits for the other",
        ),
        pytest.param(
            {V1_NEXT, V2},
            {V1: Phase.READY, V1_NEXT: Phase.PROVING, V2: Phase.FAILED},
            [("Discard", "m/1#2")],
            id="one that is built goes when the other failed",
        ),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.PROVING},
            [("Show", "m/2#1")],
            id="a kept version stays as it is",
        ),
        pytest.param(
            set(), {V1: Phase.READY}, [("Withdraw", "m/1#1")], id="what is not wanted is withdrawn"
        ),
        pytest.param(set(), {V1: Phase.LOADING}, [], id="an unwanted load is let finish"),
        pytest.param(
            set(), {V1: Phase.PROVING}, [("Discard", "m/1#1")], id="and then taken apart unseen"
        ),
        pytest.param(
            set(), {V1: Phase.NEW}, [("Drop", "m/1#1")], id="what has not begun is dropped"
        ),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.NEW, V1_NEXT: Phase.LOADING},
            [("Drop", "m/1#1"), ("Forget", "m/1#1")],
            id="and forgotten when another tells of it",
        ),
        pytest.param(
            set(), {V1: Phase.FAILED}, [("Dismiss", "m/1#1")], id="a failure is forgiven on unload"
        ),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.FAILED, V1_NEXT: Phase.LOADING},
            [("Forget", "m/1#1")],
            id="a failure is forgotten when it is tried again",
        ),
        pytest.param(
            {V1_NEXT},
            {V1: Phase.UNLOADED, V1_NEXT: Phase.READY},
            [("Forget", "m/1#1")],
            id="the end is forgotten when there is a newer one",
        ),
        pytest.param(set(), {V1: Phase.UNLOADED}, [], id="the last end is kept for the index"),
        pytest.param(set(), {V1: Phase.DRAINING}, [], id="a drain is waited for"),
        pytest.param(set(), {V1: Phase.UNLOADING}, [], id="an unload is waited for"),
    ],
)
def test_plan(
    aspired: set[GenerationKey],
    actual: dict[GenerationKey, Phase],
    expected: list[tuple[str, str]],
) -> None:
    assert moves(aspired, actual) == expected


@pytest.mark.parametrize(
    ("aspired", "reason"),
    [
        pytest.param({V1_NEXT}, "replaced", id="by the next generation"),
        pytest.param(set(), "no longer asked for", id="by nothing"),
    ],
)
def test_a_withdrawal_says_why(aspired: set[GenerationKey], reason: str) -> None:
    actions = plan(aspired, {V1: Phase.READY, V1_NEXT: Phase.PROVING})

    assert Withdraw(V1, reason) in actions


def test_what_agents_still_look_at_is_given_up_when_nobody_asks_for_it() -> None:
    assert plan(set(), {V1: Phase.PREPARING}) == (Drop(V1, "no longer asked for"),)
    assert plan({V1}, {V1: Phase.PREPARING}) == ()


def test_what_has_only_been_built_and_nobody_asks_for_takes_no_place() -> None:
    actual = {key(1, 1): Phase.READY, key(2, 1): Phase.PROVING, key(2, 2): Phase.FAILED}

    actions = plan({key(2, 2)}, actual, alone=True)

    assert actions == (Discard(key(2, 1), "no longer asked for"),)


def test_what_agents_still_look_at_makes_room_at_once() -> None:
    actions = plan({V2}, {V1: Phase.PREPARING, V2: Phase.NEW}, room_first=True)

    assert actions == (Drop(V1, "no longer asked for"), Load(V2, "asked for"))


keys = st.builds(key, st.integers(1, 3), st.integers(1, 3))
situations = st.tuples(st.dictionaries(keys, st.sampled_from(Phase)), st.sets(keys)).map(
    lambda drawn: (drawn[0] | dict.fromkeys(drawn[1] - drawn[0].keys(), Phase.NEW), drawn[1])
)


def carried_out(
    actual: dict[GenerationKey, Phase], actions: tuple[Action, ...]
) -> dict[GenerationKey, Phase]:
    after = dict(actual)
    for action in actions:
        if isinstance(action, Forget):
            del after[action.key]
        else:
            after[action.key] = advance(after[action.key], EVENTS[type(action)])
    return after


@pytest.mark.parametrize("room_first", [False, True])
@given(situations)
def test_every_plan_is_legal_and_empty_on_its_own_result(
    room_first: bool, situation: tuple[dict[GenerationKey, Phase], set[GenerationKey]]
) -> None:
    actual, aspired = situation

    after = carried_out(actual, plan(aspired, actual, room_first=room_first))

    assert plan(aspired, after, room_first=room_first) == ()


@given(situations, st.sets(keys))
def test_what_is_banned_goes_whatever_else_is_so(
    situation: tuple[dict[GenerationKey, Phase], set[GenerationKey]], banned: set[GenerationKey]
) -> None:
    actual, aspired = situation
    reasons = dict.fromkeys(banned - aspired, "no")

    actions = plan(aspired, actual, banned=reasons)

    after = carried_out(actual, actions)
    serving = {Phase.READY, Phase.STANDBY}
    assert not any(after.get(key) in serving for key in reasons)
    gone = {key for key in reasons if actual.get(key) in serving}
    assert {Withdraw(key, "no") for key in gone} <= set(actions)
    assert plan(aspired, after, banned=reasons) == plan(aspired, after) == ()


@given(situations)
def test_nothing_that_is_aspired_is_forgotten(
    situation: tuple[dict[GenerationKey, Phase], set[GenerationKey]],
) -> None:
    actual, aspired = situation

    assert aspired <= carried_out(actual, plan(aspired, actual)).keys()


@given(situations)
def test_what_serves_is_withdrawn_only_when_all_that_is_aspired_serves(
    situation: tuple[dict[GenerationKey, Phase], set[GenerationKey]],
) -> None:
    actual, aspired = situation

    after = carried_out(actual, plan(aspired, actual))

    withdrawn = [key for key, phase in actual.items() if phase is Phase.READY is not after.get(key)]
    assert not withdrawn or all(after[key] is Phase.READY for key in aspired)


@pytest.mark.parametrize(
    ("aspired", "actual", "settled"),
    [
        pytest.param({V1}, {V1: Phase.LOADING}, False, id="loading"),
        pytest.param({V1}, {V1: Phase.PROVING}, False, id="built, not shown"),
        pytest.param({V1}, {V1: Phase.READY}, True, id="serving"),
        pytest.param({V1}, {V1: Phase.FAILED}, True, id="failed"),
        pytest.param({V1, V2}, {V1: Phase.FAILED, V2: Phase.LOADING}, False, id="one still open"),
        pytest.param(set(), {V1: Phase.READY}, False, id="still serving what is not wanted"),
        pytest.param(set(), {V1: Phase.DRAINING}, True, id="nothing serves"),
    ],
)
def test_a_wish_is_settled_when_it_is_known_how_it_ended(
    aspired: set[GenerationKey], actual: dict[GenerationKey, Phase], settled: bool
) -> None:
    assert is_settled(aspired, actual) is settled


def test_a_wish_for_nothing_is_reached_at_once() -> None:
    assert is_reached(set(), {V1: Phase.READY})


@pytest.mark.parametrize(
    ("aspired", "actual", "adjusting", "alone", "expected"),
    [
        pytest.param(
            {V1}, {V1: Phase.READY}, {V1: Stage.ASKED}, False, ["Adjust m/1#1"], id="it begins"
        ),
        pytest.param({V1}, {V1: Phase.READY}, {V1: Stage.UNDERWAY}, False, [], id="it goes on"),
        pytest.param(
            {V1}, {V1: Phase.READY}, {V1: Stage.PREPARED}, False, ["Apply m/1#1"], id="it is ready"
        ),
        pytest.param({V1}, {V1: Phase.READY}, {V1: Stage.FAILED}, False, [], id="it failed"),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.LOADING},
            {V1: Stage.PREPARED},
            False,
            [],
            id="it waits for what is loaded with it",
        ),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.LOADING},
            {V1: Stage.PREPARED},
            True,
            ["Apply m/1#1"],
            id="alone it waits for nothing",
        ),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.FAILED},
            {V1: Stage.PREPARED},
            False,
            ["Revoke m/1#1"],
            id="it fails with the other",
        ),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.PROVING},
            {V1: Stage.UNDERWAY},
            False,
            [],
            id="what is built waits for it",
        ),
        pytest.param(
            {V1, V2},
            {V1: Phase.READY, V2: Phase.PROVING},
            {V1: Stage.FAILED},
            False,
            ["Discard m/2#1"],
            id="what is built goes with it",
        ),
        pytest.param(
            {V2},
            {V1: Phase.READY, V2: Phase.READY},
            {V2: Stage.UNDERWAY},
            False,
            [],
            id="what is no longer asked for waits for it",
        ),
        pytest.param(
            {V2},
            {V1: Phase.READY, V2: Phase.READY},
            {V2: Stage.UNDERWAY},
            True,
            ["Withdraw m/1#1"],
            id="and alone it does not",
        ),
        pytest.param(
            set(),
            {V1: Phase.READY},
            {V1: Stage.PREPARED},
            False,
            ["Revoke m/1#1", "Withdraw m/1#1"],
            id="it is given up with its version",
        ),
        pytest.param(
            set(),
            {V1: Phase.READY},
            {V1: Stage.ASKED},
            False,
            ["Withdraw m/1#1"],
            id="it does not begin for what goes",
        ),
    ],
)
def test_plan_of_changes_in_place(
    aspired: set[GenerationKey],
    actual: dict[GenerationKey, Phase],
    adjusting: dict[GenerationKey, Stage],
    *,
    alone: bool,
    expected: list[str],
) -> None:
    actions = plan(aspired, actual, alone=alone, adjusting=adjusting)

    assert [f"{type(action).__name__} {action.key}" for action in actions] == expected
