"""The table of actions: what may follow, in which order agents hear it, how a story ends."""

from itertools import product

import pytest

from interlock.control.agent_story import (
    IllegalActionError,
    advance,
    ending,
    is_forward,
    is_legal,
    is_over,
    is_whole,
    name_of,
)
from interlock_agents.api import Action

L, C, F, U, D = Action
LEGAL = {(None, L), (L, C), (L, F), (C, U), (U, D)}
STATES = (None, *Action)


@pytest.mark.parametrize(("last", "action"), sorted(LEGAL, key=str))
def test_moves_of_the_table_are_made(last: Action | None, action: Action) -> None:
    assert advance(last, action) is action


@pytest.mark.parametrize(
    ("last", "action"), [pair for pair in product(STATES, Action) if pair not in LEGAL]
)
def test_every_other_is_refused(last: Action | None, action: Action) -> None:
    with pytest.raises(IllegalActionError) as refused:
        advance(last, action)

    name = f"TRITONREPOAGENT_ACTION_{action.value}"
    if last is None:
        assert str(refused.value) == f"Unexpected lifecycle start state {name}"
    else:
        assert str(refused.value) == (
            f"Unexpected lifecycle state transition from TRITONREPOAGENT_ACTION_{last.value} "
            f"to {name}"
        )
    assert refused.value.reason.startswith("Internal: ")


@pytest.mark.parametrize("last", STATES)
def test_the_ending_of_a_story_makes_it_whole(last: Action | None) -> None:
    for action in ending(last):
        last = advance(last, action)

    assert last is None or is_over(last)


def test_the_stories_are_those_of_triton() -> None:
    whole = [
        story for length in range(7) for story in product(Action, repeat=length) if is_whole(story)
    ]

    assert whole == [(L, F), (L, C, U, D)]
    assert is_legal(())
    assert not is_whole(())
    assert is_legal((L, C))
    assert not is_legal((L, C, U, U))


def test_load_and_unload_go_forward_and_the_rest_back() -> None:
    assert [action for action in Action if is_forward(action)] == [L, U]


def test_names_are_tritons() -> None:
    assert name_of(C) == "TRITONREPOAGENT_ACTION_LOAD_COMPLETE"
    assert name_of(None) == "not set"
