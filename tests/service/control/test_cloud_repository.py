"""Polling models that lie in object stores, in the modes none and explicit."""

from pathlib import Path, PurePath

import pytest

from interlock.control.cloud_repository import CloudRepository, WithoutMirrors
from interlock.control.polling import DiskRepository, Look
from interlock.domain.errors import InvalidRequestError, NotFoundError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.cloud.budget import Budget
from interlock.repository.cloud.root import CloudRoot
from interlock.repository.scan import Scanner
from interlock.repository.scratch import Scratch
from tests.support.control import HandClock
from tests.support.object_stores import NOW, FakeStore
from tests.support.wire import eventually

URL = "s3://bucket/models"
CONFIG = b'backend: "identity"\n'
A, B, LOCAL = ModelName("a"), ModelName("b"), ModelName("local")


class World:
    """A folder and an object store, each with models of its own."""

    def __init__(self, place: Path, settle_s: float = 0.0) -> None:
        self.local = place / "local"
        (self.local / "local" / "1").mkdir(parents=True)
        (self.local / "local" / "config.pbtxt").write_bytes(CONFIG)
        self.store = FakeStore(
            {f"{name}/{path}": content for name in "ab" for path, content in FILES.items()}
        )
        (place / "mirror").mkdir()
        self.clock = HandClock()
        self.root = CloudRoot(
            URL,
            place / "mirror",
            open_store=lambda: self.store,
            budget=Budget(place),
            clock=self.clock,
            settle_s=settle_s,
            now=lambda: NOW,
        )
        self.pauses: list[float] = []
        self.repository = CloudRepository(
            DiskRepository([self.local, self.root.directory], scratch=Scratch(place)),
            [self.root],
            patience_s=2 * settle_s,
            clock=self.clock,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.clock.now += seconds
        return False


FILES = {"config.pbtxt": CONFIG, "1/model": b"1"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_only_what_is_polled_is_mirrored(world: World) -> None:
    polled = world.repository.poll(A)

    assert polled.directory == world.root.directory / "a"
    assert world.root.mirrored == {"a"}


def test_each_poll_sees_what_is_there_now_and_what_has_not_changed_is_the_same(
    world: World,
) -> None:
    first = world.repository.poll(A)
    assert world.repository.poll(A) == first

    world.store.put("a/1/model", b"new")
    assert world.repository.poll(A).candidates != first.candidates

    world.store.delete("a/1/model", "a/config.pbtxt")
    with pytest.raises(NotFoundError, match="model not found in any model repository"):
        world.repository.poll(A)


def test_what_cannot_be_looked_at_is_unavailable_whether_or_not_it_is_mirrored(
    world: World,
) -> None:
    world.repository.poll(A)
    world.store.problem = "down"

    for model in (A, B):
        with pytest.raises(UnavailableError) as caught:
            world.repository.poll(model)
        assert str(caught.value) == f"failed to poll model '{model}': {URL}/{model}: down"
    assert world.root.mirrored == {"a"}


def test_a_model_of_a_folder_does_not_wait_for_a_store_that_is_down(world: World) -> None:
    world.store.problem = "down"

    assert world.repository.poll(LOCAL).directory == world.local / "local"


def test_a_model_of_both_is_a_duplicate(world: World) -> None:
    world.store.put("local/config.pbtxt", CONFIG)

    snapshot = world.repository.snapshot()

    assert snapshot.duplicates == {"local"}
    assert set(snapshot.models) == {"a", "b"}
    with pytest.raises(InvalidRequestError, match="not unique across all model repositories"):
        world.repository.poll(LOCAL)
    assert world.repository.snapshot().duplicates == {"local"}


def test_files_that_come_with_a_request_ask_no_store(world: World) -> None:
    world.store.problem = "down"
    look = Look(config='{"backend": "identity"}', files={"1/model": b""})

    polled = world.repository.poll(A, look)

    assert polled.origin == "file override"
    world.repository.release(polled.directory)
    eventually(lambda: not polled.directory.exists())


def test_looking_without_fetching_says_what_would_be_fetched(world: World) -> None:
    glance = Look(fetches=False)
    with pytest.raises(UnavailableError) as caught:
        world.repository.poll(A, glance)
    assert str(caught.value) == (
        f"failed to poll model 'a': {URL}/a: a load would fetch version 1, what its versions"
        " share first"
    )
    assert not world.root.mirrored

    polled = world.repository.poll(A)
    assert world.repository.poll(A, glance) == polled
    assert world.repository.poll(LOCAL, glance).directory == world.local / "local"

    world.store.put("a/1/model", b"new")
    with pytest.raises(UnavailableError, match="a load would fetch version 1 first"):
        world.repository.poll(A, glance)
    world.store.problem = "down"
    with pytest.raises(UnavailableError, match=f"{URL}/a: down"):
        world.repository.poll(A, glance)
    with pytest.raises(NotFoundError):
        world.repository.poll(ModelName(".git"), glance)


def test_what_a_scan_has_found_is_read_from_the_mirror(world: World) -> None:
    polled = world.repository.poll(A)
    world.store.problem = "down"

    found = {int(candidate.version): candidate for candidate in polled.candidates}
    assert world.repository.poll_staged(A, found).candidates == polled.candidates


def test_who_wants_to_know_what_there_is_has_everything_mirrored_once(world: World) -> None:
    assert set(world.repository.snapshot().models) == {"a", "b", "local"}
    assert world.root.mirrored == {"a", "b"}

    world.store.put("c/config.pbtxt", CONFIG)
    world.store.problem = "down"
    world.repository.poll(A)
    assert set(world.repository.snapshot().models) == {"a", "b", "local"}

    with pytest.raises(UnavailableError, match="down"):
        world.repository.poll(A)  # a second time: somebody asks for it


def test_what_is_being_uploaded_at_the_start_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    world.store.put("b/2/model", b"half", age_s=0.5)

    assert set(world.repository.snapshot().models) == {"a", "b", "local"}

    assert world.pauses == [1.5]
    assert not world.repository.snapshot().problems
    assert [candidate.version for candidate in world.repository.poll(B).candidates] == [2]


def test_what_never_lies_still_at_the_start_is_tried_as_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    pause = world._pause

    def upload(seconds: float) -> bool:
        world.store.put("b/2/model", str(world.clock()).encode(), age_s=0.0)
        world.store.put("c/1/model", str(world.clock()).encode(), age_s=0.0)
        return pause(seconds)

    world.repository._pause = upload
    world.store.put("b/2/model", b"0", age_s=0.0)

    snapshot = world.repository.snapshot()

    assert sum(world.pauses) == 4.0
    assert set(snapshot.models) == {"a", "b", "local"}
    assert set(snapshot.problems) == {"b", "c"}  # which the mode asks for all the same
    assert [candidate.version for candidate in world.repository.poll(B).candidates] == [2]


def test_a_server_that_stops_waits_for_no_upload(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=2.0)
    world.repository._pause = lambda _: True
    world.store.put("b/2/model", b"half", age_s=0.0)

    assert set(world.repository.snapshot().problems) == {"b"}


def test_models_in_mirrors_are_not_given_time_to_lie_still(world: World) -> None:
    world.repository.poll(A)
    scanner = Scanner([world.local, world.root.directory])
    assert set(scanner.scan().models) == {"a", "local"}

    assert set(WithoutMirrors(scanner, {world.root.directory}).scan().models) == {"local"}


def test_what_could_not_be_fetched_with_everything_is_tried_again(world: World) -> None:
    world.store.alter = lambda piece: piece[:-1]
    problems = world.repository.snapshot().problems
    assert set(problems) == {"a", "b"}
    assert "does not arrive whole" in problems["a"]

    world.store.alter = lambda piece: piece
    assert world.repository.poll(A).directory == world.root.directory / "a"


def test_a_store_that_is_down_at_the_start_is_a_problem_of_the_repository(world: World) -> None:
    world.store.problem = "down"

    snapshot = world.repository.snapshot()

    assert snapshot.problems == {URL: f"{URL}: down"}
    assert set(snapshot.models) == {"local"}


def test_with_namespacing_both_models_of_a_name_are_mirrored_for_a_qualified_name(
    tmp_path: Path,
) -> None:
    stores, roots = [FakeStore(), FakeStore()], []
    for store, bucket in zip(stores, ("eu", "us"), strict=True):
        for path, content in FILES.items():
            store.put(f"a/{path}", content)
        place = tmp_path / f"cloud-{bucket}"
        place.mkdir()
        roots.append(
            CloudRoot(
                f"s3://{bucket}/models",
                place,
                open_store=lambda store=store: store,  # type: ignore[misc]
                budget=Budget(tmp_path),
                clock=HandClock(),
                within=PurePath(bucket, "models"),
            )
        )
    disk = DiskRepository([root.directory for root in roots], namespacing=True)
    repository = CloudRepository(
        disk,
        roots,
        patience_s=0.0,
        clock=HandClock(),
        pause=lambda _: False,
        namespacing=True,
    )

    polled = repository.poll(ModelName("us.models::a"))

    assert polled.model == "us.models::a"
    assert polled.directory == roots[1].directory / "a"
    with pytest.raises(InvalidRequestError, match="There are 2 identifiers of model 'a'"):
        repository.poll(A)
    glance = Look(fetches=False)
    assert repository.poll(ModelName("eu.models::a"), glance).model == "eu.models::a"
    stores[1].put("a/1/model", b"new")
    with pytest.raises(UnavailableError, match="us/models/a: a load would fetch version 1 first"):
        repository.poll(ModelName("us.models::a"), glance)
    assert repository.poll(ModelName("us.models::a")).candidates != polled.candidates


def test_what_served_is_unchanged_while_the_mirror_has_it(world: World) -> None:
    polled = world.repository.poll(A)
    (candidate,) = polled.candidates
    served = (polled.directory, candidate.version, candidate.observed)

    world.store.put("a/1/model", b"another")
    assert world.repository.is_unchanged(*served)
    world.repository.poll(A)
    assert not world.repository.is_unchanged(*served)
