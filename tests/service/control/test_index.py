"""The repository index and strict readiness over views."""

from dataclasses import replace

import pytest

from interlock.control.index import (
    Listing,
    ModelView,
    StagingBoard,
    VersionView,
    index_entries,
    lacking,
    objections,
    strictly_ready,
)
from interlock.domain.ids import ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness

A, B = ModelName("a"), ModelName("b")
EMPTY = Listing()


def view(
    name: ModelName, *versions: tuple[int, Readiness, str], trouble: str = "", unready: bool = False
) -> ModelView:
    return ModelView(
        name,
        tuple(VersionView(Version(v), state, why) for v, state, why in versions),
        trouble,
        unready,
    )


def index(
    *views: ModelView, listing: Listing = EMPTY, ready_only: bool = False
) -> list[IndexEntry]:
    return list(index_entries({each.model: each for each in views}, listing, ready_only=ready_only))


def test_the_board_tells_when_something_changes_and_since_when_it_is_so() -> None:
    board, told = StagingBoard(), []
    board.on_change(lambda: told.append(board.states))
    board.show({A: {Version(1): "settling"}}, 10.0)
    board.show({A: {Version(1): "settling"}}, 11.0)
    board.show({A: {Version(1): "settling", Version(2): "1 of 2 files"}}, 12.0)
    board.show({}, 13.0)

    seen = [[(state.key.version, state.reason, state.since) for state in one] for one in told]
    assert seen == [
        [(1, "settling", 10.0)],
        [(1, "settling", 10.0), (2, "1 of 2 files", 12.0)],
        [],
    ]


def test_where_each_stands_alone_a_model_that_serves_is_well() -> None:
    broken = (2, Readiness.UNAVAILABLE, "Internal: broken")
    serving = view(A, (1, Readiness.READY, ""), broken, trouble="no version", unready=True)

    assert not strictly_ready([serving])
    assert strictly_ready([replace(serving, alone=True)])
    assert not strictly_ready([replace(view(A, broken), alone=True)])


def test_a_model_that_nobody_asked_for_appears_by_name() -> None:
    assert index(listing=Listing(frozenset({A}))) == [IndexEntry(A)]


def test_entries_are_sorted_by_name_then_version() -> None:
    ready = Readiness.READY
    entries = index(view(B, (2, ready, ""), (10, ready, "")), view(A, (1, ready, "")))

    assert [(entry.model, entry.version) for entry in entries] == [(A, 1), (B, 2), (B, 10)]


def test_a_model_whose_directory_has_gone_is_listed() -> None:
    assert index(view(A, (1, Readiness.READY, ""))) == [IndexEntry(A, Version(1), Readiness.READY)]


def test_ready_only_leaves_out_the_rest() -> None:
    entries = index(
        view(A, (1, Readiness.UNAVAILABLE, "unloaded"), (2, Readiness.READY, "")),
        listing=Listing(frozenset({A, B})),
        ready_only=True,
    )

    assert entries == [IndexEntry(A, Version(2), Readiness.READY)]


def test_a_name_in_two_repositories_says_so() -> None:
    entries = index(listing=Listing(duplicates=frozenset({A})))

    assert entries == [
        IndexEntry(
            A, state=Readiness.UNAVAILABLE, reason="model appears in two or more repositories"
        )
    ]


def test_a_model_that_could_not_be_polled_says_why() -> None:
    entries = index(view(A, trouble="Invalid argument: broken"), listing=Listing(frozenset({A})))

    assert entries == [
        IndexEntry(A, state=Readiness.UNAVAILABLE, reason="Invalid argument: broken")
    ]


def test_trouble_has_no_line_of_its_own_where_a_version_serves() -> None:
    serving = view(A, (1, Readiness.READY, "Internal: gone"), trouble="Internal: gone")

    assert index(serving) == [IndexEntry(A, Version(1), Readiness.READY, "Internal: gone")]


@pytest.mark.parametrize(
    ("state", "reason", "ready"),
    [
        (Readiness.READY, "", True),
        (Readiness.READY, "Internal: the next one failed", True),
        (Readiness.UNAVAILABLE, "unloaded", True),
        (Readiness.UNAVAILABLE, "Internal: broken", False),
        (Readiness.LOADING, "", False),
        (Readiness.UNLOADING, "", True),
        (Readiness.UNKNOWN, "", False),
    ],
)
def test_strict_readiness_of_one_version(state: Readiness, reason: str, ready: bool) -> None:
    assert strictly_ready([view(A, (1, state, reason))]) is ready


