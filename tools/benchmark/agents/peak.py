"""How much memory the agents of one load take at most, in a process of their own.

That is what the process got beyond what it had before the load, all of it: its own memory,
and files in memory whether they are mapped or not. Prints one number, in bytes.
"""

import ctypes
import gc
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.benchmark.agents.loads import Loads, allocated_bytes
from tools.benchmark.agents.models import Model

_PROC: Final = Path("/proc/self")
_FORGET_THE_PEAK: Final = "5"
_WITHIN_S: Final = 300.0


def field_bytes(status: str, name: str) -> int:
    """Return a field of /proc/PID/status. Raise ValueError where there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ValueError(f"no field {name}")
    return int(found[1]) << 10


def taken_bytes(before: str, after: str, *, allocated: int) -> int:
    """Return what a process took at most, from two texts of /proc/PID/status.

    `allocated` is what its files in memory have; what of them is not mapped is not in the
    texts, and is added.
    """
    mapped = field_bytes(after, "RssShmem") - field_bytes(before, "RssShmem")
    resident = field_bytes(after, "VmHWM") - field_bytes(before, "VmRSS")
    return resident + max(0, allocated - mapped)


def peak_bytes(model: Model, names: Sequence[str]) -> int:
    """Have another process load a model with these agents, and return what it took at most."""
    command = [sys.executable, "-m", "tools.benchmark.agents.peak", str(model.folder), *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_WITHIN_S)
    return int(done.stdout)


def main(folder: str, *names: str) -> None:
    with Loads(Model(Path(folder))) as loads:
        # What was freed while all was imported would hide as much.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        (_PROC / "clear_refs").write_text(_FORGET_THE_PEAK, encoding="ascii")
        before = (_PROC / "status").read_text(encoding="ascii")
        with loads.loaded(names) as location:
            files = () if location is None else location.memory_files()
            after = (_PROC / "status").read_text(encoding="ascii")
            print(taken_bytes(before, after, allocated=allocated_bytes(files)))


if __name__ == "__main__":
    main(*sys.argv[1:])
