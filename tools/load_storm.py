"""Load and unload one model from many threads at once, and check that nothing is left over.

Each caller has a channel of its own, and loads and unloads the same model in turn. No call
may fail, however they meet; another model answers all the while, and afterwards nothing of
the model is left: no version, no thread, and no more memory than it takes.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from interlock.cli.verb import add_format
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client, arrays, given, infer_request, transport_flags

STORMED: Final = "stormed"
CALM: Final = "calm"
CALM_VALUE: Final = 7.0
KIB: Final = 1024
SLACK_BYTES: Final = 48 * KIB * KIB
"""Arenas and pools of 32 busy connections; what loads leave would grow with their number."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a storm; `failures` are sentences."""

    callers: int
    rounds: int
    seconds: float
    answers: int
    threads: tuple[int, int]
    memory_bytes: tuple[int, int]
    failures: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not self.failures


class Caller:
    """Loads and unloads, `rounds` times each."""

    def __init__(self, address: str, rounds: int) -> None:
        self._address = address
        self._rounds = rounds
        self.failures: list[str] = []

    def run(self) -> None:
        with Client(self._address) as client:
            for _ in range(self._rounds):
                for call in (client.load, client.unload):
                    try:
                        call(STORMED)
                    except grpc.RpcError as error:
                        self.failures.append(f"{error.code().name}: {error.details()}")


class Bystander:
    """Asks the model that nobody touches, until told to stop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        request = infer_request(CALM, given("x", np.zeros(1, "<f4")))
        with Client(self._address) as client:
            while not self._stop.wait(0.001):
                try:
                    value = float(arrays(client.infer(request))["y"][0])
                except grpc.RpcError as error:
                    self.failures.append(f"bystander: {error.code().name}: {error.details()}")
                    continue
                self.answers += 1
                if value != CALM_VALUE:
                    self.failures.append(f"bystander: {value} instead of {CALM_VALUE}")

    def stop(self) -> None:
        self._stop.set()


def storm(process: ServerProcess, *, callers: int, rounds: int) -> Outcome:
    """Let the callers loose on a server that has both models, CALM of them loaded."""
    with Client(process.address) as client:
        client.load(STORMED)
        client.unload(STORMED)
    before = footprint(process)
    bystander = Bystander(process.address)
    all_callers = [Caller(process.address, rounds) for _ in range(callers)]
    watching = threading.Thread(target=bystander.run)
    threads = [threading.Thread(target=caller.run) for caller in all_callers]
    began = time.monotonic()
    watching.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    bystander.stop()
    watching.join()
    after = footprint(process)
    failures = [failure for caller in all_callers for failure in caller.failures]
    return Outcome(
        callers=callers,
        rounds=rounds,
        seconds=seconds,
        answers=bystander.answers,
        threads=(before[0], after[0]),
        memory_bytes=(before[1], after[1]),
        failures=(*failures, *bystander.failures, *left_over(process, before, after)),
    )


def footprint(process: ServerProcess) -> tuple[int, int]:
    """How many threads the server has, and how many bytes are resident."""
    return len(list(Path(f"/proc/{process.pid}/task").iterdir())), process.memory_bytes()


def left_over(process: ServerProcess, before: tuple[int, int], after: tuple[int, int]) -> list[str]:
    with Client(process.address) as client:
        rows = [row for row in client.index() if row[0] == STORMED]
    wrong = [f"left in the index: {row}" for row in rows if row[2] not in {"", "UNAVAILABLE"}]
    grown = after[1] - before[1]
    if grown > SLACK_BYTES:
        wrong.append(f"{grown // KIB} KiB more are resident than before")
    return wrong


def run(*, callers: int, rounds: int, transport: Sequence[str] = ()) -> Outcome:
    """Start a server, let the storm pass, stop it; `transport` are flags."""
    with tempfile.TemporaryDirectory(prefix="interlock-storm-") as folder:
        repository = Repository(Path(folder))
        repository.onnx(STORMED, onnx_small.add_constant(1.0))
        repository.onnx(CALM, onnx_small.add_constant(CALM_VALUE))
        flags = [
            f"--model-repository={repository.root}",
            "--model-control-mode=explicit",
            f"--load-model={CALM}",
            *(transport or transport_flags()),
        ]
        with ServerProcess.start(flags) as process:
            return storm(process, callers=callers, rounds=rounds)


def table(outcome: Outcome) -> str:
    calls = 2 * outcome.callers * outcome.rounds
    rows = {
        "callers": outcome.callers,
        "loads and unloads": f"{calls}, {calls / outcome.seconds:.0f} a second",
        "answers of the other model": outcome.answers,
        "threads": "{} before, {} after".format(*outcome.threads),
        "resident, KiB": "{} before, {} after".format(
            *(size // KIB for size in outcome.memory_bytes)
        ),
        "failures": len(outcome.failures),
    }
    return "\n".join(f"{name:<28} {value}" for name, value in rows.items())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/load_storm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--callers", type=int, default=32, help="how many call at a time")
    parser.add_argument("--rounds", type=int, default=1000, help="loads and unloads of each")
    parser.add_argument("--transport", choices=("queue", "public"), default="queue")
    add_format(parser)
    arguments = parser.parse_args()
    outcome = run(
        callers=arguments.callers,
        rounds=arguments.rounds,
        transport=[f"--grpc-transport={arguments.transport}"],
    )
    print(json.dumps(asdict(outcome)) if arguments.format == "json" else table(outcome))
    for line in sorted(set(outcome.failures))[:20]:
        print(f"WRONG {line}", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
