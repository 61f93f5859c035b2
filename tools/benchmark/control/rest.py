"""What it costs to look for changes where there are none."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interlock.repository.scan import Scanner
from interlock.repository.stager import Stager
from interlock.repository.staging import Rules
from interlock.runtime.clock import monotonic
from tests.support.server_process import ServerProcess
from tools.benchmark.figures import Figure, Progress

PART: Final = "a scan without changes"
LIMIT_MS: Final = 100.0
SETTLE_S: Final = 0.1
POLL_S: Final = 1.0
QUIET_MS: Final = 20.0
"""How far two ticks in a row may lie apart for the server to be at rest."""
_SCANS: Final = 9
_TICKS: Final = 10
_WITHIN_S: Final = 60.0


def measure(root: Path, *, models: int, progress: Progress) -> Iterator[Figure]:
    progress("scans without changes")
    yield Figure(PART, f"scan and look at {models} models, CPU", scan_ms(root), "ms", LIMIT_MS)
    progress("a server in poll mode, at rest")
    tick_ms, idle_ms = _ticks_ms(root)
    remark = f"all of the server, which takes {idle_ms:.1f} ms a second without polling"
    yield Figure(PART, "one poll of a server, CPU", tick_ms, "ms", LIMIT_MS, remark)


def scan_ms(root: Path) -> float:
    """Return the CPU time of this thread for one scan and look; the median of several."""
    rules = Rules(SETTLE_S, started=monotonic(), started_ns=time.time_ns())
    scanner, stager = Scanner([root]), Stager(rules=rules, clock=monotonic)
    stager.look(scanner.scan())
    time.sleep(2 * SETTLE_S)
    stager.look(scanner.scan())
    spent = []
    for _ in range(_SCANS):
        began = time.thread_time()
        stager.look(scanner.scan())
        spent.append(1e3 * (time.thread_time() - began))
    return statistics.median(spent)


def _ticks_ms(root: Path) -> tuple[float, float]:
    """Return the CPU of a server for a second with a poll in it, and for one without."""
    flags = [f"--model-repository={root}", f"--repository-settle-secs={SETTLE_S}"]
    spent = []
    for mode in ([f"--repository-poll-secs={POLL_S}", "--model-control-mode=poll"], []):
        with ServerProcess.start([*flags, *mode], within_s=_WITHIN_S * 5) as process:
            _wait_for_rest(process)
            began = process.cpu_seconds()
            time.sleep(_TICKS * POLL_S)
            spent.append(1e3 * (process.cpu_seconds() - began) / _TICKS)
    return spent[0], spent[1]


def _wait_for_rest(process: ServerProcess) -> None:
    """Wait until what follows a start is done: two seconds that cost the same."""
    deadline = time.monotonic() + _WITHIN_S
    before = None
    last = process.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        spent, last = 1e3 * (process.cpu_seconds() - last), process.cpu_seconds()
        if before is not None and abs(spent - before) <= QUIET_MS:
            return
        before = spent
    raise TimeoutError(f"the server is not at rest after {_WITHIN_S:g} s")
