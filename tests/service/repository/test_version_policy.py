import pytest
from hypothesis import given, strategies as st

from interlock.domain.config import VersionPolicy, VersionPolicyKind as Kind
from interlock.repository.version_policy import Selection, select


def latest(count: int) -> VersionPolicy:
    return VersionPolicy(Kind.LATEST, num_versions=count)


def specific(*versions: int) -> VersionPolicy:
    return VersionPolicy(Kind.SPECIFIC, versions=versions)


@pytest.mark.parametrize(
    ("policy", "available", "versions"),
    [
        pytest.param(VersionPolicy(), [1, 10, 2], (10,), id="the highest without a policy"),
        pytest.param(latest(2), [1, 10, 2], (2, 10), id="the two highest, as numbers"),
        pytest.param(latest(9), [3, 1], (1, 3), id="all where there are fewer"),
        pytest.param(latest(0), [1], (), id="none of latest 0"),
        pytest.param(VersionPolicy(Kind.ALL), [7, 0], (0, 7), id="all"),
        pytest.param(specific(3, 1), [1, 2, 3], (1, 3), id="those that are named"),
        pytest.param(latest(1), [], (), id="none where there is none"),
    ],
)
def test_selects(policy: VersionPolicy, available: list[int], versions: tuple[int, ...]) -> None:
    assert select(policy, available) == Selection(versions)


def test_says_which_named_versions_are_not_there() -> None:
    assert select(specific(9, 1, 4), [1]) == Selection((1,), missing=(4, 9))


POLICIES = st.one_of(
    st.builds(latest, st.integers(0, 5)),
    st.just(VersionPolicy(Kind.ALL)),
    st.lists(st.integers(0, 9)).map(lambda versions: specific(*versions)),
)


@given(POLICIES, st.lists(st.integers(0, 9)))
def test_never_selects_what_is_not_there_and_nothing_twice(
    policy: VersionPolicy, available: list[int]
) -> None:
    selection = select(policy, available)

    assert set(selection.versions) <= set(available)
    assert set(selection.missing).isdisjoint(available)
    assert list(selection.versions) == sorted(set(selection.versions))
