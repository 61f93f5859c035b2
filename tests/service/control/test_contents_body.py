"""Whether files that differ contain the same, with the configuration and without."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.control.contents import Contents, Task
from interlock.control.wishes import Candidate
from interlock.domain.ids import Version
from interlock.repository.scan import Scanner
from interlock.repository.stager import StagedVersion

VERSION = StagedVersion("m", 1)


class World:
    """A repository of one model, looked at before and after it changes."""

    def __init__(self, root: Path) -> None:
        self.model = root / "m"
        (self.model / "1").mkdir(parents=True)
        self.write("1/model.onnx", "weights")
        self.write("config.pbtxt", "count: 1")
        self.background: list[Task] = []
        self.urgent: list[Task] = []
        self.contents = Contents(
            self.background.append,
            urgent=self.urgent.append,
            done=lambda: None,
            is_cancelled=lambda: False,
        )
        self._scanner = Scanner([root])
        self._known: set[str] = set()
        self.before = self.look()
        self._known.add(self.before.observed)

    def write(self, path: str, text: str) -> None:
        """Write a file anew: another inode, whatever it contains."""
        draft = self.model.with_name(".draft")
        draft.write_text(text)
        draft.rename(self.model / path)

    def look(self) -> Candidate:
        scan = self._scanner.scan()
        self.contents.see(scan, self._kept)
        files = scan.models["m"].versions[1]
        return Candidate(Version(1), files.fingerprint, files.fingerprint, files.body)

    def keep(self, of: Candidate) -> None:
        self._known.add(of.observed)

    def digest(self, of: Candidate) -> None:
        self.contents.ask(VERSION, of.observed)
        self.work()

    def work(self) -> None:
        """Make the digests that were asked for, and take them in."""
        for tasks in (self.urgent, self.background):
            while tasks:
                tasks.pop()()
        self.look()

    def body(self) -> str | None:
        """What the files stand for now, but for the configuration."""
        return self.contents.body_of(VERSION, self.before, self.look().observed)

    def same(self) -> bool | None:
        return self.contents.is_same(VERSION, self.before.observed, self.look().observed)

    def _kept(self, _model: str) -> Collection[str]:
        return self._known


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.digest(world.before)
    return world


def test_an_edit_of_the_configuration_leaves_the_rest_the_same(world: World) -> None:
    world.write("config.pbtxt", "count: 3")

    assert world.body() == world.before.body
    assert world.urgent == []


def test_files_written_anew_are_read_to_tell(world: World) -> None:
    world.write("config.pbtxt", "count: 3")
    world.write("1/model.onnx", "weights")

    assert world.body() is None
    assert len(world.urgent) == 1
    world.work()

    assert world.body() == world.before.body
    assert world.same() is False


def test_other_content_of_the_same_size_is_told_apart(world: World) -> None:
    world.write("1/model.onnx", "WEIGHTS")
    assert world.body() is None
    world.work()

    assert world.body() == world.look().body != world.before.body


def test_other_sizes_need_not_be_read(world: World) -> None:
    world.write("1/model.onnx", "more weights")

    assert world.body() == world.look().body != world.before.body
    assert world.urgent == []


def test_without_a_digest_of_before_nothing_is_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("1/model.onnx", "weights")

    assert world.body() == world.look().body != world.before.body


def test_a_touch_before_an_edit_does_not_matter(world: World) -> None:
    """The body stays what it was called first, through all that changes nothing in it."""
    os.utime(world.model / "1" / "model.onnx", ns=(1, 1))
    assert world.same() is None
    world.work()
    assert world.same() is True
    touched = world.look()
    world.keep(touched)
    world.before = replace(world.before, observed=touched.observed, body="first")

    world.write("config.pbtxt", "count: 3")

    assert world.body() == "first"


def test_of_the_first_sight_the_files_say_what_they_are(world: World) -> None:
    now = world.look()

    assert world.contents.body_of(VERSION, None, now.observed) == now.body


def test_what_was_never_seen_is_not_known(world: World) -> None:
    assert world.contents.body_of(VERSION, world.before, "another") == ""
