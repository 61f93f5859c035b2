"""Whether files that differ contain the same."""

from pathlib import Path

import pytest

from interlock.control.contents import Contents, Task
from interlock.repository.scan import Scanner
from interlock.repository.stager import StagedVersion

VERSION = StagedVersion("m", 1)


class Reading:
    """A model with one file, and what remembers its digests; tasks wait until `work`."""

    def __init__(self, root: Path) -> None:
        self.file = root / "m" / "1" / "model.onnx"
        self.file.parent.mkdir(parents=True)
        self.scanner = Scanner([root])
        self.background: list[Task] = []
        self.urgent: list[Task] = []
        self.done = 0
        self.is_cancelled = False
        self.kept: set[str] = set()
        self.heard: list[tuple[StagedVersion, str, str]] = []
        self.contents = Contents(
            self.background.append,
            urgent=self.urgent.append,
            done=self._count,
            is_cancelled=lambda: self.is_cancelled,
            on_digest=lambda *heard: self.heard.append(heard),
        )

    def _count(self) -> None:
        self.done += 1

    def write(self, content: bytes) -> str:
        """Return the fingerprint of the version with this content; what was seen is kept."""
        draft = self.file.with_suffix(".draft")
        draft.write_bytes(content)
        draft.rename(self.file)
        scan = self.scanner.scan()
        self.contents.see(scan, lambda _model: self.kept)
        fingerprint = scan.models["m"].versions[1].fingerprint
        self.kept.add(fingerprint)
        return fingerprint

    def work(self) -> None:
        for tasks in (self.urgent, self.background):
            while tasks:
                tasks.pop(0)()
        self.contents.see(self.scanner.scan(), lambda _model: self.kept)

    def read(self, content: bytes) -> str:
        """Write, and have the digest made."""
        fingerprint = self.write(content)
        self.contents.ask(VERSION, fingerprint)
        self.work()
        return fingerprint


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    return Reading(tmp_path)


def test_the_same_content_is_the_same(reading: Reading) -> None:
    before, after = reading.read(b"abc"), reading.write(b"abc")
    assert before != after
    assert reading.contents.is_same(VERSION, before, after) is None
    reading.work()

    assert reading.contents.is_same(VERSION, before, after) is True


def test_other_content_of_the_same_size_is_not(reading: Reading) -> None:
    before, after = reading.read(b"abc"), reading.write(b"xyz")
    assert reading.contents.is_same(VERSION, before, after) is None
    reading.work()

    assert reading.contents.is_same(VERSION, before, after) is False


def test_other_sizes_need_no_reading(reading: Reading) -> None:
    before, after = reading.read(b"abc"), reading.write(b"abcd")

    assert reading.contents.is_same(VERSION, before, after) is False
    assert reading.urgent == []


def test_what_was_never_read_differs(reading: Reading) -> None:
    before, after = reading.write(b"abc"), reading.write(b"abc")

    assert reading.contents.is_same(VERSION, before, after) is False
    assert reading.contents.is_same(VERSION, "unheard of", after) is False


def test_what_a_decision_waits_for_does_not_stand_in_the_line(reading: Reading) -> None:
    before, after = reading.read(b"abc"), reading.write(b"abc")
    assert reading.done == 0
    reading.contents.is_same(VERSION, before, after)
    reading.contents.is_same(VERSION, before, after)
    assert (len(reading.urgent), len(reading.background)) == (1, 0)
    reading.work()

    assert reading.done == 1


def test_a_digest_is_made_once(reading: Reading) -> None:
    fingerprint = reading.write(b"abc")
    reading.contents.ask(VERSION, fingerprint)
    reading.contents.ask(VERSION, fingerprint)
    assert reading.contents.digest(VERSION, fingerprint) is None
    assert len(reading.background) == 1
    reading.work()

    digest = reading.contents.digest(VERSION, fingerprint)
    assert digest is not None
    assert len(digest) == 64


def test_whoever_wants_to_know_hears_of_each_digest(reading: Reading) -> None:
    fingerprint = reading.read(b"abc")

    digest = reading.contents.digest(VERSION, fingerprint)
    assert reading.heard == [(VERSION, fingerprint, digest)]


def test_what_moves_while_it_is_read_has_no_digest(reading: Reading) -> None:
    fingerprint = reading.write(b"abc")
    reading.contents.ask(VERSION, fingerprint)
    reading.file.write_bytes(b"abcd")
    reading.work()

    assert reading.contents.digest(VERSION, fingerprint) == ""


def test_reading_is_given_up_when_told_to(reading: Reading) -> None:
    fingerprint = reading.write(b"abc")
    reading.contents.ask(VERSION, fingerprint)
    reading.is_cancelled = True
    reading.work()

    assert reading.contents.digest(VERSION, fingerprint) == ""


def test_what_nobody_compares_with_is_forgotten(reading: Reading) -> None:
    before = reading.read(b"abc")
    reading.kept.clear()
    reading.write(b"xyz")

    assert reading.contents.digest(VERSION, before) == ""


def test_a_model_that_has_gone_is_forgotten_unless_it_is_kept(reading: Reading) -> None:
    before = reading.read(b"abc")
    reading.file.unlink()
    reading.file.parent.rmdir()
    reading.file.parent.parent.rmdir()
    reading.work()
    assert reading.contents.digest(VERSION, before)
    reading.kept.clear()
    reading.file.parent.mkdir(parents=True)
    reading.write(b"new")

    assert reading.contents.digest(VERSION, before) == ""
