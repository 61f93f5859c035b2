"""How fresh the names of the models are, and what happens when they cannot be listed."""

import threading

import pytest

from interlock.control.index import Listing
from interlock.control.listing import CachedListing
from interlock.domain.ids import ModelName
from interlock.repository.snapshot import RepositorySnapshot
from interlock.runtime.threads import spawn
from tests.support.control import FakeRepository, HandClock


def names(*texts: str) -> frozenset[ModelName]:
    return frozenset(map(ModelName, texts))


def test_lists_at_most_once_a_second() -> None:
    repository, clock = FakeRepository(), HandClock()
    listing = CachedListing(repository.snapshot, clock)
    assert listing.names() == Listing()

    repository.put((1, "a"), model="new")
    assert listing.names() == Listing()
    clock.now += 1.0

    assert listing.names() == Listing(names("new"))
    assert repository.listings == 2


def test_names_what_cannot_be_loaded() -> None:
    repository = FakeRepository(duplicates=frozenset({"twice"}), problems={"odd": "unreadable"})

    listing = CachedListing(repository.snapshot, HandClock()).names()

    assert listing == Listing(names("odd"), names("twice"))


def test_a_repository_that_cannot_be_listed_keeps_its_names() -> None:
    repository, clock = FakeRepository(duplicates=frozenset({"twice"})), HandClock()
    repository.put((1, "a"), model="known")
    listing = CachedListing(repository.snapshot, clock)
    listing.names()

    repository.models, repository.duplicates = {}, frozenset()
    repository.put((1, "a"), model="elsewhere")
    repository.problems["/gone"] = "not there"
    clock.now += 1.0

    assert listing.names() == Listing(names("known", "elsewhere"), names("twice"))


def test_a_listing_that_breaks_is_not_tried_again_at_once() -> None:
    listings: list[str] = []

    def broken() -> RepositorySnapshot:
        listings.append("listed")
        raise RuntimeError

    listing = CachedListing(broken, HandClock())

    with pytest.raises(RuntimeError):
        listing.names()
    assert listing.names() == Listing()
    assert listings == ["listed"]


def test_nobody_waits_behind_a_slow_disk() -> None:
    entered, leave = threading.Event(), threading.Event()
    repository = FakeRepository()
    repository.put((1, "a"), model="m")

    def slow() -> RepositorySnapshot:
        entered.set()
        assert leave.wait(30)
        return repository.snapshot()

    listing = CachedListing(slow, HandClock())
    first: list[Listing] = []
    thread = spawn("slow caller", lambda: first.append(listing.names()))
    assert entered.wait(30)

    assert listing.names() == Listing()  # the previous one, at once

    leave.set()
    thread.join(30)
    assert first == [Listing(names("m"))]
