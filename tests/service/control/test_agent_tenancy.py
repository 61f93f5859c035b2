"""The versions of one load share its agents: when these hear what."""

import pytest
from hypothesis import given, strategies as st

from interlock.control.agent_story import is_legal, is_whole
from interlock.control.agent_tenancy import Tenancy
from interlock.domain.ids import Version
from interlock_agents.api import Action

ONE, TWO = Version(1), Version(2)


def test_one_version_makes_the_whole_story() -> None:
    tenancy = Tenancy([ONE])

    assert tenancy.settled(ONE, serves=True) == (Action.LOAD_COMPLETE,)
    assert tenancy.leaving(ONE) == (Action.UNLOAD,)
    assert not tenancy.is_over
    assert tenancy.gone(ONE) == (Action.UNLOAD_COMPLETE,)
    assert tenancy.is_over


def test_the_load_is_complete_with_its_last_version() -> None:
    tenancy = Tenancy([ONE, TWO])

    assert tenancy.settled(ONE, serves=True) == ()
    assert tenancy.settled(TWO, serves=False) == (Action.LOAD_COMPLETE,)


def test_the_load_has_failed_with_all_of_its_versions() -> None:
    tenancy = Tenancy([ONE, TWO])

    assert tenancy.settled(TWO, serves=False) == ()
    assert tenancy.settled(ONE, serves=False) == (Action.LOAD_FAIL,)
    assert tenancy.is_over


def test_the_last_version_that_goes_takes_the_agents_along() -> None:
    tenancy = Tenancy([ONE, TWO])
    tenancy.settled(ONE, serves=True)
    tenancy.settled(TWO, serves=True)

    assert tenancy.leaving(ONE) == ()
    assert tenancy.gone(ONE) == ()
    assert tenancy.leaving(TWO) == (Action.UNLOAD,)
    assert tenancy.gone(TWO) == (Action.UNLOAD_COMPLETE,)


def test_a_version_that_is_gone_before_the_other_settles_is_told_of_then() -> None:
    tenancy = Tenancy([ONE, TWO])
    tenancy.settled(ONE, serves=True)
    assert tenancy.leaving(ONE) == tenancy.gone(ONE) == ()

    told = tenancy.settled(TWO, serves=False)

    assert told == (Action.LOAD_COMPLETE, Action.UNLOAD, Action.UNLOAD_COMPLETE)


def test_a_version_moves_as_versions_do() -> None:
    tenancy = Tenancy([ONE])

    with pytest.raises(ValueError, match="version 1 is not serving"):
        tenancy.leaving(ONE)
    with pytest.raises(ValueError, match="version 2 is not loading"):
        tenancy.settled(TWO, serves=True)


@given(
    fates=st.lists(st.booleans(), min_size=1, max_size=4),
    order=st.lists(st.integers(0, 3), max_size=40),
)
def test_whatever_the_order_the_agents_hear_one_whole_story(
    fates: list[bool], order: list[int]
) -> None:
    tenancy = Tenancy(map(Version, range(len(fates))))
    steps = dict.fromkeys(range(len(fates)), 0)
    story = [Action.LOAD]

    def move(version: int) -> None:
        number = Version(version)
        match steps[version]:
            case 0:
                story.extend(tenancy.settled(number, serves=fates[version]))
            case 1 if fates[version]:
                story.extend(tenancy.leaving(number))
            case 2:
                story.extend(tenancy.gone(number))
            case _:
                return
        steps[version] += 1

    for pick in order:
        move(pick % len(fates))
        assert is_legal(story)
        assert tenancy.is_over == is_whole(story)
    for version in [*range(len(fates))] * 3:
        move(version)

    assert is_whole(story)
    assert (Action.LOAD_FAIL in story) == (not any(fates))
