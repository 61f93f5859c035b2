import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.app import StartError, StopSignal, audit_of
from interlock.settings import LogSettings, RepositorySettings, Settings


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """What the server waits for, in place of pytest's own handlers for a while."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield StopSignal()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_first_signal_is_told_of_and_further_ones_are_not(
    stop: StopSignal, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
    stop.wait()

    assert stop.asked
    assert not stop.died
    assert capfd.readouterr().err == "Signal (15) received.\n"


def test_a_thread_that_died_ends_the_wait_too(stop: StopSignal) -> None:
    threading.Timer(0.01, stop.die, (RuntimeError("gone"),)).start()

    stop.wait()

    assert stop.died


def test_a_signal_that_woke_nobody_is_noticed_all_the_same(stop: StopSignal) -> None:
    """It came between the interpreter's look for signals and its sleep."""

    def come_unheard() -> None:
        stop.asked = True

    threading.Timer(0.05, come_unheard).start()
    began = time.monotonic()

    stop.wait()

    assert time.monotonic() - began < 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    return root


def audited(root: Path, path: Path | None) -> Settings:
    return Settings(RepositorySettings((root,)), logs=LogSettings(audit_log=path))


def test_without_the_flag_there_is_no_audit_log(root: Path) -> None:
    assert audit_of(audited(root, None)) is None


def test_an_audit_log_is_made_where_there_is_none(root: Path, tmp_path: Path) -> None:
    queue = audit_of(audited(root, tmp_path / "audit.jsonl"))

    assert queue is not None
    assert (tmp_path / "audit.jsonl").exists()


def test_an_audit_log_in_a_repository_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    (root / "out").symlink_to(tmp_path)

    for path in (root / "a", root / "m" / "a", tmp_path / "link" / "a", root / "out" / "a"):
        with pytest.raises(StartError, match="lies in the model repository"):
            audit_of(audited(root, path))
        assert not path.exists()


@pytest.mark.parametrize(
    ("place", "reason"),
    [("nowhere/a", "No such file or directory"), (".", "Is a directory")],
)
def test_an_audit_log_that_cannot_be_written_is_refused(
    root: Path, tmp_path: Path, place: str, reason: str
) -> None:
    with pytest.raises(StartError, match=f"cannot be written: {reason}"):
        audit_of(audited(root, tmp_path / place))
