import mmap
import subprocess
import sys

from interlock.runtime import allocator

_GROW_AND_TRIM = """
from interlock.runtime import allocator
assert allocator.keep_large_blocks(None)
blocks = [b"x" * (1 << 20) for _ in range(256)]
full = allocator.resident_bytes()
del blocks
kept = allocator.resident_bytes()
given_back = allocator.trim()
print(full, kept, given_back)
"""


def test_freed_memory_is_kept_until_it_is_asked_for() -> None:
    """In a process of its own: what this one has allocated must not matter."""
    printed = subprocess.run(
        [sys.executable, "-c", _GROW_AND_TRIM], check=True, capture_output=True, text=True
    ).stdout
    full, kept, given_back = map(int, printed.split())

    assert kept > full - (64 << 20)
    assert given_back > 128 << 20


def test_the_resident_size_is_that_of_a_running_interpreter() -> None:
    assert allocator.resident_bytes() > mmap.PAGESIZE * 100


def test_trimming_never_gives_back_less_than_nothing() -> None:
    assert allocator.trim() >= 0
