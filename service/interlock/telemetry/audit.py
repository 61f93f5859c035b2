"""The audit log: who changed what is served, and what came of it, one JSON object a line.

Lines are only ever added. Each is given to the system in one write before the caller goes on,
in the order of `seq`: of what was recorded a server that is killed loses none. They are not
forced onto the disk: a machine that loses power may lose the last seconds.

Whoever must not wait for a disk goes through `audit_queue`.

What cannot be written stops nothing. It is counted and told in the log, and the first line
that can be written again is preceded by one that says how many are missing.
"""

import json
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from interlock.domain.cause import SERVER, Actor
from interlock.domain.description import AgentDescription

log = structlog.get_logger()

MAX_TEXT: Final = 4096
"""Longer texts are cut: clients and models write some of them."""
GAP: Final = "audit-gap"
"""What a line says that stands for those that could not be written."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that happened to a model, to the policy or to the server."""

    what: str
    """A word of `domain.cause.Deed`, or another: "digest", "server-start", …"""
    outcome: str
    """"ok", "begun", "failed", "refused", "warned", "would-refuse"."""
    who: Actor = SERVER
    model: str = ""
    version: int | None = None
    generation: int | None = None
    digest: str = ""
    agents: Sequence[AgentDescription] = ()
    reason: str = ""


class AuditLog:
    """Appends to a file. Any thread may call."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """Open the file, or make it (0600). Raise OSError where it cannot be written."""
        self._path = path
        self._now = now
        self._write = write
        # Guards what follows, and keeps the lines in order.
        self._lock = threading.Lock()
        self._descriptor = _opened(path)
        self._sequence = 0
        self._missing = 0
        self._is_torn = _ends_within_a_line(path)

    @property
    def missing(self) -> int:
        """How many lines could not be written, and are not told of in the file yet."""
        return self._missing

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        """Write the line of an event; what hinders it is told in the log, and not raised.

        `at` is when it happened, where that is not now.
        """
        with self._lock:
            before = self._missing
            trouble = self._recorded(event, at or self._now())
            missing = self._missing
        # The first only: a full disk is not helped by a log that grows.
        if trouble is not None and not before:
            log.error("the audit log cannot be written", file=str(self._path), reason=trouble)
        if trouble is None and before > missing:
            log.info("the audit log is written again", file=str(self._path), missing=before)

    def miss(self, count: int) -> None:
        """Count lines that there was no room for before they came here."""
        with self._lock:
            self._sequence += count
            self._missing += count

    def _recorded(self, event: AuditEvent, at: datetime) -> str | None:
        """Write a line; return what hinders it."""
        self._sequence += 1
        try:
            self._reopen_if_moved()
            self._tell_what_is_missing()
            self._append(_line(self._values(event, at)))
        except (OSError, ValueError) as error:
            self._missing += 1
            return getattr(error, "strerror", None) or str(error)
        return None

    def close(self) -> None:
        """Close the file; what is recorded afterwards counts as missing."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def _values(self, event: AuditEvent, at: datetime) -> dict[str, object]:
        return {
            "time": at.isoformat(timespec="microseconds"),
            "process": os.getpid(),
            "seq": self._sequence,
            "what": event.what,
            "outcome": event.outcome,
            "who": {
                "peer": event.who.peer,
                "subject": event.who.subject,
                "key_name": event.who.key_name,
            },
            "model": event.model,
            "version": event.version,
            "generation": event.generation,
            "digest": event.digest,
            "agents": [
                {
                    "agent": one.name,
                    "passed": one.passed,
                    "reason": one.reason,
                    "notes": dict(one.notes),
                }
                for one in event.agents
            ],
            "reason": event.reason,
        }

    def _tell_what_is_missing(self) -> None:
        if not self._missing:
            return
        values = {
            "time": self._now().isoformat(timespec="microseconds"),
            "process": os.getpid(),
            "what": GAP,
            "missing": self._missing,
        }
        self._append(_line(values))
        self._missing = 0

    def _append(self, line: bytes) -> None:
        """Write a line, and its rest where the system took a part. Raise OSError.

        Of a line that was cut the next begins apart from.
        """
        left = b"\n" + line if self._is_torn else line
        while left:
            written = self._write(self._descriptor, left)
            if written == 0:
                raise OSError(0, "the system takes nothing")
            left = left[written:]
            self._is_torn = bool(left)

    def _reopen_if_moved(self) -> None:
        """Follow a rotation: another file, or none, is where ours was."""
        if self._descriptor < 0:
            raise ValueError("it is closed")
        ours = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        descriptor = _opened(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._is_torn = _ends_within_a_line(self._path)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is not a regular file")
    return descriptor


def _ends_within_a_line(path: Path) -> bool:
    """Whether somebody before us was cut short."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # we may add to it, and not read it
        return False


def cut(event: AuditEvent) -> AuditEvent:
    """Return the event with texts as long as they are written: clients write some of them."""
    return replace(
        event,
        model=_cut_text(event.model),
        reason=_cut_text(event.reason),
        who=replace(event.who, subject=_cut_text(event.who.subject)),
    )


def _line(values: Mapping[str, object]) -> bytes:
    # In ASCII, so that nothing that a client sends can end a line or disguise one.
    return json.dumps(_cut(values), ensure_ascii=True).encode() + b"\n"


def _cut(value: object) -> object:
    if isinstance(value, str):
        return _cut_text(value)
    if isinstance(value, Mapping):
        return {_cut(key): _cut(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_cut(one) for one in value]
    return value


def _cut_text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
