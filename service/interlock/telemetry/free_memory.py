"""Say how much memory this process can still take before the kernel ends it."""

from dataclasses import dataclass
from pathlib import Path

from interlock.telemetry.cgroup import MemoryGroup, memory_groups


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """What is free, and of what: `limit_bytes` is the group's, `None` where it is the host's."""

    free_bytes: int
    limit_bytes: int | None = None


def read_free_memory(root: Path = Path("/")) -> FreeMemory | None:
    """Return the least that the groups and the host leave, `None` where nothing tells."""
    found = [free for group in memory_groups(root) if (free := _free_in(group)) is not None]
    host = _free_on_host(root)
    if host is not None:
        found.append(host)
    return min(found, key=lambda free: free.free_bytes, default=None)


def _free_in(group: MemoryGroup) -> FreeMemory | None:
    limit, taken = group.limit_bytes(), group.taken_bytes()
    if limit is None or taken is None:
        return None
    return FreeMemory(max(0, limit - taken), limit)


def _free_on_host(root: Path) -> FreeMemory | None:
    """Return what the kernel thinks that can be had without swapping."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "MemAvailable" and words and words[0].isdigit():
            return FreeMemory(int(words[0]) << 10)
    return None
