"""How far versions are, as files come and go."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from interlock.repository.digest import CancelledError, digest_files
from interlock.repository.listing import DIRECTORY, Listing, Problem, list_model
from interlock.repository.manifest import manifest_of, write
from interlock.repository.scan import Scan, Scanner
from interlock.repository.stager import RETRY_S, StagedVersion, Stager, Verification, verify
from interlock.repository.staging import (
    Complete,
    ContentsMatch,
    Incomplete,
    Lacking,
    Leaving,
    Rules,
    Settling,
    Staging,
    Unverified,
    Writing,
)

FUTURE_NS: Final = 1 << 62
"""A start before which everything has lain still."""


class World:
    """A repository, whoever looks at it, and what time it is."""

    def __init__(self, root: Path, *, started_ns: int = 0) -> None:
        self.root = root
        self.now = 100.0
        self.writing = Writing.UNKNOWN
        self.asked: list[str] = []
        self.hidden: set[str] = set()
        self.scanner = Scanner([root], look=self._list)
        self.scan = Scan()
        self.stager = Stager(
            rules=Rules(settle_s=2.0, started=self.now, started_ns=started_ns),
            clock=lambda: self.now,
            writers=lambda: self._ask,
        )

    def _ask(self, paths: Iterable[Path]) -> Writing:
        self.asked += [str(path.relative_to(self.root)) for path in paths]
        return self.writing

    def _list(self, directory: Path | str) -> Listing:
        entries, problems = list_model(directory)
        hidden = tuple(Problem(path, 13, "Permission denied") for path in sorted(self.hidden))
        return Listing(entries, problems + hidden)

    def look(self, after: float = 0.0) -> dict[StagedVersion, Staging]:
        self.now += after
        self.scan = self.scanner.scan()
        return self.stager.look(self.scan)

    def verify(self, version: int) -> Verification:
        return verify(self.scan.models["m"], version)

    def settle(self) -> None:
        self.look()
        self.look(after=2.0)

    def fingerprint(self, version: int) -> str:
        return self.scan.models["m"].versions[version].fingerprint


ONE, TWO = StagedVersion("m", 1), StagedVersion("m", 2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "repository" / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").write_text("weights")
    (directory / "config.pbtxt").write_text("config")
    return directory


@pytest.fixture
def world(model: Path) -> World:
    return World(model.parent)


def list_in_manifest(model: Path) -> None:
    entries = [entry for entry in list_model(model).entries if entry.path != "manifest.json"]
    versions = [int(one.path) for one in entries if one.kind == DIRECTORY]
    files = [entry for entry in entries if entry.kind != DIRECTORY]
    write(manifest_of(digest_files(model, files), versions), model / "manifest.json")


def test_a_version_settles_and_is_complete(world: World) -> None:
    assert world.look() == {ONE: Settling(102.0)}
    assert world.stager.next_look() == 102.0
    assert world.look(after=2.0) == {ONE: Complete(world.fingerprint(1))}
    assert world.stager.next_look() is None


def test_what_lay_still_before_the_start_is_complete_at_once(model: Path) -> None:
    world = World(model.parent, started_ns=FUTURE_NS)

    assert world.look() == {ONE: Complete(world.fingerprint(1))}


def test_what_arrives_after_the_start_settles_whatever_its_clocks_say(model: Path) -> None:
    world = World(model.parent, started_ns=FUTURE_NS)
    world.look()
    shutil.copytree(model / "1", model / "2")

    assert world.look(after=1.0)[TWO] == Settling(103.0)


def test_a_new_version_does_not_unsettle_its_siblings(world: World, model: Path) -> None:
    world.settle()
    shutil.copytree(model / "1", model / "2")

    assert world.look() == {ONE: Complete(world.fingerprint(1)), TWO: Settling(104.0)}


def test_a_change_of_the_configuration_unsettles_all(world: World, model: Path) -> None:
    world.settle()
    (model / "config.pbtxt").write_text("changed")

    assert world.look() == {ONE: Settling(104.0)}


def test_a_version_that_grows_settles_when_it_has_ended(world: World, model: Path) -> None:
    for _ in range(3):
        with (model / "1" / "model.onnx").open("a") as file:
            file.write("more")
        assert world.look(after=1.9) == {ONE: Settling(world.now + 2.0)}

    assert world.look(after=2.0) == {ONE: Complete(world.fingerprint(1))}


def test_a_file_that_is_open_for_writing_is_waited_for(world: World) -> None:
    world.writing = Writing.YES
    world.look()

    assert world.look(after=2.0) == {ONE: Settling(104.0, "open for writing")}

    world.writing = Writing.NO

    assert world.look(after=2.0) == {ONE: Complete(world.fingerprint(1))}


def test_who_writes_is_asked_once_and_not_before_it_matters(world: World) -> None:
    world.look()
    assert world.asked == []

    world.look(after=2.0)
    assert world.asked == ["m/config.pbtxt", "m/1/model.onnx"]

    world.look(after=2.0)
    assert len(world.asked) == 2


def test_every_version_is_asked_for(world: World, model: Path) -> None:
    shutil.copytree(model / "1", model / "2")

    world.settle()

    assert world.asked == ["m/config.pbtxt", "m/1/model.onnx", "m/config.pbtxt", "m/2/model.onnx"]


def test_a_complete_sibling_is_not_asked_for_again(world: World, model: Path) -> None:
    world.settle()
    shutil.copytree(model / "1", model / "2")
    world.asked.clear()

    world.look()

    assert world.asked == []


def test_a_manifest_is_waited_for_and_told_as_progress(world: World, model: Path) -> None:
    (model / "1" / "more").write_text("more")
    list_in_manifest(model)
    (model / "1" / "more").unlink()

    assert world.look() == {ONE: Incomplete("2 of 3 files")}
    assert world.look(after=100.0) == {ONE: Incomplete("2 of 3 files")}
    assert world.stager.next_look() is None


def test_what_a_manifest_lists_is_compared_and_then_complete_at_once(
    world: World, model: Path
) -> None:
    list_in_manifest(model)
    assert world.look() == {ONE: Unverified(world.fingerprint(1))}

    verification = world.verify(1)
    world.stager.record(verification)

    assert verification.verdict == ContentsMatch()
    assert sorted(verification.digests) == ["1/model.onnx", "config.pbtxt"]
    assert world.look() == {ONE: Complete(world.fingerprint(1))}


def test_another_content_than_the_manifests_is_never_complete(world: World, model: Path) -> None:
    list_in_manifest(model)
    (model / "1" / "model.onnx").write_text("WEIGHTS")
    world.look()

    world.stager.record(world.verify(1))

    lacking = Incomplete("1 of 2 files, 1/model.onnx differs from manifest.json")
    assert world.look(after=100.0) == {ONE: lacking}


def test_a_comparison_holds_for_what_was_compared_only(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()
    verification = world.verify(1)
    (model / "1" / "model.onnx").write_text("WEIGHTS")

    world.look()
    world.stager.record(verification)

    assert world.look() == {ONE: Unverified(world.fingerprint(1))}


def test_another_manifest_is_compared_anew(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()
    world.stager.record(world.verify(1))
    assert isinstance(world.look()[ONE], Complete)

    (model / "manifest.json").unlink()
    list_in_manifest(model)

    assert world.look() == {ONE: Unverified(world.fingerprint(1))}


def test_a_broken_manifest_is_told_and_obeyed(world: World, model: Path) -> None:
    (model / "manifest.json").write_text("{")

    told = world.look()[ONE]

    assert isinstance(told, Incomplete)
    assert told.progress.startswith("manifest.json is not JSON (line 1, ")


def test_a_manifest_that_cannot_be_read_is_tried_again(world: World, model: Path) -> None:
    (model / "manifest.json").symlink_to("absent")
    lacking = Incomplete("failed to read manifest.json: No such file or directory")
    assert world.look() == {ONE: lacking}
    list_in_manifest(model)

    assert world.look() == {ONE: Unverified(world.fingerprint(1))}


def test_a_manifest_that_could_not_be_read_is_tried_again_though_it_is_the_same(
    world: World, model: Path
) -> None:
    list_in_manifest(model)
    world.look()
    scan = Scanner([world.root]).scan()
    world.root.rename(world.root.with_name("away"))
    unread = World(world.root)
    lacking = Incomplete("failed to read manifest.json: No such file or directory")
    assert unread.stager.look(scan) == {ONE: lacking}
    world.root.with_name("away").rename(world.root)

    assert unread.stager.look(scan) == {ONE: Unverified(world.fingerprint(1))}


def test_a_file_that_changes_while_it_is_compared_is_compared_anew(
    world: World, model: Path
) -> None:
    list_in_manifest(model)
    world.look()
    (model / "1" / "model.onnx").write_text("weights")  # the same, in another moment

    verification = world.verify(1)
    world.stager.record(verification)

    assert verification.verdict == Lacking("1/model.onnx changes while it is read")
    assert world.look() == {ONE: Unverified(world.fingerprint(1))}


def test_a_manifest_that_breaks_before_it_is_compared_is_told(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()
    (model / "manifest.json").write_text("[]")

    assert world.verify(1).verdict == Lacking("manifest.json: must be an object")


def test_files_that_cannot_be_read_are_compared_again_after_a_while(
    world: World, model: Path
) -> None:
    list_in_manifest(model)
    world.look()
    file = model / "1" / "model.onnx"
    file.rename(model / "away")
    verification = world.verify(1)
    (model / "away").rename(file)
    world.scan = Scan()

    world.stager.record(verification)

    assert not verification.is_final
    assert verification.verdict == Lacking("failed to read 1/model.onnx: No such file or directory")
    assert world.stager.next_look() == world.now + RETRY_S


def test_a_comparison_that_failed_counts_until_it_is_tried_again(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()
    found = world.scan.models["m"]
    world.stager.record(
        Verification(ONE, world.fingerprint(1), found.manifest, Lacking("why"), is_final=False)
    )

    assert world.look(after=RETRY_S - 1) == {ONE: Incomplete("why")}
    assert world.look(after=1) == {ONE: Unverified(world.fingerprint(1))}
    assert world.stager.next_look() is None


def test_a_comparison_of_what_has_gone_is_forgotten(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()
    verification = world.verify(1)
    shutil.rmtree(model)
    world.settle()

    world.stager.record(verification)

    assert world.look() == {}


def test_a_comparison_stops_when_told_to(world: World, model: Path) -> None:
    list_in_manifest(model)
    world.look()

    with pytest.raises(CancelledError):
        verify(world.scan.models["m"], 1, is_cancelled=lambda: True)


@pytest.mark.parametrize("what", ["m", "m/1"])
def test_what_is_removed_has_gone_after_the_settle_time(world: World, what: str) -> None:
    world.settle()
    shutil.rmtree(world.root / what)

    assert world.look() == {ONE: Leaving(104.0)}
    assert world.stager.next_look() == 104.0
    assert world.look(after=1.9) == {ONE: Leaving(104.0)}
    assert world.look(after=0.1) == {}
    # What is left may be a model without a version, which is told of if it lies still.
    assert world.look(after=2.0) == {}
    assert world.stager.next_look() is None


def test_what_comes_back_settles_anew(world: World, model: Path) -> None:
    world.settle()
    model.rename(model.with_name(".away"))
    world.look()
    model.with_name(".away").rename(model)

    assert world.look(after=1.0) == {ONE: Settling(105.0)}
    assert world.look(after=2.0) == {ONE: Complete(world.fingerprint(1))}


def test_what_is_removed_again_leaves_as_slowly_as_before(world: World, model: Path) -> None:
    world.settle()
    model.rename(model.with_name(".away"))
    world.look()
    model.with_name(".away").rename(model)
    world.settle()
    model.rename(model.with_name(".away"))

    assert world.look(after=10) == {ONE: Leaving(world.now + 2.0)}


@pytest.mark.parametrize("what", ["m", "m/1"])
def test_what_was_missed_only_just_before_nobody_could_look_has_not_gone(
    world: World, what: str
) -> None:
    world.settle()
    shutil.rmtree(world.root / what)
    world.look()
    away = world.root.with_name("away")
    world.root.rename(away)

    assert world.look(after=10) == {ONE: Leaving(world.now + 2.0)}
    assert world.look(after=10) == {ONE: Leaving(world.now + 2.0)}

    away.rename(world.root)
    assert world.look(after=1.9) == {ONE: Leaving(world.now + 0.1)}
    assert world.look(after=0.2) == {}


def test_a_repository_that_is_away_has_lost_nothing(world: World) -> None:
    world.settle()
    world.root.rename(world.root.with_name("away"))

    assert world.look(after=100.0) == {ONE: Complete(world.fingerprint(1))}


def test_nobody_knows_whether_it_settles_in_a_repository_that_is_away(world: World) -> None:
    world.look()
    world.root.rename(world.root.with_name("away"))

    assert world.look(after=100.0) == {ONE: Incomplete("cannot be looked at")}
    assert world.stager.next_look() is None

    world.root.with_name("away").rename(world.root)

    assert world.look() == {ONE: Settling(202.0)}


def test_a_version_that_is_hidden_does_not_hold_up_its_siblings(world: World, model: Path) -> None:
    shutil.copytree(model / "1", model / "2")
    world.look()
    world.hidden.add("2/assets")

    assert world.look(after=2.0) == {
        ONE: Complete(world.fingerprint(1)),
        TWO: Incomplete("cannot be looked at"),
    }


def test_a_model_without_versions_is_nothing_to_wait_for(world: World, model: Path) -> None:
    shutil.rmtree(model / "1")

    assert world.look() == {}


def test_a_model_is_without_versions_once_the_last_has_gone_and_it_lies_still(
    tmp_path: Path, model: Path
) -> None:
    world = World(tmp_path / "repository")
    world.settle()
    shutil.rmtree(model / "1")
    world.look()
    world.look(after=2.0)
    assert world.stager.versionless == {}
    assert world.stager.next_look() == world.now + 2.0
    world.look(after=2.0)

    assert list(world.stager.versionless) == ["m"]
