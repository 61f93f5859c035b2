"""Listing in spite of keys of which no path can be made."""

import pytest

from interlock.repository.cloud.listing import list_all, list_names
from interlock.repository.cloud.store import OddKeyError, StoreError
from tests.support.object_stores import FakeStore

FILES = {"a/1/x": b"1", "b/1/x": b"2", ".git/HEAD": b"3", "file": b"4"}


def listed_paths(store: FakeStore, *known: str) -> tuple[list[str], dict[str, str]]:
    listed = list_all(store, known)
    return sorted(one.path for one in listed.objects), listed.odd


def test_a_sound_repository_is_listed_at_once() -> None:
    store = FakeStore(FILES)

    assert listed_paths(store) == (sorted(FILES), {})


def test_an_odd_key_costs_the_model_that_it_lies_in() -> None:
    store = FakeStore(FILES)
    store.odd = {"a//x"}

    paths, odd = listed_paths(store)

    assert "b/1/x" in paths
    assert "a/1/x" not in paths
    assert list(odd) == ["a"]


def test_an_odd_key_among_the_models_costs_none_of_them() -> None:
    store = FakeStore(FILES)
    store.odd = {"//x"}

    paths, odd = listed_paths(store)

    assert {"a/1/x", "b/1/x"} <= set(paths)
    assert list(odd) == [""]


def test_what_is_known_is_looked_for_by_its_name() -> None:
    store = FakeStore(FILES)
    store.odd = {"//x", "zoo//x"}

    paths, odd = listed_paths(store, "b", "zoo")

    assert paths == ["b/1/x"]
    assert set(odd) == {"", "zoo"}


def test_names_are_those_of_folders_that_may_be_models() -> None:
    store = FakeStore(FILES)

    assert list_names(store) == {"a", "b"}
    store.odd = {"//x"}
    assert list_names(store) == {"a", "b"}
    store.odd = {"//x", "zoo//x"}
    with pytest.raises(OddKeyError):
        list_names(store)


def test_a_store_that_does_not_answer_is_no_empty_one() -> None:
    store = FakeStore(FILES)
    store.problem = "down"

    with pytest.raises(StoreError, match="down"):
        list_all(store, ())
