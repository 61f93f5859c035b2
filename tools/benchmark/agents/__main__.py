"""Measure what repository agents cost, against their goals; 0 only where all are reached.

How fast `checksum` and `decrypt` are against `hashlib` and AESGCM alone, which read the same
file in the same pieces; how much memory the agents take besides the model, until a backend
would open it; and what a load with three agents takes against three with one each. Takes
about three minutes and 1.3 GB of the temporary folder's disk, on a machine that should have
nothing else to do.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from interlock.cli.verb import add_format
from tools.benchmark import machine
from tools.benchmark.agents import memory, models, throughput, together
from tools.benchmark.agents.models import Model
from tools.benchmark.agents.turns import rounds_for
from tools.benchmark.figures import Figure, all_reached, progress, table

MB: Final = 1_000_000
SIZES: Final = (16, 256, 1000)

Part = Callable[[Model, int, int], Iterator[Figure]]
"""Measures a model of some bytes in some rounds."""

PARTS: Final[dict[str, Part]] = {
    "checksum": lambda model, size, rounds: throughput.checksum(model, size, rounds=rounds),
    "decrypt": lambda model, size, rounds: throughput.decrypt(model, size, rounds=rounds),
    "memory": lambda model, size, _: memory.measure(model, size),
    "together": lambda model, size, rounds: together.measure(model, size, rounds=rounds),
}


def main() -> int:
    given = _parser().parse_args()
    if remark := machine.remark():
        print(remark, file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
        figures = list(_measured(given, Path(folder)))
    progress("")
    is_json = given.format == "json"
    print(json.dumps([one.as_map() for one in figures], indent=2) if is_json else table(figures))
    return 0 if all_reached(figures) else 1


def _measured(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    sizes = sorted({one * MB for one in given.size or SIZES})
    written: Mapping[int, Model] = {size: _write(folder, size) for size in sizes}
    for part in given.only or PARTS:
        for size, model in written.items():
            progress(f"{part}, {size // MB} MB")
            rounds = rounds_for(size, largest=sizes[-1], rounds=given.rounds)
            yield from PARTS[part](model, size, rounds)


def _write(folder: Path, size: int) -> Model:
    progress(f"writing a model of {size // MB} MB")
    return models.write(folder / str(size), size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/bench agents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sizes = ", ".join(map(str, SIZES))
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this; repeatable")
    parser.add_argument(
        "--size", type=_positive, action="append", help=f"of a model, in MB; repeatable ({sizes})"
    )
    parser.add_argument(
        "--rounds", type=_positive, default=5, help="with the largest model (default 5)"
    )
    add_format(parser)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
