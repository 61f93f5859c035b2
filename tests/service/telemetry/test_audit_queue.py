"""What becomes of lines that are recorded faster than a disk takes them."""

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from interlock.telemetry.audit import GAP, MAX_TEXT, AuditEvent, AuditLog
from interlock.telemetry.audit_queue import AuditQueue

PATIENCE_S = 30.0
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


class SlowDisk:
    """A disk that takes nothing until `go` is set; `asked` once it has been asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()

    def write(self, descriptor: int, content: bytes) -> int:
        self.asked.set()
        self.go.wait(PATIENCE_S)
        return os.write(descriptor, content)


class World:
    def __init__(self, path: Path, room: int) -> None:
        self.path = path
        self.disk = SlowDisk()
        self.queue = AuditQueue(AuditLog(path, write=self.disk.write), room=room, now=lambda: NOW)
        self.queue.start()

    def hang(self) -> None:
        """Let the disk hang in a first line."""
        self.queue.record(AuditEvent("load", "ok", model="first"))
        assert self.disk.asked.wait(PATIENCE_S)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def models(self) -> list[str]:
        return [line.get("model", line["what"]) for line in self.lines()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "audit.jsonl", room=3)
    yield world
    world.disk.go.set()
    assert world.queue.close(PATIENCE_S)


def test_a_disk_that_hangs_holds_nobody_up_who_does_not_wait(world: World) -> None:
    world.hang()
    for name in "abc":
        world.queue.record(AuditEvent("load", "ok", model=name))
    assert not world.queue.settle(0)

    world.disk.go.set()
    assert world.queue.settle(PATIENCE_S)
    assert world.models() == ["first", "a", "b", "c"]


def test_a_line_tells_when_it_happened_not_when_it_was_written(world: World) -> None:
    world.disk.go.set()
    world.queue.record(AuditEvent("load", "ok"))
    assert world.queue.settle(PATIENCE_S)

    assert world.lines()[0]["time"] == NOW.isoformat(timespec="microseconds")


def test_what_there_is_no_room_for_is_told_of_as_a_gap(world: World) -> None:
    world.hang()
    with capture_logs() as logs:
        for name in "abcde":
            world.queue.record(AuditEvent("load", "ok", model=name))
    world.disk.go.set()
    assert world.queue.settle(PATIENCE_S)
    world.queue.record(AuditEvent("load", "ok", model="later"))
    assert world.queue.close(PATIENCE_S)

    assert world.models() == ["first", "a", "b", "c", GAP, "later"]
    assert world.lines()[-2]["missing"] == 2
    assert world.lines()[-1]["seq"] == 7
    assert [line["event"] for line in logs] == ["lines of the audit log are lost"]


def test_the_end_waits_for_what_is_to_be_written(world: World) -> None:
    world.hang()
    world.queue.record(AuditEvent("unload", "ok", model="last"))
    assert not world.queue.close(0)

    world.disk.go.set()
    assert world.queue.close(PATIENCE_S)
    assert world.models() == ["first", "last"]


def test_what_comes_after_the_end_is_nobodys_fault(world: World) -> None:
    world.disk.go.set()
    assert world.queue.close(PATIENCE_S)
    with capture_logs() as logs:
        world.queue.record(AuditEvent("digest", "ok"))

    assert logs == []
    assert world.lines() == []


def test_nothing_that_waits_is_longer_than_it_is_written(world: World) -> None:
    world.hang()
    world.queue.record(AuditEvent("load", "ok", model="m" * 100_000, reason="r" * 100_000))
    (waiting, _), *_ = world.queue._waiting

    assert len(waiting.model) == len(waiting.reason) == MAX_TEXT + 1


def test_the_end_of_what_never_began_is_quick(tmp_path: Path) -> None:
    assert AuditQueue(AuditLog(tmp_path / "audit.jsonl")).close(0)
