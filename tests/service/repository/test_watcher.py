"""What is a hint, and what is said of mounts where there are none."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

from interlock.repository.mounts import Mounts
from interlock.repository.watcher import (
    Arrival,
    Debounce,
    EventSource,
    Watcher,
    native_source,
    places_of,
)
from interlock.runtime.clock import monotonic
from tests.support.file_events import FakeEventSource

LOCAL = Mounts("1 0 0:1 / / rw - ext4 /dev/vda rw")
REMOTE = Mounts("1 0 0:1 / / rw - nfs4 host:/ rw")


def test_one_hint_after_a_shower_of_events() -> None:
    debounce = Debounce(delay_s=0.1, limit_s=1.0)
    for now in (10.0, 10.05, 10.08):
        debounce.hear(now)

    assert not debounce.take(10.17)
    assert debounce.take(10.18)
    assert not debounce.take(20.0)


def test_events_without_end_do_not_put_the_hint_off_without_end() -> None:
    debounce = Debounce(delay_s=0.1, limit_s=1.0)
    for step in range(100):
        debounce.hear(10.0 + step * 0.05)

    assert debounce.due() == 11.0


def test_nothing_is_due_where_nothing_happens() -> None:
    assert Debounce().due() is None
    assert not Debounce().take(10.0)


@given(st.lists(st.floats(0.0, 3.0), min_size=1))
def test_every_event_is_followed_by_a_hint(pauses: list[float]) -> None:
    debounce = Debounce(delay_s=0.1, limit_s=1.0)
    now = unheard = 0.0
    is_open = False
    for pause in pauses:
        if debounce.take(now + pause):
            is_open = False
        now += pause
        assert not is_open or now - unheard < 1.0
        if not is_open:
            is_open, unheard = True, now
        debounce.hear(now)

    due = debounce.due()
    assert due is not None
    assert now <= due + 1e-9
    assert due <= now + 0.1
    assert debounce.take(due)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    (directory / "m" / "1").mkdir(parents=True)
    return directory


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def test_a_repository_is_watched_with_all_below(root: Path) -> None:
    [(place, owners)] = places_of([root]).items()

    assert (place.path, place.names, owners) == (str(root), (), (root,))
    assert (place.device, place.inode) == identity(root)


def test_links_on_the_way_are_watched_for_a_flip(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "..data").symlink_to("..2024")
    (tmp_path / "mount" / "..2024").symlink_to(tmp_path)
    (tmp_path / "mount" / "models").symlink_to("..data/repository")
    link = tmp_path / "mount" / "models"

    places = places_of([link])

    assert {(place.path, place.names) for place in places} == {
        (str(root), ()),
        (str(tmp_path / "mount"), ("..2024", "..data", "models")),
    }
    assert set(places.values()) == {(link,)}


def test_a_directory_that_several_want_is_watched_once(root: Path, tmp_path: Path) -> None:
    links = [tmp_path / "one", tmp_path / "two"]
    for link in links:
        link.symlink_to(root)

    places = places_of([root, *links])

    assert {(place.path, place.names, owners) for place, owners in places.items()} == {
        (str(root), (), (root, *links)),
        (str(tmp_path), ("one", "two"), tuple(links)),
    }


def test_a_link_in_a_circle_is_watched_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")

    assert [place.names for place in places_of([tmp_path / "circle"])] == [("circle",)]


def test_what_is_not_there_is_not_watched(tmp_path: Path) -> None:
    assert places_of([tmp_path / "absent"]) == {}


class World:
    """A watcher that is stepped by hand."""

    def __init__(self, *roots: Path, mounts: Mounts = LOCAL) -> None:
        self.now = 100.0
        self.hints = 0
        self.source = FakeEventSource()
        self.watcher = Watcher(
            roots,
            self._hint,
            scan_every_s=15.0,
            clock=lambda: self.now,
            source=lambda: self.source,
            mounts=lambda: mounts,
        )

    def _hint(self) -> None:
        self.hints += 1

    def open(self) -> "World":
        self.watcher.open()
        self.watcher.step()
        return self

    def step(self, after: float = 0.0) -> float | None:
        self.now += after
        return self.watcher.step()

    def rearm(self) -> None:
        self.watcher.rearm()
        self.watcher.step()

    def hear_probe(self, root: Path) -> None:
        self.source.happen(root / f".interlock-probe-{os.getpid()}-{root.stat().st_ino}")


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]  # a subtype that nobody writes to


def test_what_happens_in_a_repository_is_a_hint(root: Path) -> None:
    world = World(root).open()

    world.source.happen(root / "m" / "1" / "model.onnx")

    assert world.step() == pytest.approx(100.1)
    assert world.hints == 0
    world.step(after=0.11)
    assert world.hints == 1
    world.step(after=10)
    assert world.hints == 1


@pytest.mark.parametrize(
    "name",
    ["m/1/.model.onnx.swp", "m/config.pbtxt~", "m/1/__pycache__/model.pyc", ".interlock-probe-1-2"],
)
def test_what_is_no_change_is_no_hint(root: Path, name: str) -> None:
    world = World(root).open()

    world.source.happen(root / name)
    world.step(after=10)

    assert world.hints == 0


def test_a_file_that_takes_the_place_of_its_draft_is_a_hint(root: Path) -> None:
    world = World(root).open()

    world.source.happen(root / "m" / ".config.swp", root / "m" / "config.pbtxt")
    world.step(after=10)

    assert world.hints == 1


def test_a_flip_of_the_root_is_a_hint_and_its_neighbours_are_none(
    root: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    world = World(link).open()

    world.source.happen(tmp_path / "neighbour")
    world.step(after=10)
    assert world.hints == 0

    world.source.happen(link)
    world.step(after=10)
    assert world.hints == 1


def test_after_a_flip_the_new_tree_is_watched(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    world = World(link).open()
    (tmp_path / "second").mkdir()
    link.unlink()
    link.symlink_to("second")

    world.rearm()

    assert world.source.watched == {(str(tmp_path / "second"), True), (str(tmp_path), False)}


def test_a_root_that_was_made_anew_is_watched_anew(root: Path) -> None:
    world = World(root).open()
    root.rename(root.with_name("away"))
    world.rearm()
    assert world.source.watched == set()

    root.mkdir()
    world.rearm()

    assert world.source.watched == {(str(root), True)}
    assert world.source.scheduled == [str(root)] * 2


def test_what_is_watched_is_left_alone(root: Path) -> None:
    world = World(root).open()

    world.rearm()

    assert world.source.scheduled == [str(root)]


def test_events_that_arrive_are_told(root: Path, logged: list[dict[str, object]]) -> None:
    world = World(root).open()
    assert world.watcher.arrivals == {}

    world.hear_probe(root)
    world.step()

    assert world.watcher.arrivals == {root: Arrival.ALL}
    assert logged == [{"event": "file events arrive", "log_level": "info", "repository": str(root)}]
    assert world.step(after=10) is None
    assert world.hints == 0


def test_events_that_do_not_arrive_are_told(root: Path, logged: list[dict[str, object]]) -> None:
    world = World(root).open()

    assert world.step(after=1.9) == 102.0
    assert logged == []
    world.step(after=0.1)

    assert world.watcher.arrivals == {root: Arrival.NONE}
    assert logged == [
        {
            "event": "no file events on this mount, scanning every 15 s",
            "log_level": "warning",
            "repository": str(root),
            "reason": "a test was not heard",
        }
    ]


def test_on_a_network_mount_only_our_own_events_are_sure(
    root: Path, logged: list[dict[str, object]]
) -> None:
    world = World(root, mounts=REMOTE).open()

    world.hear_probe(root)
    world.step()

    assert world.watcher.arrivals == {root: Arrival.OWN}
    assert [(entry["event"], entry["reason"]) for entry in logged] == [
        ("file events of this machine only, scanning every 15 s", "nfs4")
    ]


def test_where_nothing_can_be_written_nothing_can_be_tested(
    logged: list[dict[str, object]],
) -> None:
    root = Path("/proc")  # not even root may make a file there
    world = World(root).open()

    assert world.watcher.arrivals == {root: Arrival.UNKNOWN}
    assert logged[0]["event"] == ("file events cannot be tested on this mount, scanning every 15 s")
    assert world.source.watched == {(str(root), True)}


def test_a_test_leaves_nothing_behind(root: Path) -> None:
    World(root).open()

    assert [path.name for path in root.iterdir()] == ["m"]


def test_a_test_that_was_killed_is_no_obstacle(root: Path) -> None:
    (root / f".interlock-probe-{os.getpid()}-{root.stat().st_ino}").touch()

    World(root).open()

    assert [path.name for path in root.iterdir()] == ["m"]


def test_a_repository_that_cannot_be_watched_is_told_once(
    root: Path, tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    world = World(root, other)
    world.source.fails[str(root)] = errno.ENOSPC

    world.open()
    world.rearm()

    assert world.watcher.arrivals == {root: Arrival.NONE}
    assert world.source.watched == {(str(other), True)}
    assert [(entry["event"], entry["reason"]) for entry in logged] == [
        ("no file events on this mount, scanning every 15 s", "No space left on device")
    ]


def test_a_repository_that_can_be_watched_later_is(root: Path) -> None:
    world = World(root)
    world.source.fails[str(root)] = errno.ENOSPC
    world.open()
    world.source.fails.clear()

    world.rearm()
    world.hear_probe(root)
    world.step()

    assert world.watcher.arrivals == {root: Arrival.ALL}


def no_source() -> EventSource | None:
    return None


def limited() -> EventSource | None:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param(no_source, "the system offers none", id="another system"),
        pytest.param(limited, "inotify instance limit reached", id="a limit"),
    ],
)
def test_without_any_events_the_watcher_ends_and_says_so(
    root: Path,
    source: Callable[[], EventSource | None],
    reason: str,
    logged: list[dict[str, object]],
) -> None:
    watcher = Watcher([root], pytest.fail, scan_every_s=15, clock=monotonic, source=source)

    watcher.start()
    watcher.close()

    assert watcher.arrivals == {root: Arrival.NONE}
    assert [entry["reason"] for entry in logged] == [reason]


def test_a_watcher_that_was_not_started_watches_nothing(root: Path) -> None:
    world = World(root)

    assert world.watcher.step() is None
    world.watcher.close()
    assert world.source.watched == set()


def test_the_source_is_ended_with_the_watcher(root: Path) -> None:
    world = World(root)

    world.watcher.start()
    world.watcher.close()

    assert not world.source.is_started
    assert world.source.is_joined


class Hints:
    """What a real watcher says; a test waits for it."""

    def __init__(self) -> None:
        self._heard = threading.Semaphore(0)

    def __call__(self) -> None:
        self._heard.release()

    def wait(self) -> bool:
        """Wait for a hint, and pass over those that follow at once."""
        if not self._heard.acquire(timeout=20):
            return False
        while self._heard.acquire(timeout=0.3):
            pass
        return True

    def none(self) -> bool:
        return not self._heard.acquire(timeout=0.5)


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
def watched(root: Path, hints: Hints) -> Iterator[Watcher]:
    """A repository that inotify watches, tested for whether it does."""
    watcher = Watcher([root], hints, scan_every_s=15, clock=monotonic)
    watcher.start()
    deadline = monotonic() + 20
    while root not in watcher.arrivals and monotonic() < deadline:
        threading.Event().wait(0.01)
    if watcher.arrivals.get(root) is Arrival.NONE:
        watcher.close()
        pytest.skip("no file events here")
    yield watcher
    watcher.close()


def flip(root: Path) -> None:
    (root / "tmp").symlink_to("m")
    (root / "tmp").rename(root / "..data")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "m" / "1" / "x").write_text("x"), id="a file is written"),
        pytest.param(lambda root: shutil.copytree(root / "m", root / "n"), id="a model is copied"),
        pytest.param(lambda root: (root / "m" / "1").rename(root / "m" / "2"), id="a renaming"),
        pytest.param(lambda root: shutil.rmtree(root / "m"), id="a model is removed"),
        pytest.param(flip, id="a link is flipped"),
    ],
)
def test_what_really_happens_is_heard(
    watched: Watcher, root: Path, hints: Hints, change: Callable[[Path], object]
) -> None:
    change(root)

    assert hints.wait()


def test_what_is_copied_in_later_is_watched_as_well(
    watched: Watcher, root: Path, hints: Hints
) -> None:
    (root / "n" / "1").mkdir(parents=True)
    assert hints.wait()

    (root / "n" / "1" / "model.onnx").write_text("x")

    assert hints.wait()


def test_reading_is_not_heard(watched: Watcher, root: Path, hints: Hints) -> None:
    (root / "m" / "1" / "x").write_text("x")
    assert hints.wait()

    (root / "m" / "1" / "x").read_text()
    list((root / "m").iterdir())

    assert hints.none()


def test_no_thread_is_left(root: Path, hints: Hints) -> None:
    before = set(threading.enumerate())
    watcher = Watcher([root], hints, scan_every_s=15, clock=monotonic)
    watcher.start()

    watcher.close()

    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert "repository-watcher" not in names


def test_this_system_has_a_source_of_its_own() -> None:
    assert native_source() is not None
