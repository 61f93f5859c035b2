"""Following a remote repository: when to look, what to hint, and the first look."""

import threading
from pathlib import Path

import pytest

from interlock.repository.cloud.budget import Budget
from interlock.repository.cloud.follower import CloudScanner, Follower, Seen
from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.root import CloudRoot
from interlock.repository.cloud.store import StoreError
from interlock.repository.scan import Scanner
from tests.support.control import HandClock
from tests.support.object_stores import NOW, FakeStore

URL = "s3://bucket/models"


class World:
    def __init__(self, place: Path, interval_s: float = 15.0, url: str = URL) -> None:
        self.store = FakeStore({"m/1/model": b"1"})
        self.clock = HandClock()
        self.hints = 0
        self.place = place
        self.root = CloudRoot(
            url,
            place,
            open_store=lambda: self.store,
            budget=Budget(place),
            clock=self.clock,
            settle_s=2.0,
            now=lambda: NOW,
        )
        self.follower = Follower(
            self.root,
            interval_s=interval_s,
            patience_s=4.0,
            clock=self.clock,
            hint=self._hinted,
        )
        self.scanner = CloudScanner(Scanner([self.root.directory]), [self.follower])

    def _hinted(self) -> None:
        self.hints += 1

    def looks_done(self) -> bool:
        """Whether the first look is over, for whoever waits for it."""
        waiting = threading.Event()

        def wait() -> None:
            self.follower.wait_for_first_look()
            waiting.set()

        threading.Thread(target=wait, daemon=True).start()
        return waiting.wait(0.2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_looks_every_interval_and_hints_at_what_has_changed(world: World) -> None:
    assert world.follower.step() == world.clock() + 15.0
    assert world.hints == 1

    assert world.follower.step() == world.clock() + 15.0
    assert world.hints == 1

    world.store.problem = "down"
    world.follower.step()
    world.follower.step()
    assert world.hints == 2
    world.store.problem = ""
    world.follower.step()
    assert world.hints == 3


def test_it_looks_again_as_soon_as_what_moves_may_lie_still(world: World) -> None:
    world.follower.step()
    world.store.put("m/2/model", b"2", age_s=0.0)

    assert world.follower.step() == world.clock() + 2.0
    world.clock.now += 2.0
    assert world.follower.step() == world.clock() + 15.0
    assert set(world.scanner.scan().models["m"].versions) == {1, 2}


def test_a_scan_waits_until_what_was_there_at_the_start_is_mirrored(world: World) -> None:
    assert not world.looks_done()

    world.follower.step()

    assert world.looks_done()
    assert set(world.scanner.scan().models) == {"m"}


def test_what_moves_at_the_start_is_waited_for_with_patience(world: World) -> None:
    world.store.put("n/1/model", b"2", age_s=0.0)
    world.follower.step()
    assert not world.looks_done()
    world.store.put("n/1/more", b"3", age_s=0.0)
    world.clock.now += 2.0
    world.follower.step()
    assert not world.looks_done()

    world.store.put("n/1/even-more", b"4", age_s=0.0)
    world.clock.now += 2.0
    world.follower.step()

    assert world.looks_done()


def test_a_scan_says_what_could_not_be_looked_at(world: World) -> None:
    world.follower.step()
    before = world.scanner.scan()
    assert not before.problems

    world.store.problem = "down"
    world.follower.step()
    after = world.scanner.scan()

    assert after.models == before.models
    assert after.unknown == {"m"}
    assert after.problems == {URL: f"{URL}: down"}
    assert world.follower.seen == Seen({URL: f"{URL}: down"}, frozenset({"m"}))


def test_a_model_that_goes_by_a_qualified_name_is_unknown_by_it(world: World) -> None:
    world.follower.step()
    local = world.place / "local"
    (local / "m" / "1").mkdir(parents=True)
    (local / "m" / "1" / "model").touch()
    scanner = CloudScanner(
        Scanner([world.root.directory, local], namespacing=True), [world.follower]
    )
    world.store.problem = "down"
    world.follower.step()

    scan = scanner.scan()

    assert len(scan.models) == 2
    assert scan.unknown == scan.models.keys()


def test_a_scan_tells_of_the_problems_of_every_store(tmp_path: Path) -> None:
    worlds = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        worlds.append(World(tmp_path / name, url=f"s3://{name}"))
    scanner = CloudScanner(
        Scanner([world.root.directory for world in worlds], namespacing=True),
        [world.follower for world in worlds],
    )
    worlds[0].store.problem = "down"
    worlds[1].store.before_read = _break
    for world in worlds:
        world.follower.step()

    assert set(scanner.scan().problems) == {"s3://one", "m"}


def _break(_: RemoteObject) -> None:
    raise StoreError("broken")


def test_a_look_that_fails_in_an_unknown_way_is_not_the_last(tmp_path: Path) -> None:
    world = World(tmp_path, interval_s=0.01)
    looks = threading.Semaphore(0)

    def fail(_: RemoteObject) -> None:
        looks.release()
        raise ZeroDivisionError

    world.store.before_read = fail
    thread = threading.Thread(target=world.follower.run)
    thread.start()

    assert looks.acquire(timeout=10)
    assert looks.acquire(timeout=10)
    world.follower.close()
    thread.join()


def test_closing_lets_go_of_whoever_waits(world: World) -> None:
    world.follower.close()
    world.follower.run()

    assert world.looks_done()
    assert not world.scanner.scan().models
