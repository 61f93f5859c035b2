"""Warn at start where the host gives less than a busy server needs.

`read_limits` looks, `warnings_about` judges.
"""

import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIN_OPEN_FILES: Final = 4096
MIN_FREE_BYTES: Final = 512 << 20
"""What interpreter, runtimes and messages want beside the models."""
_UNLIMITED_V1: Final = 1 << 60  # cgroup version 1 writes "no limit" as a number of this size
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


def _limit_in(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    limit = int(text) if text.isdigit() else _UNLIMITED_V1
    return limit if limit < _UNLIMITED_V1 else None


def _upwards(top: Path, inside: str) -> Iterator[Path]:
    """Yield the group's folder and those above it: each may set a limit of its own.

    In a container the path may be one of the host that does not exist here; `top` is
    then the group itself.
    """
    folder = top / inside.strip("/")
    while folder != top and top in folder.parents:
        yield folder
        folder = folder.parent
    yield top


def _limit_files(root: Path) -> Iterator[Path]:
    """Yield the files of cgroup version 2 or 1 that may limit this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if not controllers:
            for folder in _upwards(root / "sys/fs/cgroup", inside):
                yield folder / "memory.max"
        elif "memory" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/memory", inside):
                yield folder / "memory.limit_in_bytes"


def read_limits(root: Path = Path("/")) -> HostLimits:
    """Return what the system says of this process; what it does not say is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [limit for file in _limit_files(root) if (limit := _limit_in(file)) is not None]
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
