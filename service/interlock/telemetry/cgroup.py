"""Find the memory groups of this process, cgroup version 2 or 1, and read their figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNLIMITED_V1: Final = 1 << 60  # cgroup version 1 writes "no limit" as a number of this size


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """The names of the files in one group's folder; what is not there reads as `None`."""

    folder: Path
    limit_file: str
    usage_file: str
    reclaimable_key: str

    def limit_bytes(self) -> int | None:
        """Return the limit, `None` where there is none."""
        text = self._text(self.limit_file)
        if text is None:
            return None
        limit = int(text) if text.isdigit() else _UNLIMITED_V1
        return limit if limit < _UNLIMITED_V1 else None

    def taken_bytes(self) -> int | None:
        """Return what is in use, without the files' contents that the kernel lets go first."""
        text = self._text(self.usage_file)
        if text is None or not text.isdigit():
            return None
        return max(0, int(text) - self._reclaimable_bytes())

    def _reclaimable_bytes(self) -> int:
        for line in (self._text("memory.stat") or "").splitlines():
            key, _, number = line.partition(" ")
            if key == self.reclaimable_key and number.isdigit():
                return int(number)
        return 0

    def _text(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None


def memory_groups(root: Path = Path("/")) -> Iterator[MemoryGroup]:
    """Yield the groups whose limits hold for this process: its own and those above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if not controllers:
            for folder in _upwards(root / "sys/fs/cgroup", inside):
                yield MemoryGroup(folder, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/memory", inside):
                yield MemoryGroup(
                    folder,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                )


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
