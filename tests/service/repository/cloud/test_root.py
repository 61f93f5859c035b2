"""A remote repository and its mirror: what is unknown stays, what has gone goes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.repository.cloud.budget import Budget
from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.root import CloudError, CloudRoot, Synced, always_used
from interlock.repository.cloud.store import StoreError
from tests.support.control import HandClock
from tests.support.object_stores import NOW, FakeStore

URL = "s3://bucket/models"
FILES = {"a/config.pbtxt": b"a", "a/1/model": b"1", "b/1/model": b"2"}


class World:
    def __init__(
        self,
        place: Path,
        *,
        settle_s: float = 0.0,
        limit_bytes: int = 0,
        is_used: Callable[[str], bool] = always_used,
    ) -> None:
        self.store = FakeStore(FILES)
        self.clock = HandClock()
        self.opened = 0
        self.closed_to_us = ""
        self.root = CloudRoot(
            URL,
            place,
            open_store=self._open,
            budget=Budget(place, limit_bytes, free=lambda _: 1 << 40),
            clock=self.clock,
            settle_s=settle_s,
            is_used=is_used,
            now=lambda: NOW,
        )

    def _open(self) -> FakeStore:
        self.opened += 1
        if self.closed_to_us:
            raise StoreError(self.closed_to_us)
        return self.store

    def files(self) -> dict[str, bytes]:
        found = {}
        for folder, names, files in os.walk(self.root.directory, followlinks=True):
            names[:] = [name for name in names if not name.startswith(".")]
            for file in files:
                path = Path(folder, file)
                found[str(path.relative_to(self.root.directory))] = path.read_bytes()
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_mirror_follows_what_is_listed(world: World) -> None:
    assert world.root.sync() == Synced(is_changed=True)
    assert world.files() == FILES

    assert world.root.sync() == Synced()

    world.store.put("a/1/model", b"new")
    world.store.put("c/1/model", b"3")
    world.store.delete("b/1/model")
    assert world.root.sync().is_changed
    assert world.files() == {
        "a/config.pbtxt": b"a",
        "a/1/model": b"new",
        "c/1/model": b"3",
    }
    assert world.root.mirrored == {"a", "c"}


def test_a_listing_that_fails_is_unknown_and_never_deleted(world: World) -> None:
    world.root.sync()
    world.store.problem = "AccessDenied: who are you"

    assert world.root.sync() == Synced(
        {URL: f"{URL}: AccessDenied: who are you"}, unknown=frozenset({"a", "b"})
    )
    assert world.files() == FILES

    world.store.problem = ""
    assert world.root.sync() == Synced()


def test_after_a_failure_the_credentials_are_read_anew(world: World) -> None:
    world.root.sync()
    assert world.opened == 1

    world.store.problem = "ExpiredToken"
    world.root.sync()
    world.closed_to_us = "the file has gone"
    assert world.root.sync().problems == {URL: f"{URL}: the file has gone"}
    world.store.problem = world.closed_to_us = ""

    assert world.root.sync() == Synced()
    assert world.opened == 3


def test_a_model_that_cannot_be_fetched_costs_itself_and_keeps_what_it_had(world: World) -> None:
    world.root.sync()
    world.store.put("a/1/model", b"broken")
    world.store.put("b/1/model", b"fine")
    world.store.alter = lambda piece: b"" if piece == b"broken" else piece

    synced = world.root.sync()

    assert synced.problems == {"a": f"{URL}/a: a/1/model does not arrive whole"}
    assert synced.unknown == {"a"}
    assert world.files() == {**FILES, "b/1/model": b"fine"}


def test_an_odd_key_costs_its_model_alone(world: World) -> None:
    world.root.sync()
    world.store.put("a/1/model", b"new")
    world.store.put("b/1/model", b"new")
    world.store.odd = {"a//x"}

    synced = world.root.sync()

    assert synced.unknown == {"a"}
    assert "'a//x' is no path" in synced.problems["a"]
    assert world.files() == {**FILES, "b/1/model": b"new"}


def test_a_key_that_leads_out_is_left_out_and_told_once(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.put("a/../../evil", b"evil")

    world.root.sync()
    world.root.sync()

    assert world.files() == FILES
    assert capsys.readouterr().out.count("evil") == 1


def test_a_model_that_changes_while_it_is_fetched_is_looked_at_again(world: World) -> None:
    world.root.sync()
    world.store.put("a/1/model", b"first")
    world.store.before_read = lambda one: (
        world.store.put("a/1/model", b"second") if one.path == "a/1/model" else None
    )

    synced = world.root.sync()
    assert synced.next_look == world.clock()
    assert not synced.problems
    assert world.files() == FILES

    world.root.sync()
    assert world.files()["a/1/model"] == b"second"


def test_a_change_waits_for_the_settle_time(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    world.root.sync()
    world.store.put("a/2/model", b"half", age_s=0.0)

    assert world.root.sync() == Synced(moving=frozenset("a"), next_look=world.clock() + 2.0)
    world.clock.now += 2.0
    world.store.put("a/2/data", b"rest", age_s=0.0)
    assert not world.root.sync().is_changed
    assert world.files() == FILES

    world.clock.now += 2.0
    assert world.root.sync().is_changed
    assert world.files() == {**FILES, "a/2/model": b"half", "a/2/data": b"rest"}


def test_what_was_put_there_just_before_the_start_waits_too(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    world.store.put("a/2/model", b"young", age_s=0.5)

    assert world.root.sync().next_look == world.clock() + 1.5
    assert world.files() == FILES


def test_what_lies_still_by_the_end_of_a_long_fetch_is_not_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    world.store.put("a/2/model", b"young", age_s=0.5)
    began = world.clock()

    def take_long(_: RemoteObject) -> None:
        world.clock.now = began + 3600.0

    world.store.before_read = take_long

    assert world.root.sync().next_look == began + 1.5
    world.root.sync()
    assert world.files()["a/2/model"] == b"young"


def test_one_model_alone_is_fetched_when_it_is_asked_for(world: World) -> None:
    world.root.sync_model("a")

    assert world.root.mirrored == {"a"}
    assert world.root.names() == {"a", "b"}
    assert not [path for path in world.store.fetched if path.startswith("b")]


def test_a_model_that_has_gone_leaves_the_mirror_when_it_is_asked_for(world: World) -> None:
    world.root.sync_model("a")
    world.store.delete("a/config.pbtxt", "a/1/model")

    world.root.sync_model("a")

    assert not world.root.mirrored


@pytest.mark.parametrize("model", ["a\nb", "x" * 300, ".git", "nobody", "a\0"])
def test_a_name_that_no_key_has_is_not_there(world: World, model: str) -> None:
    world.root.sync_model(model)

    assert not world.root.mirrored


def test_a_model_that_never_stops_changing_is_refused(world: World) -> None:
    numbers = iter(range(100))
    world.store.before_read = lambda one: world.store.put(one.path, str(next(numbers)).encode())

    with pytest.raises(CloudError, match=f"{URL}/b: b/1/model changes while it is fetched"):
        world.root.sync_model("b")


@pytest.mark.parametrize(
    "ask", [lambda root: root.sync_model("a"), lambda root: root.names()], ids=["model", "names"]
)
def test_a_store_that_does_not_answer_is_said(
    world: World, ask: Callable[[CloudRoot], object]
) -> None:
    world.root.sync_model("a")
    world.store.problem = "down"

    with pytest.raises(CloudError, match=f"{URL}.*: down"):
        ask(world.root)
    assert world.root.mirrored == {"a"}


def test_a_model_that_nobody_uses_makes_room_for_another(tmp_path: Path) -> None:
    used = {"a"}
    world = World(tmp_path, limit_bytes=25, is_used=lambda name: name in used)
    for name in "xyz":
        world.store.put(f"{name}/1/model", b"0123456789")
    for name in "axy":
        world.root.sync_model(name)

    world.root.sync_model("z")
    assert world.root.mirrored == {"a", "z"}

    used.add("z")
    world.store.put("big/1/model", b"0" * 24)
    with pytest.raises(CloudError, match=r"big: needs 24 bytes more .* --cloud-cache-bytes is 25"):
        world.root.sync_model("big")
    assert world.root.mirrored == {"a", "z"}


def test_a_model_that_does_not_fit_costs_itself_alone(tmp_path: Path) -> None:
    world = World(tmp_path, limit_bytes=5)
    world.store.put("big/1/model", b"0" * 24)

    synced = world.root.sync()

    assert list(synced.problems) == ["big"]
    assert world.root.mirrored == {"a", "b"}


def test_a_full_disk_is_said_and_the_old_kept(world: World) -> None:
    world.root.sync()
    world.store.put("a/1/model", b"new")
    # As a disk does that cannot be written to any more.
    aside = world.root.directory.with_name("aside")
    aside.rmdir()
    aside.write_bytes(b"")

    synced = world.root.sync()

    assert synced.problems == {"a": f"{URL}/a: cannot be written to the cache: Not a directory"}
    assert world.files() == FILES


def test_a_server_that_stops_fetches_no_more(world: World) -> None:
    world.root.close()

    with pytest.raises(CloudError, match="the server is stopping"):
        world.root.sync_model("a")
    assert set(world.root.sync().problems) == {"a", "b"}
    assert not world.root.mirrored
