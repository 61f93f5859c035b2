"""What a model that is asked feels while another one, of 200 MB, is loaded.

Requests go out at half of the rate that the model can serve, whether the answers come or
not. Rest and loads take turns, so that what else the machine does hits both. Latencies count
from the sending; how late the sending was is told beside them. So is what stalls: for how
long the threads that serve were ready to run and had no processor.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.support.server_process import ServerProcess
from tests.support.wire import Client as ControlClient, given, infer_request, set_parameters
from tools.benchmark.control import repositories
from tools.benchmark.figures import Figure, Progress, percentile, stall_limit_ms
from tools.benchmark.load import Client

PART: Final = "while a model of 200 MB is loaded"
ASKED: Final = {repositories.SMALL: (1,), repositories.HEAVY: (1, repositories.HEAVY_WIDTH)}
_AT_ONCE: Final = 16
_WARM_S: Final = 1.0
_CAPACITY_S: Final = 2.0
_REST_S: Final = 0.5
_SHARE: Final = 0.5
_WITHIN_S: Final = 60.0


class Sent(NamedTuple):
    """One request: when it was due, when it was sent, when it was answered (seconds)."""

    due: float
    sent: float
    answered: float


class Span(NamedTuple):
    """From when to when, and how long the server's threads waited for a processor in it."""

    began: float
    ended: float
    waited_s: float


@dataclass(slots=True)
class Spans:
    """What the server was doing when."""

    rest: list[Span] = field(default_factory=list)
    loading: list[Span] = field(default_factory=list)
    unloading: list[Span] = field(default_factory=list)


def measure(root: Path, *, rounds: int, progress: Progress) -> Iterator[Figure]:
    for asked, shape in ASKED.items():
        flags = [
            f"--model-repository={root}",
            "--model-control-mode=explicit",
            f"--load-model={asked}",
        ]
        with ServerProcess.start(flags) as process:
            for large in repositories.LARGE:
                progress(f"'{asked}' is asked while '{large}' is loaded")
                request = infer_request(asked, given("x", np.zeros(shape, "<f4")))
                rate, sent, spans = asyncio.run(
                    _measure(process, request.SerializeToString(), large, rounds)
                )
                yield from figures(asked, large, rate, sent, spans)


async def _measure(
    process: ServerProcess, message: bytes, large: str, rounds: int
) -> tuple[float, list[Sent], Spans]:
    client = Client(process.address)
    await client.run(message, concurrency=_AT_ONCE, seconds=_WARM_S)
    most = await client.run(message, concurrency=_AT_ONCE, seconds=_CAPACITY_S)
    rate = _SHARE * most.requests / most.elapsed_s
    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        changes = beside.submit(_load_and_unload, process, large, rounds, over)
        sent = await send_at(client, message, rate, over)
        spans = changes.result(_WITHIN_S)
    await client.close()
    return rate, sent, spans


async def send_at(client: Client, message: bytes, rate: float, over: threading.Event) -> list[Sent]:
    """Send so many requests a second until told to stop; raise where one fails."""
    rows: list[Sent] = []
    under_way: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        sent = time.perf_counter()
        await client.once(message)
        rows.append(Sent(due, sent, time.perf_counter()))

    began = time.perf_counter()
    number = 0
    while not over.is_set():
        due = began + number / rate
        number += 1
        if (early_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        task = asyncio.create_task(send(due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return rows


def _load_and_unload(
    process: ServerProcess, large: str, rounds: int, over: threading.Event
) -> Spans:
    """Rest, load, rest a little, unload, again and again."""
    spans, waits = Spans(), Waits(Path(f"/proc/{process.pid}/task"))
    try:
        with ControlClient(process.address) as client:
            for _ in range(rounds):
                spans.rest.append(_span(lambda: time.sleep(_REST_S), waits))
                spans.loading.append(_span(lambda: client.load(large), waits))
                time.sleep(_REST_S / 5)
                spans.unloading.append(_span(lambda: _unload(client, large), waits))
    finally:
        over.set()
    return spans


def _unload(client: ControlClient, model: str) -> None:
    """Unload, until the memory is given back."""
    request = pb.RepositoryModelUnloadRequest(model_name=model)
    set_parameters(request.parameters, {"wait": True})
    client.call("RepositoryModelUnload", request)


def _span(act: Callable[[], None], waits: "Waits") -> Span:
    waited_s, began = waits.seconds(), time.perf_counter()
    act()
    return Span(began, time.perf_counter(), waits.seconds() - waited_s)


class Waits:
    """How long the threads that a process has now have waited for a processor."""

    def __init__(self, tasks: Path) -> None:
        """Take the threads of `/proc/PID/task`."""
        self._waited = {task / "schedstat": 0.0 for task in tasks.iterdir()}

    def seconds(self) -> float:
        """Return the sum so far, with what a thread that has ended had waited when last seen."""
        for file in self._waited:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._waited[file] = waited_s(file.read_text(encoding="ascii"))
        return sum(self._waited.values())


def waited_s(schedstat: str) -> float:
    """Return the second of the kernel's three numbers: nanoseconds ready to run, and not run."""
    return int(schedstat.split()[1]) / 1e9


def figures(
    asked: str, large: str, rate: float, sent: Sequence[Sent], spans: Spans
) -> Iterator[Figure]:
    """Compare the latencies while the large model loads with those at rest."""
    rest, loading, unloading = (
        [1e3 * (one.answered - one.sent) for one in within(sent, part)]
        for part in (spans.rest, spans.loading, spans.unloading)
    )
    title = f"'{asked}', {large.removeprefix('large-')} weights"
    rest_ms = percentile(rest, 0.99)
    count = f"{len(rest)} requests, {rate:.0f}/s"
    yield Figure(PART, f"{title}: p99 at rest", rest_ms, "ms", remark=count)
    took_s = [one.ended - one.began for one in spans.loading]
    count = f"{len(loading)} requests, {len(took_s)} loads of {sum(took_s) / len(took_s):.2f} s"
    yield Figure(
        PART,
        f"{title}: p99 while it loads",
        percentile(loading, 0.99),
        "ms",
        stall_limit_ms(rest_ms),
        count,
    )
    yield Figure(PART, f"{title}: longest while it loads", max(loading), "ms")
    count = f"{len(unloading)} requests"
    unloading_ms = percentile(unloading, 0.99)
    yield Figure(PART, f"{title}: p99 while it unloads", unloading_ms, "ms", remark=count)
    for when, part in (("at rest", spans.rest), ("while it loads", spans.loading)):
        yield Figure(PART, f"{title}: waits for a processor {when}", 1e3 * wait_of(part), "ms/s")
    late = [1e3 * (one.sent - one.due) for one in within(sent, spans.loading)]
    yield Figure(PART, f"{title}: p99 of how late it was sent", percentile(late, 0.99), "ms")


def within(sent: Sequence[Sent], spans: Sequence[Span]) -> list[Sent]:
    """Return what was sent while one of these lasted."""
    return [one for one in sent if any(span.began <= one.sent < span.ended for span in spans)]


def wait_of(spans: Sequence[Span]) -> float:
    """Return for how long the threads waited in one second, all of them together."""
    return sum(span.waited_s for span in spans) / sum(span.ended - span.began for span in spans)
