"""Files in memory: what can be read, what cannot be written, and what is left of them."""

import mmap
import os
import random
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock_agents.memory import MemoryFile

MIB = 1 << 20


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def file() -> Iterator[MemoryFile]:
    file = MemoryFile(5)
    yield file
    file.close()


def test_what_is_written_can_be_read_by_path_stream_copy_and_view() -> None:
    file = MemoryFile.of(b"weights")

    with file.open() as stream:
        assert stream.read() == b"weights"
    assert file.path.read_bytes() == b"weights"
    assert file.read() == b"weights"
    assert bytes(file.view) == b"weights"
    assert file.size == 7
    file.close()


def test_two_streams_do_not_move_each_other() -> None:
    file = MemoryFile.of(b"weights")

    with file.open() as one, file.open() as other:
        assert one.read(3) == b"wei"
        assert other.read(3) == b"wei"
    file.close()


def test_an_empty_file_is_one_too() -> None:
    file = MemoryFile.of(b"")

    assert file.read() == file.path.read_bytes() == b""
    assert file.lock()
    file.wipe()


def test_nothing_of_it_is_in_any_directory(file: MemoryFile) -> None:
    target = str(file.path.readlink())

    assert target.startswith("/memfd:")
    assert not Path(target).exists()


def test_can_be_written_until_it_is_sealed(file: MemoryFile) -> None:
    file.buffer[:] = b"clear"
    file.buffer[1:3] = b"EA"
    file.seal()
    file.seal()

    assert file.is_sealed
    assert file.read() == b"cEAar"
    with pytest.raises(ValueError, match="the file is sealed"):
        _ = file.buffer
    with pytest.raises(TypeError):
        file.view[0] = 1


def test_nobody_writes_to_a_sealed_one_by_its_path_whatever_its_mode() -> None:
    file = MemoryFile.of(b"clear")
    assert file.path.stat().st_mode & 0o777 == 0o400
    # As root, who may open anything.
    file.path.chmod(0o600)
    descriptor = os.open(file.path, os.O_RDWR)

    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"other", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 1)
    with pytest.raises(PermissionError):
        mmap.mmap(descriptor, 5)

    os.close(descriptor)
    assert file.read() == b"clear"
    file.close()


def test_wiping_leaves_zeros_to_whoever_still_maps_it() -> None:
    file = MemoryFile.of(b"\1" * (3 * MIB + 17))
    descriptor = os.open(file.path, os.O_RDONLY)
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    view = file.view

    file.wipe()

    assert file.is_closed
    assert not any(mapped[:])
    assert not any(view)
    mapped.close()
    os.close(descriptor)


def test_erasing_leaves_it_open() -> None:
    file = MemoryFile.of(b"clear")

    file.erase()

    assert file.read() == bytes(5)
    file.close()


def test_wiping_takes_no_memory_for_what_was_never_written() -> None:
    file = MemoryFile(64 * MIB)
    file.buffer[32 * MIB] = 1
    before = file.path.stat().st_blocks

    file.erase()

    assert file.path.stat().st_blocks == before
    file.close()


def test_closed_it_has_neither_path_nor_content(file: MemoryFile) -> None:
    path = file.path
    file.close()
    file.close()

    assert not path.exists()
    for use in (lambda: file.path, lambda: file.view, lambda: file.buffer, file.open, file.read):
        with pytest.raises(ValueError, match="the file is closed"):
            use()


def test_closing_gives_the_descriptors_back() -> None:
    before = descriptors()
    file = MemoryFile.of(b"clear")

    file.wipe()

    assert descriptors() == before


def test_is_kept_out_of_the_swap_space_where_the_limit_allows_it(file: MemoryFile) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft < 64 << 10:
        pytest.skip("this system lets nobody lock memory")

    assert not file.is_locked
    assert file.lock()
    assert file.is_locked


def test_goes_on_unlocked_where_the_limit_forbids_it() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        pytest.skip("nothing limits this process")
    file = MemoryFile(soft + MIB)

    assert not file.lock()

    assert not file.is_locked
    file.close()


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="nothing"),
        pytest.param(5, id="less than a page"),
        pytest.param(2 * MIB, id="found at once"),
        pytest.param(12 * MIB + 5, id="found in steps, by another thread"),
    ],
)
@pytest.mark.parametrize("piece", [3 * MIB - 7, 9 * MIB])
def test_what_is_written_where_memory_was_found_ahead_stays(size: int, piece: int) -> None:
    file = MemoryFile(size)
    content = random.Random(size).randbytes(size)

    with file.room_ahead() as ready:
        for begin in range(0, size, piece):
            part = content[begin : begin + piece]
            ready(begin, len(part))
            assert file.path.stat().st_blocks * 512 >= begin + len(part)
            file.buffer[begin : begin + len(part)] = part

    assert file.read() == content
    file.close()


def test_leaving_early_leaves_nobody_at_work() -> None:
    file = MemoryFile(64 * MIB)

    with file.room_ahead() as ready:
        ready(0, MIB)

    assert not [thread.name for thread in threading.enumerate() if "memory" in thread.name]
    assert file.read() == bytes(64 * MIB)
    file.close()


def test_who_waits_for_memory_hears_that_there_is_none() -> None:
    file = MemoryFile(12 * MIB)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB, limits[1]))
    try:
        with file.room_ahead() as ready:
            ready(0, 4 * MIB)
            with pytest.raises(OSError, match="File too large"):
                ready(4 * MIB, 4 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.close()


def test_memory_that_was_found_ahead_is_locked_with_the_rest() -> None:
    file = MemoryFile(64 << 10)
    if not file.lock():
        pytest.skip("this system lets nobody lock memory")
    before = locked_kib(file)

    with file.room_ahead() as ready:
        ready(0, 64 << 10)

    assert before == 0
    assert locked_kib(file) == 64
    file.close()


def locked_kib(file: MemoryFile) -> int:
    """Return how much of a file's own mapping the system holds and keeps out of its swap space."""
    inode = f" {file.path.stat().st_ino} "
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if "/memfd:" in line and inode in line)
    return next(int(line.split()[1]) for line in lines if line.startswith("Locked:"))


def test_says_that_there_is_no_such_memory() -> None:
    before = descriptors()

    with pytest.raises((OSError, OverflowError, ValueError)):
        MemoryFile(-1)

    assert descriptors() == before
