"""A load whose files move is thrown away."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from interlock.control.verifying import FilesMovedError, VerifyingLoader, staged_already
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.repository.fingerprint import Fingerprint
from interlock.serving.load_job import LoadJob, LoadPhase, Published
from tests.support.control import FakeLoader, key, served

JOB = LoadJob(key(1), ModelConfig("m"), Path("/models/m"), fingerprint="a")


@dataclass
class Looks:
    """What each look at the directory finds, in turn."""

    found: list[str]

    def __call__(self, _directory: Path) -> Fingerprint:
        return Fingerprint({1: self.found.pop(0)}, "common")


def ignore(_phase: LoadPhase) -> None:
    """Nobody listens."""


def loader(inside: FakeLoader, *found: str) -> VerifyingLoader:
    return VerifyingLoader(inside, Looks(list(found)), staged_already)


def test_hands_on_what_lay_still() -> None:
    inside = FakeLoader()
    served = loader(inside, "a", "a").load(JOB, ignore)
    assert inside.alive == {served.key}


def test_loads_nothing_that_is_not_what_was_looked_at() -> None:
    inside = FakeLoader()
    with pytest.raises(FilesMovedError, match="the files of version 1 changed before"):
        loader(inside, "b").load(JOB, ignore)
    assert inside.loaded == []


def test_takes_apart_what_moved_while_it_was_loaded() -> None:
    inside = FakeLoader()
    with pytest.raises(FilesMovedError, match="the files of version 1 changed while"):
        loader(inside, "a", "b").load(JOB, ignore)
    assert inside.unloaded == [JOB.key]


def test_a_failure_under_which_files_moved_is_not_the_contents_own() -> None:
    inside = FakeLoader(failing={1: InternalError("half a file")})
    with pytest.raises(FilesMovedError):
        loader(inside, "a", "b").load(JOB, ignore)


def test_a_failure_of_what_lay_still_is_told_as_it_is() -> None:
    inside = FakeLoader(failing={1: InternalError("broken")})
    with pytest.raises(InternalError, match="broken"):
        loader(inside, "a", "a").load(JOB, ignore)


def test_a_directory_that_cannot_be_read_has_moved() -> None:
    def look(_directory: Path) -> Fingerprint:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(FilesMovedError, match="Permission denied"):
        VerifyingLoader(FakeLoader(), look, staged_already).load(JOB, ignore)


def test_what_has_no_fingerprint_is_not_looked_at() -> None:
    inside = FakeLoader()
    loader(inside).load(replace(JOB, fingerprint=""), ignore)
    assert inside.loaded == [JOB.key]


def test_an_update_is_prepared_of_what_lay_still() -> None:
    inside = FakeLoader()
    update = loader(inside, "a", "a").prepare_update(served(key(1)), JOB, ignore)

    assert update.served.key == key(1)
    assert inside.closed_updates == []


@pytest.mark.parametrize("found", [["b"], ["a", "b"]], ids=["before", "while"])
def test_an_update_under_which_files_move_is_given_up(found: list[str]) -> None:
    inside = FakeLoader()
    with pytest.raises(FilesMovedError, match="its instances were changed"):
        loader(inside, *found).prepare_update(served(key(1)), JOB, ignore)

    assert len(inside.closed_updates) == len(found) - 1


def test_what_an_update_leaves_over_is_closed_inside() -> None:
    inside = FakeLoader()
    verifying = loader(inside, "a", "a")
    update = verifying.prepare_update(served(key(1)), JOB, ignore)

    verifying.close_update(update)

    assert inside.closed_updates == [update]


def test_loads_nothing_that_is_not_what_its_manifest_says() -> None:
    inside = FakeLoader()

    def disobeyed(_directory: Path, version: int) -> None:
        raise InvalidRequestError(f"version {version} is not what manifest.json says")

    with pytest.raises(InvalidRequestError, match="version 1 is not what"):
        VerifyingLoader(inside, Looks(["a", "a"]), disobeyed).load(JOB, ignore)
    assert inside.loaded == []


def test_files_that_move_while_they_are_compared_are_not_held_against_the_content() -> None:
    def disobeyed(_directory: Path, _version: int) -> None:
        raise InvalidRequestError("1 of 2 files")

    with pytest.raises(FilesMovedError):
        VerifyingLoader(FakeLoader(), Looks(["a", "b"]), disobeyed).load(JOB, ignore)


def test_no_instances_are_built_for_what_is_not_what_its_manifest_says() -> None:
    def disobeyed(_directory: Path, version: int) -> None:
        raise InvalidRequestError(f"version {version} is not what manifest.json says")

    verifying = VerifyingLoader(FakeLoader(), Looks(["a", "a"]), disobeyed)
    with pytest.raises(InvalidRequestError, match="version 1 is not what"):
        verifying.prepare_update(served(key(1)), JOB, ignore)


def test_what_agents_have_published_is_to_lie_still_as_well() -> None:
    job = replace(JOB, published=Published(Path("/scratch/m"), "p"))
    inside = FakeLoader()

    loader(inside, "a", "p", "a", "p").load(job, ignore)
    assert inside.loaded == [JOB.key]

    with pytest.raises(FilesMovedError, match="the files of version 1 changed while"):
        loader(inside, "a", "p", "a", "q").load(replace(job, key=key(1, 2)), ignore)
    assert inside.unloaded == [key(1, 2)]


def test_links_that_only_the_server_makes_are_not_looked_at() -> None:
    job = replace(JOB, published=Published(Path("/scratch/m"), is_linked=True))

    served = loader(FakeLoader(), "a", "a").load(job, ignore)

    assert served.key == JOB.key
