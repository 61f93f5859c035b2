"""Warn at start where the host gives less than a busy server needs.

`read_limits` looks, `warnings_about` judges.
"""

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.telemetry.cgroup import memory_groups

MIN_OPEN_FILES: Final = 4096
MIN_FREE_BYTES: Final = 512 << 20
"""What interpreter, runtimes and messages want beside the models."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What this process may use. `None` is no limit; memory is the cgroup's."""

    open_files: int | None = None
    memory_bytes: int | None = None


def warnings_about(limits: HostLimits, *, model_bytes: int = 0) -> tuple[str, ...]:
    """Return a sentence for each limit that is too low, with what to do about it.

    A model that is loaded anew is in memory twice until the old one has drained.
    """
    found = []
    if limits.open_files is not None and limits.open_files < MIN_OPEN_FILES:
        found.append(
            f"only {limits.open_files} files may be open, and each connection is one:"
            f" raise the limit to {MIN_OPEN_FILES} or more (ulimit -n, LimitNOFILE, ulimits)"
        )
    needed = MIN_FREE_BYTES + 2 * model_bytes
    if limits.memory_bytes is not None and limits.memory_bytes < needed:
        found.append(
            f"the memory limit is {limits.memory_bytes // _MIB} MiB; models of"
            f" {model_bytes // _MIB} MiB, old and new side by side during a reload, want"
            f" {needed // _MIB} MiB: a process above its limit is killed"
        )
    return tuple(found)


def read_limits(root: Path = Path("/")) -> HostLimits:
    """Return what the system says of this process; what it does not say is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [limit for group in memory_groups(root) if (limit := group.limit_bytes()) is not None]
    return HostLimits(
        open_files=None if soft == resource.RLIM_INFINITY else soft,
        memory_bytes=min(limits, default=None),
    )


def memory_bytes(limits: HostLimits) -> int:
    """Return what this process may use: its limit, or all that the machine has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return physical if limits.memory_bytes is None else min(physical, limits.memory_bytes)


def bytes_below(folders: Iterable[Path]) -> int:
    """Return the size of all files in the repositories; what cannot be read counts nothing."""
    total = 0
    for top in folders:
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    total += (Path(folder) / name).stat().st_size
                except OSError:
                    continue
    return total
