"""How much memory this process can keep out of the swap space, and whether that matters."""

import resource
from pathlib import Path
from typing import Final

_CAP_IPC_LOCK: Final = 14
_PROC: Final = Path("/proc")


class LockedMemory:
    """What the system says; `proc` is where it says it."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc

    def limit_bytes(self) -> int | None:
        """Return how much this process may lock, `None` where nothing limits it."""
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return None if soft == resource.RLIM_INFINITY or self._may_lock_all() else soft

    def has_swap(self) -> bool:
        """Whether anything is swapped out at all; True where we cannot know."""
        try:
            lines = (self._proc / "swaps").read_text().splitlines()
        except OSError:
            return True
        return len(lines) > 1  # the first is a heading

    def warning(self) -> str:
        """Return what an operator should know of decrypted models, "" where that is nothing."""
        limit = self.limit_bytes()
        if limit is None or not self.has_swap():
            return ""
        return (
            f"decrypted models may be swapped out: only {limit >> 10} KiB of memory can be "
            "locked; raise the limit (ulimit -l), or turn swap off"
        )

    def _may_lock_all(self) -> bool:
        try:
            lines = (self._proc / "self" / "status").read_text().splitlines()
        except OSError:
            return False
        found = [line.split()[1] for line in lines if line.startswith("CapEff:")]
        return bool(found) and bool(int(found[0], 16) >> _CAP_IPC_LOCK & 1)
