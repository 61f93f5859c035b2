"""When a version is complete: what it takes, and that it comes to it."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from interlock.repository.staging import (
    Complete,
    ContentsMatch,
    Incomplete,
    Lacking,
    Leaving,
    ManifestVerdict,
    NoManifest,
    Observation,
    Rules,
    Settling,
    SizesMatch,
    Staging,
    Still,
    Unverified,
    Writing,
    assess,
    assess_absence,
)

STARTED = 100.0
STARTED_NS = 1_700_000_000_000_000_000
RULES = Rules(settle_s=2.0, started=STARTED, started_ns=STARTED_NS)


def wall(now: float) -> int:
    """The file system's clock at a moment, where it is that of this machine."""
    return STARTED_NS + round((now - STARTED) * 1e9)


def seen(now: float, fingerprint: str = "a", *, moved: float | None = None) -> Observation:
    moved_ns = wall(now if moved is None else moved)
    return Observation(fingerprint=fingerprint, moved_ns=moved_ns, now=now)


def story(*observations: Observation, rules: Rules = RULES) -> list[Staging]:
    """What is said at each look."""
    still: Still | None = None
    told = []
    for observation in observations:
        still, staging = assess(still, observation, rules)
        told.append(staging)
    return told


def test_a_new_version_settles_first() -> None:
    assert story(seen(200.0), seen(201.9), seen(202.0)) == [
        Settling(202.0),
        Settling(202.0),
        Complete("a"),
    ]


def test_a_version_that_changes_settles_anew() -> None:
    assert story(seen(200.0), seen(201.0, "b"), seen(202.5, "b"), seen(203.0, "b")) == [
        Settling(202.0),
        Settling(203.0),
        Settling(203.0),
        Complete("b"),
    ]


def test_what_changes_after_it_was_complete_settles_again() -> None:
    assert story(seen(200.0), seen(202.0), seen(300.0, "b"))[-1] == Settling(302.0)


def test_what_has_lain_still_since_before_the_start_is_not_waited_for() -> None:
    observation = replace(seen(100.5, moved=98.0), is_at_start=True)

    assert story(observation) == [Complete("a")]


def test_what_moved_just_before_the_start_is_waited_for_the_rest_of_the_time() -> None:
    observation = replace(seen(100.5, moved=99.0), is_at_start=True)

    assert story(observation) == [Settling(101.0)]


def test_what_has_moved_since_the_start_is_waited_for_in_full() -> None:
    observation = replace(seen(100.5, moved=100.1), is_at_start=True)

    assert story(observation) == [Settling(102.5)]


def test_a_clock_of_the_file_system_that_is_ahead_makes_nothing_wait_longer() -> None:
    observation = replace(seen(100.5, moved=9_999.0), is_at_start=True)

    assert story(observation, replace(observation, now=102.5))[-1] == Complete("a")


def test_an_old_time_means_nothing_for_what_arrives_later() -> None:
    assert story(seen(200.0, moved=0.0)) == [Settling(202.0)]


def test_an_old_time_means_nothing_for_what_was_seen_to_change() -> None:
    first = replace(seen(100.5, moved=100.2), is_at_start=True)

    second = replace(seen(101.0, "b", moved=0.0), is_at_start=True)

    assert story(first, second)[-1] == Settling(103.0)


def test_a_file_that_is_open_for_writing_makes_it_wait_on() -> None:
    busy = replace(seen(202.0), writing=Writing.YES)

    assert story(seen(200.0), busy, seen(203.9), seen(204.0)) == [
        Settling(202.0),
        Settling(204.0, "open for writing"),
        Settling(204.0),
        Complete("a"),
    ]


@pytest.mark.parametrize("writing", [Writing.NO, Writing.UNKNOWN])
def test_nobody_known_to_write_is_nobody_to_wait_for(writing: Writing) -> None:
    assert story(seen(200.0), replace(seen(202.0), writing=writing))[-1] == Complete("a")


