"""Tell glibc's allocator to keep what messages need, and to give the rest back when asked.

A message of some megabytes otherwise costs a page fault for each of its pages, every
time. On another C library nothing happens.
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_MMAP_THRESHOLD_BYTES: Final = 32 << 20
_TRIM_THRESHOLD_BYTES: Final = 512 << 20
_SHARE_OF_LIMIT: Final = 8
_ARENAS: Final = 4


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def keep_large_blocks(memory_limit_bytes: int | None) -> bool:
    """Set the thresholds; False where this is not glibc.

    Of memory that has been freed at most an eighth of `memory_limit_bytes` is kept.
    """
    library = _glibc()
    if library is None:
        return False
    trim = _TRIM_THRESHOLD_BYTES
    if memory_limit_bytes is not None:
        trim = min(trim, memory_limit_bytes // _SHARE_OF_LIMIT)
    settings = (
        (_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, trim),
        (_M_ARENA_MAX, _ARENAS),
    )
    return all(library.mallopt(option, value) == 1 for option, value in settings)


def trim() -> int:
    """Give free memory back to the system; return by how many bytes the process shrank."""
    library = _glibc()
    if library is None:
        return 0
    before = resident_bytes()
    library.malloc_trim(0)
    return max(0, before - resident_bytes())


def resident_bytes() -> int:
    """Return the resident size of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no path logic
            pages = int(statm.read().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * _PAGE_BYTES


_PAGE_BYTES: Final = 4096 if _glibc() is None else ctypes.CDLL(None).getpagesize()
