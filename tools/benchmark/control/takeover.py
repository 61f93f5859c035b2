"""How long it takes from "proven" to the first answer of the new version.

Both moments are of one clock. The server's line "proven" carries the real time. The clients'
stamps are monotonic; how far the two clocks lie apart is read before and after. What passes
until a client happens to ask is counted as well.
"""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client
from tools import swap_stress
from tools.benchmark.control import repositories
from tools.benchmark.figures import Figure, Progress, percentile
from tools.traffic import Answers, Traffic, violations_in

PART: Final = "from proven to answering"
LIMIT_MS: Final = 5.0
CLIENTS: Final = 2
"""Who ask without pause; more of them would compete with the server they share a machine with."""
PAUSE_S: Final = 0.05
"""Between two swaps: the next load competes with the first answers after the one before."""
_WITHIN_S: Final = 300.0
_MS: Final = 1e6


def measure(root: Path, *, models: int, swaps: int, progress: Progress) -> Iterator[Figure]:
    """Swap a model of a server that has many, under the traffic of clients."""
    progress(f"{swaps} swaps")
    repository = Repository(root)
    repositories.add_adder(repository)
    flags = [
        f"--model-repository={root}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--log-format=json",
    ]
    with ServerProcess.start(flags, within_s=_WITHIN_S) as process:
        offset_ns = _offset_ns()
        with (
            Traffic(process.address, swap_stress.MODEL, unary_clients=CLIENTS) as traffic,
            Client(process.address) as client,
        ):
            shown = swap_stress.swap(client, repository, swaps, pause_s=PAUSE_S)
        drift_ns = abs(_offset_ns() - offset_ns)
        proven = [moment - offset_ns for moment in proven_ns(process.lines)][-swaps:]
    answers = traffic.answers
    wrong = [*traffic.failures, *violations_in(answers, swap_stress.windows_of(shown))]
    if wrong:
        raise RuntimeError(f"requests failed or were answered wrongly: {wrong[:3]}")
    gaps = [gap / _MS for gap in gaps_ns(proven, answers)]
    remark = f"{len(gaps)} swaps among {models} models, one each {PAUSE_S:g} s"
    yield Figure(PART, "median", percentile(gaps, 0.5), "ms", LIMIT_MS, remark)
    yield Figure(PART, "95 of 100", percentile(gaps, 0.95), "ms")
    yield Figure(PART, "longest", max(gaps), "ms")
    yield Figure(PART, "the two clocks went apart by", drift_ns / _MS, "ms")


def _offset_ns() -> int:
    """Return how far the real clock is ahead of the monotonic one; the tightest of several."""
    looks = []
    for _ in range(20):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        looks.append((after - before, real - (before + after) // 2))
    return min(looks)[1]


def proven_ns(lines: Sequence[str]) -> list[int]:
    """Return when (real time) versions of the adder were proven, in order."""
    moments = []
    for line in lines:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "proven" and event.get("model") == repositories.ADDER:
            moments.append(round(datetime.fromisoformat(event["time"]).timestamp() * 1e6) * 1000)
    return moments


def gaps_ns(proven: Sequence[int], answers: Answers) -> list[int]:
    """Return how long after it was proven each version answered first; the n-th adds n."""
    gaps = []
    for number, moment in enumerate(proven, 1):
        received = answers.with_constant(number).received_ns
        if len(received):
            gaps.append(int(received.min()) - moment)
    return gaps