def test_without_a_settle_time_nothing_waits() -> None:
    assert story(seen(200.0), rules=replace(RULES, settle_s=0.0)) == [Complete("a")]


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(Lacking("3 of 4 files"), Incomplete("3 of 4 files"), id="lacking"),
        pytest.param(SizesMatch(), Unverified("a"), id="sizes only"),
        pytest.param(ContentsMatch(), Complete("a"), id="all"),
    ],
)
@pytest.mark.parametrize("age", [0.0, 1_000.0])
def test_a_manifest_is_obeyed_however_long_it_takes(
    manifest: ManifestVerdict, expected: Staging, age: float
) -> None:
    first = replace(seen(200.0), manifest=manifest)

    assert story(first, replace(first, now=200.0 + age))[-1] == expected


def test_a_manifest_that_goes_away_leaves_the_quiet_period() -> None:
    first = replace(seen(200.0), manifest=Lacking("not in manifest.json"))

    assert story(first, seen(201.0), seen(202.0)) == [
        Incomplete("not in manifest.json"),
        Settling(202.0),
        Complete("a"),
    ]


def test_what_is_absent_has_gone_after_the_settle_time() -> None:
    assert assess_absence(None, 200.0, RULES) == Leaving(202.0)
    assert assess_absence(200.0, 201.9, RULES) == Leaving(202.0)
    assert assess_absence(200.0, 202.0, RULES) is None


STEPS = st.lists(
    st.tuples(
        st.floats(0.01, 5.0),  # until the next look
        st.booleans(),  # whether something has moved in between
        st.sampled_from(Writing),
    ),
    min_size=1,
    max_size=30,
)


def walk(steps: list[tuple[float, bool, Writing]]) -> list[tuple[Observation, Staging, float]]:
    """Return each look, what was said, and when something had moved last before it.

    The first look is the one at start; what it finds moved at some time before.
    """
    now, moved, content = STARTED, STARTED, 0
    still: Still | None = None
    told = []
    for number, (pause, moves, writing) in enumerate(steps):
        if moves or number == 0:
            moved, content = now, content + 1  # right after the look before: the worst case
        now += pause
        observation = Observation(
            fingerprint=str(content),
            moved_ns=wall(moved),
            now=now,
            is_at_start=number == 0,
            writing=writing,
        )
        still, staging = assess(still, observation, RULES)
        told.append((observation, staging, moved))
    return told


@given(STEPS)
def test_never_complete_while_something_moved_within_the_settle_time(
    steps: list[tuple[float, bool, Writing]],
) -> None:
    for observation, staging, moved in walk(steps):
        if isinstance(staging, Complete):
            # The clock of the file system is told in whole nanoseconds.
            assert observation.now - moved >= RULES.settle_s - 1e-6
            assert observation.writing is not Writing.YES


@given(STEPS)
def test_never_complete_as_anything_but_what_was_seen(
    steps: list[tuple[float, bool, Writing]],
) -> None:
    for observation, staging, _ in walk(steps):
        if isinstance(staging, Complete):
            assert staging.fingerprint == observation.fingerprint


@given(STEPS)
def test_complete_in_the_end_when_nothing_moves(steps: list[tuple[float, bool, Writing]]) -> None:
    calm = [(RULES.settle_s, False, Writing.UNKNOWN)] * 2

    assert isinstance(walk([*steps, *calm])[-1][1], Complete)


@given(STEPS)
def test_another_look_at_the_time_that_was_told_is_worth_it(
    steps: list[tuple[float, bool, Writing]],
) -> None:
    observation, staging, _ = walk(steps)[-1]
    if isinstance(staging, Settling):
        pause = max(0.01, staging.until - observation.now)

        assert staging.until > observation.now
        assert isinstance(walk([*steps, (pause, False, Writing.NO)])[-1][1], Complete)


@given(STEPS, st.sampled_from([NoManifest(), SizesMatch(), ContentsMatch(), Lacking("x")]))
def test_the_same_look_again_says_the_same(
    steps: list[tuple[float, bool, Writing]], manifest: ManifestVerdict
) -> None:
    still: Still | None = None
    for observation, _, _ in walk(steps):
        still, first = assess(still, replace(observation, manifest=manifest), RULES)
        again = assess(still, replace(observation, manifest=manifest), RULES)
        assert again == (still, first)
