"""Swap a model's file again and again under traffic, and check what every answer says.

Each file adds its own constant, so an answer tells which file it came from. Clients ask
in a loop while the file is replaced and RepositoryModelLoad is called. No request may
fail; each answer must come from a file that was shown at some moment between its sending
and its receipt; and what is sent after a Load has returned must not be answered by an
older file.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final, NamedTuple, Self

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import (
    NUMPY_TYPES,
    UNLIMITED,
    Client,
    given,
    infer_request,
    transport_flags,
    unload_everything,
)

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
MODEL: Final = "adder"
CALL_TIMEOUT_S: Final = 30.0
STARTED_WITHIN_S: Final = 60.0
PROCESSES: Final = 2
SETTLE_S: Final = 0.1
"""Traffic before the first load and after the last."""
NS_PER_MS: Final = 1e6


class Answer(NamedTuple):
    """One request: when it was sent, when it was answered, and with which constant."""

    sent_ns: int
    received_ns: int
    constant: int


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


def ask_in_a_loop(
    address: str, stop: Event, answers: list[Answer], failures: list[str], ready: threading.Barrier
) -> None:
    """One client: a channel of its own, one request after the other."""
    request = infer_request(MODEL, given("x", np.zeros(1, "<f4"))).SerializeToString()
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary(METHOD)
        grpc.channel_ready_future(channel).result(CALL_TIMEOUT_S)
        ready.wait()
        while not stop.is_set():
            sent = time.monotonic_ns()
            try:
                message = call(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")
                continue
            received = time.monotonic_ns()
            answers.append(Answer(sent, received, constant_in(message)))


def constant_in(message: bytes) -> int:
    response = pb.ModelInferResponse.FromString(message)
    return int(np.frombuffer(response.raw_output_contents[0], NUMPY_TYPES["FP32"])[0])


Gathered = tuple[list[Answer], list[str]]


def run_clients(
    address: str, threads: int, ready: Event, stop: Event, pipe: "Queue[Gathered]"
) -> None:
    """One process of clients; sends what they gathered when it is over."""
    answers: list[list[Answer]] = [[] for _ in range(threads)]
    failures: list[str] = []
    barrier = threading.Barrier(threads + 1)
    workers = [
        threading.Thread(target=ask_in_a_loop, args=(address, stop, own, failures, barrier))
        for own in answers
    ]
    for worker in workers:
        worker.start()
    barrier.wait(STARTED_WITHIN_S)
    ready.set()
    for worker in workers:
        worker.join()
    pipe.put(([answer for own in answers for answer in own], failures))


def swap(client: Client, repository: Repository, loads: int) -> list[Shown]:
    """Replace the file and load it, `loads` times. The first entry is what was there before."""
    shown = [Shown(0, 0, 0)]
    for constant in range(1, loads + 1):
        repository.replace(MODEL, "1/model.onnx", onnx_small.add_constant(constant))
        asked = time.monotonic_ns()
        client.load(MODEL)
        shown.append(Shown(constant, asked, time.monotonic_ns()))
    return shown


def violations_in(answers: Sequence[Answer], shown: Sequence[Shown]) -> list[str]:
    """Compare each answer with what was shown while it was on its way."""
    wrong = []
    for answer in answers:
        if not 0 <= answer.constant < len(shown):
            wrong.append(f"an answer has the constant {answer.constant}, which no file has")
            continue
        mine = shown[answer.constant]
        if answer.received_ns < mine.asked_ns:
            wrong.append(f"file {answer.constant} answered before its Load was asked for")
        # The next file was shown when its Load returned: from then on this one is the past.
        if answer.constant + 1 < len(shown):
            late_ns = answer.sent_ns - shown[answer.constant + 1].returned_ns
            if late_ns > 0:
                wrong.append(
                    f"file {answer.constant} answered a request that was sent "
                    f"{late_ns / NS_PER_MS:.3f} ms after the Load of its successor had returned"
                )
    return wrong


def percentiles(nanoseconds: Sequence[int]) -> tuple[float, float, float]:
    """The median, the 99th and the 100th, in milliseconds."""
    median, high, top = np.percentile(np.array(nanoseconds) / NS_PER_MS, [50, 99, 100])
    return float(median), float(high), float(top)


class Traffic:
    """Clients that ask in a loop, in processes of their own, while the `with` block runs."""

    def __init__(self, address: str, clients: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._pipe = context.Event(), context.Queue()
        self._signs = [context.Event() for _ in range(min(PROCESSES, clients))]
        count = len(self._signs)
        self._workers = [
            context.Process(
                target=run_clients,
                args=(address, len(range(index, clients, count)), sign, self._stop, self._pipe),
            )
            for index, sign in enumerate(self._signs)
        ]
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for worker in self._workers:
            worker.start()
        if not all(sign.wait(STARTED_WITHIN_S) for sign in self._signs):
            self._stop.set()
            raise TimeoutError("the clients did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for _worker in self._workers:
            answers, failures = self._pipe.get(timeout=STARTED_WITHIN_S)
            self.answers += answers
            self.failures += failures
        for worker in self._workers:
            worker.join()


def measure(process: ServerProcess, repository: Repository, *, clients: int, loads: int) -> Outcome:
    """Swap under traffic, and judge the answers."""
    with Traffic(process.address, clients) as traffic, Client(process.address) as client:
        began = time.monotonic()
        time.sleep(SETTLE_S)
        shown = swap(client, repository, loads)
        time.sleep(SETTLE_S)
        seconds = time.monotonic() - began
    answers, failures = traffic.answers, traffic.failures
    with Client(process.address) as client:
        unload_everything(client)
    return Outcome(
        clients=clients,
        loads=loads,
        requests=len(answers),
        files_seen=len({answer.constant for answer in answers}),
        seconds=seconds,
        failures=tuple(failures),
        violations=tuple(violations_in(answers, shown)),
        load_ms=percentiles([one.returned_ns - one.asked_ns for one in shown[1:]]),
        request_ms=percentiles([one.received_ns - one.sent_ns for one in answers]),
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
        "answers from the wrong file": len(outcome.violations),
    }
    return "\n".join(f"{name:<28} {value}" for name, value in rows.items())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/swap_stress", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--loads", type=int, default=100, help="how often the file is swapped")
    parser.add_argument("--clients", type=int, default=32, help="how many ask at a time")
    parser.add_argument("--transport", choices=("queue", "public"), default="queue")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    arguments = parser.parse_args()
    outcome = run(
        clients=arguments.clients,
        loads=arguments.loads,
        transport=[f"--grpc-transport={arguments.transport}"],
    )
    print(json.dumps(asdict(outcome)) if arguments.json else table(outcome))
    for line in sorted({*outcome.failures, *outcome.violations})[:20]:
        print(f"WRONG {line}", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
