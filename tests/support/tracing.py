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

PATIENCE_S = 10.0


def strace() -> str:
    """Return the program; skip the test where there is none, or it may not trace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("no strace here")
    tried = subprocess.run(
        [program, "-qq", "-f", "--trace=none", "true"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode(errors='replace').strip()}")
    return program


def strace_of_secrets() -> str:
    """Return the program; skip the test where it may not look into what has secrets."""
    if os.geteuid():
        pytest.skip("only root may trace a process that has something to hide")
    return strace()


class Trace:
    """What is seen of one server: started with `program`, and read once that is gone."""

    def __init__(self, place: Path) -> None:
        self._place = place

    @property
    def program(self) -> Sequence[str]:
        """How to start the server. Skip the test where that cannot be."""
        return [strace_of_secrets(), *OPTIONS, f"--output={self._place}", *command()]

    def writes_of(self, process: ServerProcess) -> Writes:
        """Return what a server has written that has ended, however that was."""
        deadline = time.monotonic() + PATIENCE_S
        end = re.compile(rf"^{process.pid} +\+\+\+ ", re.MULTILINE)
        while not end.search(self._last_lines()):
            assert time.monotonic() < deadline, "the trace has no end"
            time.sleep(0.02)
        writes = read_trace_file(self._place)
        assert process.pid in writes.ended
        return writes

    def _last_lines(self) -> str:
        with self._place.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65536))
            return file.read().decode(errors="replace")
