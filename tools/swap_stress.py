"""Swap a model's file again and again under traffic, and check what every answer says.

Each file adds its own constant, so an answer tells which file it came from. Clients ask
in a loop while the file is replaced and RepositoryModelLoad is called. No request may
fail; each answer must come from a file that was shown at some moment between its sending
and its receipt; and what is sent after a Load has returned must not be answered by an
older file.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from interlock.cli.verb import add_format
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client, transport_flags, unload_everything
from tools.traffic import NEVER_NS, NS_PER_MS, Traffic, Window, percentiles, violations_in

MODEL: Final = "adder"
SETTLE_S: Final = 0.1
"""Traffic before the first load and after the last."""


class Shown(NamedTuple):
    """One Load: when it was asked for, and when it returned.

    Its file is shown from a moment between the two on, and until a moment before the next
    Load returns.
    """

    constant: int
    asked_ns: int
    returned_ns: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run; `violations` are sentences."""

    clients: int
    loads: int
    requests: int
    files_seen: int
    seconds: float
    failures: tuple[str, ...]
    violations: tuple[str, ...]
    load_ms: tuple[float, float, float]
    request_ms: tuple[float, float, float]

    @property
    def is_good(self) -> bool:
        return not self.failures and not self.violations


def swap(
    client: Client, repository: Repository, loads: int, *, pause_s: float = 0.0
) -> list[Shown]:
    """Replace the file and load it, `loads` times. The first entry is what was there before.

    After each the server is left alone with the clients for `pause_s`.
    """
    shown = [Shown(0, 0, 0)]
    for constant in range(1, loads + 1):
        repository.replace(MODEL, "1/model.onnx", onnx_small.add_constant(constant))
        asked = time.monotonic_ns()
        client.load(MODEL)
        shown.append(Shown(constant, asked, time.monotonic_ns()))
        time.sleep(pause_s)
    return shown


def windows_of(shown: Sequence[Shown]) -> list[Window]:
    """Return when each file was right: until the Load of its successor had returned."""
    ends = [*(one.returned_ns for one in shown[1:]), NEVER_NS]
    return [Window(one.constant, one.asked_ns, end) for one, end in zip(shown, ends, strict=True)]


def measure(process: ServerProcess, repository: Repository, *, clients: int, loads: int) -> Outcome:
    """Swap under traffic, and judge the answers."""
    traffic = Traffic(process.address, MODEL, unary_clients=clients)
    with traffic, Client(process.address) as client:
        began = time.monotonic()
        time.sleep(SETTLE_S)
        shown = swap(client, repository, loads)
        time.sleep(SETTLE_S)
        seconds = time.monotonic() - began
    answers = traffic.answers
    with Client(process.address) as client:
        unload_everything(client)
    return Outcome(
        clients=clients,
        loads=loads,
        requests=len(answers),
        files_seen=len(set(answers.constants.tolist())),
        seconds=seconds,
        failures=tuple(traffic.failures),
        violations=tuple(map(str, violations_in(answers, windows_of(shown)))),
        load_ms=percentiles([(one.returned_ns - one.asked_ns) / NS_PER_MS for one in shown[1:]]),
        request_ms=percentiles(answers.milliseconds()),
    )


def run(*, clients: int, loads: int, transport: Sequence[str] = ()) -> Outcome:
    """Start a server, measure, stop it; `transport` are flags."""
    with tempfile.TemporaryDirectory(prefix="interlock-swap-") as folder:
        repository = Repository(Path(folder))
        repository.onnx(MODEL, onnx_small.add_constant(0))
        flags = [
            f"--model-repository={repository.root}",
            "--model-control-mode=explicit",
            f"--load-model={MODEL}",
            *(transport or transport_flags()),
        ]
        with ServerProcess.start(flags) as process:
            return measure(process, repository, clients=clients, loads=loads)


def table(outcome: Outcome) -> str:
    rows = {
        "clients": outcome.clients,
        "loads": outcome.loads,
        "requests": outcome.requests,
        "files that answered": f"{outcome.files_seen} of {outcome.loads + 1}",
        "requests a second": f"{outcome.requests / outcome.seconds:.0f}",
        "a request, ms": "{:.2f} median, {:.2f} p99, {:.2f} worst".format(*outcome.request_ms),
        "a load, ms": "{:.1f} median, {:.1f} p99, {:.1f} worst".format(*outcome.load_ms),
        "failed requests": len(outcome.failures),
        "files that answered wrongly": len(outcome.violations),
    }
    return "\n".join(f"{name:<28} {value}" for name, value in rows.items())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/swap_stress", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--loads", type=int, default=100, help="how often the file is swapped")
    parser.add_argument("--clients", type=int, default=32, help="how many ask at a time")
    parser.add_argument("--transport", choices=("queue", "public"), default="queue")
    add_format(parser)
    arguments = parser.parse_args()
    outcome = run(
        clients=arguments.clients,
        loads=arguments.loads,
        transport=[f"--grpc-transport={arguments.transport}"],
    )
    print(json.dumps(asdict(outcome)) if arguments.format == "json" else table(outcome))
    for line in sorted({*outcome.failures, *outcome.violations})[:20]:
        print(f"WRONG {line}", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
