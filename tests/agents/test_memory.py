"""Files in memory: what can be read, what cannot be written, and what is left of them."""

import mmap
import os
import resource
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


def test_has_memory_for_the_part_that_is_to_come_and_for_no_other() -> None:
    file = MemoryFile(4 * MIB)

    file.make_room(MIB, 2 * MIB)

    assert file.path.stat().st_blocks * 512 == 2 * MIB
    assert file.read() == bytes(4 * MIB)
    file.close()


def test_making_room_leaves_what_lies_beside_it() -> None:
    file = MemoryFile(3 * 20_000)
    file.buffer[:] = b"\1" * file.size

    file.make_room(20_000, 20_000)

    assert file.read() == b"\1" * 20_000 + bytes(20_000) + b"\1" * 20_000
    file.close()


def test_room_is_made_up_to_the_end_and_in_any_number_of_pieces() -> None:
    file = MemoryFile(20 * MIB + 5)

    file.make_room(0, 64 * MIB)
    file.make_room(file.size, 1)

    assert file.size == file.path.stat().st_size
    assert file.path.stat().st_blocks * 512 >= file.size
    file.close()


def test_what_has_room_is_locked_with_the_rest_of_the_file() -> None:
    file = MemoryFile(64 << 10)
    if not file.lock():
        pytest.skip("this system lets nobody lock memory")
    before = locked_kib(file)

    file.make_room(0, 32 << 10)

    assert before == 0
    assert locked_kib(file) == 32
    file.close()


def locked_kib(file: MemoryFile) -> int:
    """Return how much of a file's own mapping the system holds and keeps out of its swap space."""
    inode = f" {file.path.stat().st_ino} "
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if "/memfd:" in line and inode in line)
    return next(int(line.split()[1]) for line in lines if line.startswith("Locked:"))


def test_a_sealed_file_has_no_room() -> None:
    file = MemoryFile.of(b"clear")

    with pytest.raises(ValueError, match="the file is sealed"):
        file.make_room(0, 5)

    assert file.read() == b"clear"
    file.close()


def test_says_that_there_is_no_such_memory() -> None:
    before = descriptors()

    with pytest.raises((OSError, OverflowError, ValueError)):
        MemoryFile(-1)

    assert descriptors() == before
