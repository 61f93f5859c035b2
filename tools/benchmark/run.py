"""Measure this server against a bare grpc.aio echo of the same bytes, in one run.

The two take turns, round by round, so that what else the machine does hits both. What
is compared is the CPU time of the server process for each request; wall time and
latencies are shown beside it. Ratios are medians over the rounds.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
import uvloop

from interlock.cli.verb import add_format
from interlock.pb import grpc_service_pb2 as pb
from tools.benchmark import load as loads, targets

KB = 1000
CASES = (
    ("64 B", 64, 1),
    ("64 B", 64, 8),
    ("64 B", 64, 32),
    ("600 kB", 600 * KB, 1),
    ("600 kB", 600 * KB, 8),
    ("600 kB", 600 * KB, 32),
    ("16 MB", 16 * KB * KB, 1),
)
GOALS = {("64 B", 32): 0.7, ("600 kB", 8): 0.85, ("16 MB", 1): 0.7}


@dataclass(slots=True)
class Reading:
    """One target in one case: medians over its rounds."""

    case: str
    concurrency: int
    target: str
    cpu_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    ratio: float
    """CPU per request against the echo's in the same round; the median of the rounds."""


def message(size_bytes: int) -> bytes:
    """One ModelInferRequest for the identity model with a tensor of so many bytes."""
    request = pb.ModelInferRequest(model_name="identity")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[size_bytes // 4])
    assert tensor.name == "x"
    data = np.random.default_rng(0).random(size_bytes // 4, dtype=np.float32)
    request.raw_input_contents.append(data.tobytes())
    serialized: bytes = request.SerializeToString()
    return serialized


async def measure(
    servers: Sequence[targets.Target], *, rounds: int, seconds: float, only: str
) -> list[Reading]:
    clients = [loads.Client(server.address) for server in servers]
    readings: list[Reading] = []
    for case, size, concurrency in CASES:
        if only and only not in f"{case} x{concurrency}":
            continue
        body = message(size)
        for client in clients:
            await client.once(body)
            await client.run(body, concurrency=concurrency, seconds=min(1.0, seconds))
        rows: list[list[tuple[float, loads.Load]]] = [[] for _ in servers]
        for turn in range(rounds):
            order = list(range(len(servers)))
            for index in order if turn % 2 == 0 else reversed(order):
                before = servers[index].cpu_s()
                load = await clients[index].run(body, concurrency=concurrency, seconds=seconds)
                cpu_us = 1e6 * (servers[index].cpu_s() - before) / load.requests
                rows[index].append((cpu_us, load))
            progress(f"{case} x{concurrency}: round {turn + 1} of {rounds}")
        readings += [
            reading(case, concurrency, server.name, rows[index], rows[0])
            for index, server in enumerate(servers)
        ]
    for client in clients:
        await client.close()
    return readings


def reading(
    case: str,
    concurrency: int,
    name: str,
    rows: list[tuple[float, loads.Load]],
    base: list[tuple[float, loads.Load]],
) -> Reading:
    median = statistics.median
    return Reading(
        case=case,
        concurrency=concurrency,
        target=name,
        cpu_us=median(cpu for cpu, _ in rows),
        requests_per_s=median(load.requests / load.elapsed_s for _, load in rows),
        p50_ms=median(load.percentile_ms(0.5) for _, load in rows),
        p99_ms=median(load.percentile_ms(0.99) for _, load in rows),
        ratio=median(cpu / other for (cpu, _), (other, _) in zip(rows, base, strict=True)),
    )


def progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def show(readings: Sequence[Reading]) -> None:
    progress("")
    head = ("tensor", "at once", "server", "CPU/request", "requests/s", "p50", "p99", "CPU ratio")
    print("{:8} {:>7}  {:22} {:>12} {:>11} {:>9} {:>9}  {}".format(*head))
    for row in readings:
        goal = GOALS.get((row.case, row.concurrency))
        verdict = ""
        if goal is not None and row.target == "interlock":
            verdict = f"  goal {goal}: {'reached' if row.ratio <= goal else 'MISSED'}"
        print(
            f"{row.case:8} {row.concurrency:7}  {row.target:22} {row.cpu_us:9.0f} us "
            f"{row.requests_per_s:11.0f} {row.p50_ms:6.2f} ms {row.p99_ms:6.2f} ms  "
            f"{row.ratio:5.2f}{verdict}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (default 4)")
    parser.add_argument("--only", default="", help='one case, as "64 B x32"')
    add_format(parser)
    parser.add_argument("--peers", action="store_true", help="measure Triton and MLServer as well")
    parser.add_argument(
        "flags", nargs="*", metavar="-- FLAG", help="flags for this server, after a --"
    )
    arguments = parser.parse_args()
    with ExitStack() as stack:
        servers = [
            stack.enter_context(targets.echo()),
            stack.enter_context(targets.interlock(*arguments.flags)),
        ]
        if arguments.peers:
            from tools.benchmark import peers

            servers += [stack.enter_context(peer) for peer in peers.all_peers()]
        readings = asyncio.run(
            measure(
                servers,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                only=arguments.only,
            )
        )
    if arguments.format == "json":
        print(json.dumps([asdict(row) for row in readings], indent=2))
    else:
        show(readings)
    return 0


if __name__ == "__main__":
    uvloop.install()
    sys.exit(main())
