"""What serves is digested once it is loaded, and told of as it is found out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.control.digests import NONE, DigestingLoader
from interlock.domain.config import ModelConfig
from interlock.domain.description import PENDING
from interlock.domain.errors import InternalError
from interlock.domain.ids import GenerationKey
from interlock.repository.digest import digest_files, version_digest
from interlock.repository.fingerprint import files_of, fingerprint
from interlock.repository.listing import list_model
from interlock.serving.load_job import LoadJob, LoadPhase
from tests.support.control import FakeLoader, key


class Digesting:
    """A model on disk, whoever loads it, and what is left to be done at leisure."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "1").mkdir()
        (directory / "1" / "model.onnx").write_bytes(b"weights")
        (directory / "config.pbtxt").write_text('name: "m"')
        self.inside = FakeLoader()
        self.tasks: list[Callable[[], None]] = []
        self.is_closing = False
        self.heard: list[tuple[GenerationKey, str]] = []
        self.loader = DigestingLoader(
            self.inside,
            self.tasks.append,
            is_cancelled=lambda: self.is_closing,
            on_digest=lambda key, digest: self.heard.append((key, digest)),
        )

    def job(self, generation: int = 1) -> LoadJob:
        print_ = fingerprint(self.directory).of(1)
        return LoadJob(key(1, generation), ModelConfig("m"), self.directory, fingerprint=print_)

    def digest(self) -> str:
        files = files_of(1, list_model(self.directory).entries)
        return version_digest(digest_files(self.directory, files))

    def work(self) -> None:
        self.loader.begin()
        while self.tasks:
            self.tasks.pop(0)()


def ignore(_phase: LoadPhase) -> None:
    """Nobody listens."""


@pytest.fixture
def world(tmp_path: Path) -> Digesting:
    return Digesting(tmp_path)


def test_a_digest_is_pending_until_it_is_made(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    assert world.loader.digest_of(key(1)) == PENDING

    world.work()

    assert world.loader.digest_of(key(1)) == world.digest()


def test_nothing_is_read_before_something_has_changed_for_clients(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    assert world.tasks == []

    world.loader.begin()
    world.loader.begin()

    assert len(world.tasks) == 1


def test_what_was_not_loaded_has_none(world: Digesting) -> None:
    world.inside.failing = {1: InternalError("broken")}
    with pytest.raises(InternalError):
        world.loader.load(world.job(), ignore)
    assert world.tasks == []
    assert world.loader.digest_of(key(1)) == NONE


def test_files_that_are_others_by_now_are_not_what_serves(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    (world.directory / "1" / "model.onnx").write_bytes(b"other weights")
    world.work()
    assert world.loader.digest_of(key(1)) == NONE


def test_a_directory_that_has_gone_gives_none(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    (world.directory / "1" / "model.onnx").unlink()
    (world.directory / "1").rmdir()
    (world.directory / "config.pbtxt").unlink()
    world.directory.rmdir()
    world.work()
    assert world.loader.digest_of(key(1)) == NONE


def test_each_generation_has_its_own(world: Digesting) -> None:
    first = world.loader.load(world.job(), ignore)
    world.work()
    before = world.digest()
    (world.directory / "1" / "model.onnx").write_bytes(b"other weights")
    world.loader.load(world.job(2), ignore)
    world.work()

    assert world.loader.digest_of(key(1)) == before
    assert world.loader.digest_of(key(1, 2)) == world.digest() != before

    world.loader.unload(first)
    assert world.loader.digest_of(key(1)) == NONE
    assert world.inside.unloaded == [key(1)]


@pytest.mark.parametrize("is_made", [True, False], ids=["made", "pending"])
def test_a_change_in_place_that_was_applied_has_the_files_digested_anew(
    world: Digesting, *, is_made: bool
) -> None:
    served = world.loader.load(world.job(), ignore)
    if is_made:
        world.work()
    (world.directory / "config.pbtxt").write_text('name: "m" instance_group { count: 2 }')
    update = world.loader.prepare_update(served, world.job(), ignore)
    update.apply()

    world.loader.close_update(update)
    assert world.loader.digest_of(key(1)) == PENDING
    world.work()

    assert world.loader.digest_of(key(1)) == world.digest()
    assert world.inside.closed_updates == [update]


def test_one_that_was_not_applied_leaves_the_digest_as_it_was(world: Digesting) -> None:
    served = world.loader.load(world.job(), ignore)
    world.work()
    before = world.digest()
    (world.directory / "config.pbtxt").write_text('name: "m" instance_group { count: 2 }')

    world.loader.close_update(world.loader.prepare_update(served, world.job(), ignore))

    assert (world.tasks, world.loader.digest_of(key(1))) == ([], before)


def test_a_version_that_is_unloaded_before_its_update_is_closed_has_none(world: Digesting) -> None:
    served = world.loader.load(world.job(), ignore)
    update = world.loader.prepare_update(served, world.job(), ignore)
    update.apply()
    world.loader.unload(served)

    world.loader.close_update(update)
    world.work()

    assert world.loader.digest_of(key(1)) == NONE


def test_what_is_unloaded_meanwhile_is_not_read(world: Digesting) -> None:
    served = world.loader.load(world.job(), ignore)
    world.loader.unload(served)
    world.work()
    assert world.loader.digest_of(key(1)) == NONE


def test_the_end_of_the_server_ends_it(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    world.is_closing = True
    world.work()
    assert world.loader.digest_of(key(1)) == NONE


def test_whoever_wants_to_know_hears_of_each_digest(world: Digesting) -> None:
    world.loader.load(world.job(), ignore)
    world.work()
    assert world.heard == [(key(1), world.digest())]

    world.loader.load(world.job(2), ignore)
    world.is_closing = True
    world.work()
    assert world.heard[1:] == [(key(1, 2), NONE)]