@pytest.mark.parametrize("state", [Readiness.LOADING, Readiness.UNLOADING, Readiness.UNKNOWN])
def test_a_version_on_its_way_does_not_count_while_another_serves(state: Readiness) -> None:
    assert strictly_ready([view(A, (1, Readiness.READY, ""), (2, state, ""))])


def test_a_version_that_failed_counts_although_another_serves() -> None:
    serving = view(A, (1, Readiness.READY, ""), (2, Readiness.UNAVAILABLE, "Internal: broken"))

    assert not strictly_ready([serving])


def test_strict_readiness_wants_every_model() -> None:
    good = view(A, (1, Readiness.READY, ""))

    assert strictly_ready([good])
    assert not strictly_ready([good, view(B, (1, Readiness.LOADING, ""))])


def test_nothing_known_is_ready() -> None:
    assert strictly_ready([])


def test_a_failed_poll_does_not_count_for_readiness() -> None:
    assert strictly_ready([view(A, trouble="Internal: broken")])


def test_a_model_without_a_version_counts_for_readiness() -> None:
    assert not strictly_ready([view(A, trouble="Invalid argument: none", unready=True)])


def test_a_model_is_alive_while_a_version_holds_something() -> None:
    assert view(A, (1, Readiness.UNLOADING, "")).is_alive
    assert not view(A, (1, Readiness.UNAVAILABLE, "unloaded")).is_alive


def reasons(*views: ModelView, listing: Listing = EMPTY, staging: str = "") -> dict[str, str]:
    """Why the models `a` and `b` are lacking, where both are required."""
    texts = {A: {Version(2): staging}} if staging else {}
    return dict(lacking([A, B], {each.model: each for each in views}, listing, texts))


def test_a_required_model_that_serves_is_not_lacking_whatever_else_is_wrong_with_it() -> None:
    serving = view(
        A,
        (1, Readiness.READY, ""),
        (2, Readiness.UNAVAILABLE, "Internal: broken"),
        trouble="Invalid argument: bad",
        unready=True,
    )

    assert set(reasons(serving)) == {B}


def test_a_required_model_that_is_nowhere_is_lacking() -> None:
    assert reasons()[A] == "is not in any model repository"


@pytest.mark.parametrize(
    ("lacks", "listing", "staging", "why"),
    [
        pytest.param(
            view(A), Listing(frozenset({A})), "", "was not loaded", id="nobody asked for it"
        ),
        pytest.param(
            view(A, (1, Readiness.LOADING, "")), EMPTY, "", "version 1 is LOADING", id="loading"
        ),
        pytest.param(
            view(A, (1, Readiness.UNAVAILABLE, "unloaded")),
            EMPTY,
            "",
            "version 1 is UNAVAILABLE: unloaded",
            id="unloaded",
        ),
        pytest.param(
            view(
                A,
                (1, Readiness.UNAVAILABLE, "unloaded"),
                (2, Readiness.UNAVAILABLE, "Internal: no"),
            ),
            EMPTY,
            "",
            "version 2 is UNAVAILABLE: Internal: no",
            id="the newest one tells",
        ),
        pytest.param(
            view(A, trouble="Invalid argument: broken"),
            EMPTY,
            "",
            "cannot be loaded: Invalid argument: broken",
            id="could not be polled",
        ),
        pytest.param(
            view(A),
            Listing(duplicates=frozenset({A})),
            "",
            "appears in two or more repositories",
            id="duplicate",
        ),
        pytest.param(
            view(A),
            Listing(frozenset({A})),
            "staging: 3 of 4 files",
            "version 2 is not complete: staging: 3 of 4 files",
            id="staging",
        ),
    ],
)
def test_a_required_model_that_lacks_says_why(
    lacks: ModelView, listing: Listing, staging: str, why: str
) -> None:
    assert reasons(lacks, listing=listing, staging=staging)[A] == why


def test_strict_readiness_says_which_models_it_minds() -> None:
    views = [
        view(A, (1, Readiness.UNAVAILABLE, "Internal: broken")),
        view(B, trouble="Invalid argument: none", unready=True),
        view(ModelName("c"), (1, Readiness.LOADING, "")),
        view(ModelName("d"), (1, Readiness.READY, "")),
    ]

    assert list(objections(views)) == [
        "model 'a' version 1 is UNAVAILABLE: Internal: broken",
        "model 'b' has no version: Invalid argument: none",
        "model 'c' version 1 is LOADING",
    ]
