"""There is no core dump for as long as anybody has something to hide, and there is one again."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock_agents.core_dumps import CoreDumps

PR_GET_DUMPABLE = 3


def state() -> tuple[int, int]:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), soft


@pytest.fixture(autouse=True)
def dumps_of_a_page() -> Iterator[None]:
    """Let there be something to switch off, where the system lets us."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1]:
        resource.setrlimit(resource.RLIMIT_CORE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_dumps_are_off_until_the_last_one_allows_them() -> None:
    before = state()
    dumps = CoreDumps()

    dumps.forbid()
    dumps.forbid()
    assert state() == (0, 0)
    dumps.allow()
    assert state() == (0, 0)
    dumps.allow()
    assert state() == before


def test_dumps_can_be_forbidden_again() -> None:
    before = state()
    dumps = CoreDumps()
    for _ in range(2):
        dumps.forbid()
        assert state() == (0, 0)
        dumps.allow()
        assert state() == before


def test_dumps_are_off_in_a_block() -> None:
    before = state()

    with CoreDumps():
        assert state() == (0, 0)

    assert state() == before


def test_memory_files_can_be_read_by_path_meanwhile() -> None:
    code = """
import os
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.memory import MemoryFile
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
CoreDumps().forbid()
file = MemoryFile.of(b"weights")
print(file.path.read_text())
"""
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("weights\n", "")


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text()[0] in "|/",
    reason="core dumps do not go to the working directory",
)
def test_a_process_that_hides_something_leaves_no_core(tmp_path: Path) -> None:
    code = """
import os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1:]:
    from interlock_agents.core_dumps import CoreDumps
    CoreDumps().forbid()
os.abort()
"""
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for arguments in ([], ["hide"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == -signal.SIGABRT
        found = list(tmp_path.iterdir())
        if arguments:
            assert found == []
        elif not found:
            pytest.skip("this system makes no core dumps at all")
        for core in found:
            core.unlink()
