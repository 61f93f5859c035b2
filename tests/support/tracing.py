"""A server whose every write to a file is seen, where strace is there and allowed."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess, command
from tools.file_writes import OPTIONS, Writes, read_trace_file

PATIENCE_S = 60.0
_TAIL_BYTES = 65536


def why_no_strace() -> str:
    """Return why nothing can be traced here; empty where strace works."""
    program = shutil.which("strace")
    if program is None:
        return "no strace here"
    tried = subprocess.run(
        [program, "-qq", "-f", "--trace=none", "true"], capture_output=True, check=False
    )
    words = tried.stderr.decode(errors="replace").strip()
    return f"strace may not trace here: {words}" if tried.returncode else ""


def why_no_secrets() -> str:
    """Return why what has something to hide cannot be traced here; empty where it can."""
    if os.geteuid():
        return "only root may trace a process that has something to hide"
    return why_no_strace()


class Trace:
    """What one server writes: started with `program`, and read once it has ended.

    `before` stands in front of the command.
    """

    def __init__(self, place: Path, before: Sequence[str] = ()) -> None:
        self._place = place
        self._before = before

    @property
    def program(self) -> Sequence[str]:
        """How to start the server."""
        return [*self._before, "strace", *OPTIONS, f"--output={self._place}", *command()]

    def writes_of(self, process: ServerProcess) -> Writes:
        """Return what a server has written that has ended, however that was."""
        deadline = time.monotonic() + PATIENCE_S
        end = re.compile(rf"^{process.pid} +\+\+\+ ", re.MULTILINE)
        while not end.search(self._last_lines()):
            if time.monotonic() > deadline:
                pytest.fail("the trace has no end")
            time.sleep(0.02)
        writes = read_trace_file(self._place)
        assert process.pid in writes.ended
        return writes

    def _last_lines(self) -> str:
        with self._place.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
