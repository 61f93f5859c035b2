"""How fresh the names of the models are, and what happens when they cannot be listed."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.first_loads import FirstLoads
from interlock.control.index import Listing
from interlock.control.listing import (
    MAX_AGE_S,
    MIN_AGE_S,
    PATIENCE_S,
    REMOTE_PATIENCE_S,
    Remote,
    RepositoryListing,
)
from interlock.domain.errors import UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.cloud.root import CloudError
from interlock.repository.snapshot import RootListing, list_root
from interlock.runtime.threads import spawn
from tests.support.control import HandClock

ONE, TWO = Path("/one"), Path("/two")
BEGINS = "model repository cannot be listed, what it holds goes on as it was"
ENDS = "model repository can be listed again"


def names(*texts: str) -> frozenset[ModelName]:
    return frozenset(map(ModelName, texts))


@dataclass
class Disk:
    """Repositories that hold what a test says, and a listing that is ticked by hand.

    What is in `hanging` does not answer before `answer` is called.
    """

    roots: dict[Path, RootListing | OSError]
    hanging: set[Path] = field(default_factory=set)
    looks: list[Path] = field(default_factory=list)
    clock: HandClock = field(default_factory=HandClock)
    first_loads: FirstLoads = field(default_factory=FirstLoads)
    held: list[Callable[[], None]] = field(default_factory=list)
    changes: int = 0

    def __post_init__(self) -> None:
        self.listing = RepositoryListing(
            tuple(self.roots), clock=self.clock, look=self._look, submit=self._submit
        )
        self.listing.begin(self.first_loads)
        self.first_loads.all_named()
        self.listing.subscribe(self._count)

    def after(self, seconds: float) -> Listing:
        """Let time pass, and tick as often as the thread would."""
        self.clock.now += seconds
        self.listing.tick()
        self.listing.tick()
        return self.listing.known

    def answer(self) -> None:
        self.hanging.clear()
        waiting, self.held = self.held, []
        for task in waiting:
            task()

    def _submit(self, task: Callable[[], None]) -> None:
        if self.hanging:
            self.held.append(task)
        else:
            task()

    def _look(self, root: Path) -> RootListing:
        self.looks.append(root)
        found = self.roots[root]
        if isinstance(found, OSError):
            raise found
        return found

    def _count(self) -> None:
        self.changes += 1


def holding(*models: str, place: str = "/one", device: int = 1) -> RootListing:
    return RootListing(place, device, frozenset(models))


def disk(*models: str) -> Disk:
    return Disk({ONE: holding(*models)})


GONE = FileNotFoundError(2, "No such file or directory")


def test_the_names_are_read_before_anybody_asks() -> None:
    assert disk("a", "b").after(0) == Listing(names("a", "b"))


def test_the_names_are_read_now_and_then() -> None:
    world = disk("a")
    world.after(0)
    world.roots[ONE] = holding("a", "b")

    assert world.after(MAX_AGE_S - 0.1) == Listing(names("a"))
    assert world.after(0.1) == Listing(names("a", "b"))


def test_who_asks_makes_the_names_fresher_but_not_more_than_once_a_second() -> None:
    world = disk("a")
    world.after(0)
    world.roots[ONE] = holding("a", "b")

    assert world.listing.names() == Listing(names("a"))
    assert world.after(MIN_AGE_S - 0.1) == Listing(names("a"))
    assert world.after(0.1) == Listing(names("a", "b"))
    assert world.looks == [ONE, ONE]


def test_a_name_in_two_repositories_is_a_duplicate() -> None:
    world = Disk({ONE: holding("a", "both"), TWO: holding("both", place="/two")})

    assert world.after(0) == Listing(names("a"), names("both"))


def test_with_namespacing_a_name_in_two_repositories_is_two_names() -> None:
    listing = RepositoryListing(
        [ONE, TWO],
        clock=HandClock(),
        look=lambda root: holding("both", root.name, place=str(root)),
        submit=lambda task: task(),
        namespacing=True,
    )
    listing.tick()
    listing.tick()

    assert listing.known == Listing(names("one", "two", "one::both", "two::both"))


def test_a_repository_that_is_spelled_in_two_ways_is_one() -> None:
    world = Disk({ONE: holding("a"), Path("/one/."): holding("a")})

    assert world.after(0) == Listing(names("a"))


def test_a_repository_that_cannot_be_listed_keeps_its_names_and_is_told_of_once() -> None:
    world = Disk({ONE: holding("a"), TWO: holding("b", place="/two")})
    world.after(0)
    world.roots[ONE] = GONE

    with capture_logs() as logs:
        for _ in range(3):
            assert world.after(MAX_AGE_S) == Listing(names("a", "b"))
        problems = dict(world.listing.problems)
        world.roots[ONE] = holding("c")
        assert world.after(MIN_AGE_S) == Listing(names("b", "c"))

    assert problems == {"/one": "repository path is not a valid directory: /one"}
    assert world.listing.problems == {}
    assert world.listing.missed == {}
    assert [(line["event"], line["place"]) for line in logs] == [(BEGINS, "/one"), (ENDS, "/one")]
    assert world.changes == 3  # the first look, the problem, its end


def test_a_repository_that_hangs_holds_up_no_other_and_is_told_of() -> None:
    world = Disk({ONE: holding("a"), TWO: holding("b", place="/two")})
    world.after(0)
    world.hanging.add(ONE)
    world.after(MAX_AGE_S)

    with capture_logs() as logs:
        assert world.after(PATIENCE_S) == Listing(names("a", "b"))
        world.after(PATIENCE_S)

    assert world.listing.problems["/one"] == "model repository has not answered for 10 s: /one"
    assert world.listing.tick() <= world.clock.now + PATIENCE_S
    assert [line["event"] for line in logs if line["place"] == "/one"] == [BEGINS]
    world.roots[ONE] = holding("new")
    world.answer()
    assert world.after(0) == Listing(names("b", "new"))
    assert world.listing.problems == {}


def test_an_empty_directory_in_the_place_of_a_mount_is_a_problem() -> None:
    world = disk("a")
    world.after(0)

    world.roots[ONE] = holding(device=2)
    assert world.after(MAX_AGE_S) == Listing(names("a"))
    assert world.listing.problems == {"/one": "model repository is no longer mounted: /one"}

    world.roots[ONE] = holding("a", device=1)
    world.after(MAX_AGE_S)
    assert world.listing.problems == {}


def test_the_last_model_may_go() -> None:
    world = disk("a")
    world.after(0)
    world.roots[ONE] = holding()

    assert world.after(MAX_AGE_S) == Listing()
    assert world.listing.problems == {}


def test_the_start_waits_for_the_first_look() -> None:
    world = Disk({ONE: holding("a"), TWO: GONE})
    told = [(world.first_loads.done, world.listing.any_listed)]

    world.after(0)

    told.append((world.first_loads.done, world.listing.any_listed))
    assert told == [(False, False), (True, True)]
    assert {place: str(error) for place, error in world.first_loads.failures.items()} == {
        "/two": "repository path is not a valid directory: /two"
    }
    assert world.listing.missed == world.listing.problems
    assert not world.listing.all_listed


@pytest.mark.parametrize("once", [True, False])
def test_what_was_missed_at_start_is_made_up_for_unless_models_are_loaded_once(once: bool) -> None:
    found: list[RootListing | OSError] = [GONE, holding("a")]
    clock = HandClock()

    def look(_root: Path) -> RootListing:
        outcome = found.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    listing = RepositoryListing(
        [ONE], clock=clock, look=look, submit=lambda task: task(), once=once
    )
    for _ in range(2):
        listing.tick()
        listing.tick()
        clock.now += MAX_AGE_S

    assert listing.known == Listing(names("a"))
    assert listing.all_listed
    assert listing.any_listed is not once
    assert list(listing.missed) == (["/one"] if once else [])


def test_what_could_be_listed_but_not_read_at_start_is_missed_where_models_are_loaded_once() -> (
    None
):
    listing = RepositoryListing(
        [ONE], clock=HandClock(), look=lambda _: holding("a"), submit=lambda task: task(), once=True
    )
    first_loads = FirstLoads()
    listing.begin(first_loads)
    listing.tick()
    listing.tick()
    told = [(listing.missed, listing.any_listed)]

    first_loads.end("/one", UnavailableError("down"))

    assert [*told, (listing.missed, listing.any_listed)] == [({}, True), ({"/one": "down"}, False)]


URL = "s3://bucket/models"


@dataclass
class Store:
    """A repository on another machine, besides one in a folder."""

    models: set[str]
    problem: str = ""
    asked: int = 0
    clock: HandClock = field(default_factory=HandClock)
    hangs: bool = False

    def __post_init__(self) -> None:
        self.listing = RepositoryListing(
            [ONE, TWO],
            clock=self.clock,
            look=lambda _: holding("a", "both"),
            remote={TWO: Remote(URL, self._ask, age_s=15.0)},
            submit=self._submit,
        )
        self.listing.begin(FirstLoads())

    def after(self, seconds: float) -> Listing:
        self.clock.now += seconds
        self.listing.names()
        self.listing.tick()
        self.listing.tick()
        return self.listing.known

    def _submit(self, task: Callable[[], None]) -> None:
        if not self.hangs:
            task()

    def _ask(self) -> frozenset[str]:
        self.asked += 1
        if self.problem:
            raise CloudError(self.problem)
        return frozenset(self.models)


def test_a_store_is_asked_for_its_names_now_and_then_whoever_looks() -> None:
    store = Store({"both", "b"})
    assert store.after(0) == Listing(names("a", "b"), names("both"))
    store.models.add("c")

    assert store.after(14.9) == Listing(names("a", "b"), names("both"))
    assert store.after(0.1) == Listing(names("a", "b", "c"), names("both"))
    assert store.asked == 2


def test_a_store_that_does_not_answer_keeps_its_names_and_is_called_by_its_url() -> None:
    store = Store({"b"})
    store.after(0)
    store.problem = f"{URL}: down"

    assert store.after(15) == Listing(names("a", "b", "both"))
    assert store.listing.problems == {URL: f"{URL}: down"}
    assert not store.listing.all_listed

    store.problem = ""
    store.models.clear()  # an empty bucket is no disk that is not mounted
    assert store.after(15) == Listing(names("a", "both"))
    assert store.listing.all_listed


def test_a_store_is_given_more_time_than_a_disk() -> None:
    store = Store(set(), hangs=True)
    store.after(0)

    store.after(PATIENCE_S)
    told = [set(store.listing.problems)]
    store.after(REMOTE_PATIENCE_S - PATIENCE_S)

    assert [*told, set(store.listing.problems)] == [{"/one"}, {"/one", URL}]
    assert store.listing.problems[URL] == f"model repository has not answered for 60 s: {URL}"


def test_the_start_does_not_wait_for_ever_for_a_repository_that_hangs() -> None:
    world = disk("a")
    world.hanging.add(ONE)
    world.after(0)
    told = [world.first_loads.done]

    world.after(PATIENCE_S)

    assert [*told, world.first_loads.done] == [False, True]
    assert "/one" in world.listing.missed
    assert not world.listing.any_listed


def test_a_look_that_breaks_is_a_problem_and_not_the_end() -> None:
    outcomes: list[RootListing | Exception] = [RuntimeError("broken"), holding("a")]
    clock = HandClock()

    def look(_root: Path) -> RootListing:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    listing = RepositoryListing([ONE], clock=clock, look=look, submit=lambda task: task())
    listing.tick()
    listing.tick()
    assert list(listing.problems) == ["/one"]
    clock.now += MAX_AGE_S
    listing.tick()
    listing.tick()

    assert listing.known == Listing(names("a"))
    assert listing.problems == {}


def test_a_listener_that_fails_costs_nothing() -> None:
    world = disk("a")

    def broken() -> None:
        raise RuntimeError

    world.listing.subscribe(broken)

    assert world.after(0) == Listing(names("a"))


def test_nobody_waits_for_a_disk_that_hangs(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()
    (tmp_path / "m").mkdir()

    def slow(root: Path) -> RootListing:
        entered.set()
        assert leave.wait(30)
        return list_root(root)

    changed = threading.Event()
    listing = RepositoryListing([tmp_path], clock=HandClock(), look=slow)
    listing.subscribe(changed.set)
    thread = spawn("listing under test", listing.run)
    assert entered.wait(30)

    assert listing.names() == Listing()  # at once, although the disk hangs

    leave.set()
    assert changed.wait(30)
    assert listing.names() == Listing(names("m"))
    listing.close()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["file", "nothing", "dangling link"])
def test_a_path_that_is_no_directory_is_a_problem(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "models"
    if kind == "file":
        root.touch()
    elif kind == "dangling link":
        root.symlink_to("nowhere")
    listing = RepositoryListing([root], clock=HandClock(), submit=lambda task: task())

    listing.tick()
    listing.tick()

    assert listing.problems == {str(root): f"repository path is not a valid directory: {root}"}
