"""What the audit log holds, whatever happens to its file."""

import errno
import json
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

from interlock.domain.cause import Actor
from interlock.domain.description import AgentDescription
from interlock.runtime.threads import spawn
from interlock.telemetry.audit import (
    GAP,
    MAX_TEXT,
    AuditEvent,
    AuditLog,
    _line,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
LOAD = AuditEvent("load", "ok", model="m", version=1)


class Disk:
    """A disk that takes as many bytes as it has room for."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.writes = 0

    def write(self, descriptor: int, content: bytes) -> int:
        self.writes += 1
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(descriptor, content[: self.room])
        self.room -= written
        return written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def opened(path: Path, write: Callable[[int, bytes], int] = os.write) -> AuditLog:
    return AuditLog(path, now=lambda: NOW, write=write)


def test_a_line_says_who_did_what_to_which_model_and_what_came_of_it(path: Path) -> None:
    opened(path).record(
        AuditEvent(
            what="load",
            outcome="refused",
            who=Actor("ipv4:10.0.0.1:5", "CN=ops", "admin-key"),
            model="m",
            version=3,
            generation=2,
            digest="sha256:ab",
            agents=[
                AgentDescription("checksum", passed=False, reason="Mismatched", notes={"a": "b"})
            ],
            reason="Invalid argument: Mismatched",
        )
    )

    (line,) = lines(path)
    assert line == {
        "time": "2026-01-02T03:04:05.000678+00:00",
        "process": os.getpid(),
        "seq": 1,
        "what": "load",
        "outcome": "refused",
        "who": {"peer": "ipv4:10.0.0.1:5", "subject": "CN=ops", "key_name": "admin-key"},
        "model": "m",
        "version": 3,
        "generation": 2,
        "digest": "sha256:ab",
        "agents": [
            {"agent": "checksum", "passed": False, "reason": "Mismatched", "notes": {"a": "b"}}
        ],
        "reason": "Invalid argument: Mismatched",
    }


def test_a_line_is_one_write_and_only_ever_added(path: Path) -> None:
    path.write_text('{"what": "before"}\n')
    disk = Disk()
    audit = opened(path, disk.write)
    audit.record(LOAD)
    audit.record(LOAD)

    assert disk.writes == 2
    assert [line.get("seq") for line in lines(path)] == [None, 1, 2]


def test_nobody_else_may_read_it(path: Path) -> None:
    opened(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_no_audit_log(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(path / "below")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="not a regular file"):
        opened(path)
    os.close(reader)


@given(st.text(), st.text())
def test_no_text_can_end_a_line_or_disguise_one(name: str, value: str) -> None:
    line = _line({"a": name, "notes": {value: name}})

    assert line.count(b"\n") == 1
    assert line.isascii()
    assert line[:-1].decode().isprintable()
    json.loads(line)


def test_long_texts_are_cut(path: Path) -> None:
    opened(path).record(AuditEvent("load", "failed", reason="x" * 100_000))

    assert lines(path)[0]["reason"] == "x" * MAX_TEXT + "…"


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_rotation_is_followed(path: Path, *, is_made_anew: bool) -> None:
    audit = opened(path)
    audit.record(LOAD)
    old = path.rename(path.with_suffix(".1"))
    if is_made_anew:
        path.touch(0o600)
    audit.record(LOAD)

    assert [line["seq"] for line in lines(old)] == [1]
    assert [line["seq"] for line in lines(path)] == [2]


def test_a_file_that_is_cut_to_nothing_is_gone_on_with(path: Path) -> None:
    audit = opened(path)
    audit.record(LOAD)
    os.truncate(path, 0)
    audit.record(LOAD)

    assert [line["seq"] for line in lines(path)] == [2]


def test_a_full_disk_stops_nothing_and_is_told_of_once(path: Path) -> None:
    disk = Disk(room=0)
    audit = opened(path, disk.write)
    with capture_logs() as logs:
        for _ in range(3):
            audit.record(LOAD)

    assert audit.missing == 3
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("the audit log cannot be written", "No space left on device")
    ]


def test_what_is_missing_is_told_once_there_is_room_again(path: Path) -> None:
    disk = Disk(room=0)
    audit = opened(path, disk.write)
    audit.record(LOAD)
    audit.record(LOAD)
    disk.room = 1 << 20
    with capture_logs() as logs:
        audit.record(LOAD)
        audit.record(LOAD)

    gap, *rest = lines(path)
    assert (gap["what"], gap["missing"]) == (GAP, 2)
    assert [line["seq"] for line in rest] == [3, 4]
    assert [(line["event"], line["missing"]) for line in logs] == [
        ("the audit log is written again", 2)
    ]
    assert audit.missing == 0


@pytest.mark.parametrize("room", [1, 100, 350])
def test_a_line_that_was_cut_does_not_take_the_next_one_with_it(path: Path, room: int) -> None:
    disk = Disk(room)
    audit = opened(path, disk.write)
    for _ in range(3):
        audit.record(LOAD)
    disk.room = 1 << 20
    audit.record(LOAD)

    *_, gap, last = path.read_text().splitlines()
    assert json.loads(gap)["what"] == GAP
    assert json.loads(last)["seq"] == 4


def test_a_line_that_somebody_before_was_killed_in_is_ended(path: Path) -> None:
    path.write_text('{"what": "lo')
    opened(path).record(LOAD)

    assert json.loads(path.read_text().splitlines()[1])["seq"] == 1


def test_a_directory_that_is_gone_is_a_gap_and_no_error(path: Path) -> None:
    folder = path.parent / "logs"
    folder.mkdir()
    audit = opened(folder / "audit.jsonl")
    (folder / "audit.jsonl").unlink()
    folder.rmdir()
    audit.record(LOAD)
    assert audit.missing == 1

    folder.mkdir()
    audit.record(LOAD)
    assert [line["what"] for line in lines(folder / "audit.jsonl")] == [GAP, "load"]


def test_a_system_that_takes_nothing_is_not_waited_for(path: Path) -> None:
    audit = opened(path, lambda _descriptor, _content: 0)
    audit.record(LOAD)

    assert audit.missing == 1


def test_what_comes_after_the_end_is_missing(path: Path) -> None:
    audit = opened(path)
    audit.close()
    audit.close()
    audit.record(LOAD)

    assert audit.missing == 1
    assert path.read_text() == ""


def test_threads_do_not_mix_their_lines(path: Path) -> None:
    audit = opened(path)
    together = threading.Barrier(4)

    def record() -> None:
        together.wait()
        for _ in range(50):
            audit.record(LOAD)

    threads = [spawn(f"recorder-{number}", record) for number in range(4)]
    for thread in threads:
        thread.join()

    assert [line["seq"] for line in lines(path)] == list(range(1, 201))
