"""What is said of locked memory is what the system says, and nothing where it does not matter."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock_agents.locked_memory import LockedMemory

HEADING = "Filename\tType\tSize\tUsed\tPriority\n"
SWAP = "/dev/sda2\tpartition\t1048572\t0\t-2\n"


@pytest.fixture(autouse=True)
def limit() -> Iterator[int]:
    """Few may be locked; whoever may lock more than that by right is told apart by `proc`."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, before[1]))
    yield 1 << 20
    resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def proc(place: Path, *, swaps: str | None = HEADING + SWAP, capabilities: str = "0" * 16) -> Path:
    (place / "self").mkdir()
    (place / "self" / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
    if swaps is not None:
        (place / "swaps").write_text(swaps)
    return place


def test_a_limit_is_said_where_there_is_swap(tmp_path: Path, limit: int) -> None:
    locked = LockedMemory(proc(tmp_path))

    assert locked.limit_bytes() == limit
    assert locked.warning() == (
        "decrypted models may be swapped out: only 1024 KiB of memory can be locked; raise the "
        "limit (ulimit -l), or turn swap off"
    )


def test_nothing_is_said_without_swap(tmp_path: Path) -> None:
    assert LockedMemory(proc(tmp_path, swaps=HEADING)).warning() == ""


def test_what_cannot_be_known_may_be(tmp_path: Path) -> None:
    assert LockedMemory(proc(tmp_path, swaps=None)).has_swap()


def test_nothing_is_said_to_those_whom_no_limit_binds(tmp_path: Path) -> None:
    assert LockedMemory(proc(tmp_path, capabilities="0000000000004000")).warning() == ""


def test_nothing_is_said_where_there_is_no_limit(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY:
        pytest.skip("this process may not lift its limit")
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))

    assert LockedMemory(proc(tmp_path)).warning() == ""
