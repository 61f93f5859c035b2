"""Measure what the control plane costs, against its goals; 0 only where all are reached.

A server with a thousand models of three versions: how long it takes to start, what a scan
without changes costs, how soon a new version answers once it is proven, and what a model
that is asked feels while another of 200 MB is loaded. Takes about four minutes, on a machine
that should have nothing else to do.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import uvloop

from interlock.cli.verb import add_format
from tools.benchmark import machine
from tools.benchmark.control import repositories, rest, stall, start, takeover
from tools.benchmark.figures import Figure, all_reached, progress, table

_FEW: Final = 10
"""How many times fewer models the shorter start has."""

Part = Callable[[argparse.Namespace, Path], Iterator[Figure]]


def _many(folder: Path, models: int) -> Path:
    progress(f"writing {models} models")
    return repositories.write_many(folder / f"{models}-models", models)


def _start(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    trees = {models: _many(folder, models) for models in (given.models // _FEW, given.models)}
    return start.measure(trees, rounds=given.rounds, progress=progress)


def _scan(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    return rest.measure(_many(folder, given.models), models=given.models, progress=progress)


def _takeover(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    root = _many(folder, given.models)
    return takeover.measure(root, models=given.models, swaps=given.swaps, progress=progress)


def _stall(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    progress("writing two models of 200 MB")
    root = repositories.write_stall(folder / "stall")
    return stall.measure(root, rounds=given.loads, progress=progress)


PARTS: Final[dict[str, Part]] = {
    "start": _start,
    "scan": _scan,
    "takeover": _takeover,
    "stall": _stall,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/bench control",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this; repeatable")
    parser.add_argument("--models", type=_models, default=1000, help="how many (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each size (default 3)")
    parser.add_argument("--swaps", type=int, default=100, help="of a model (default 100)")
    parser.add_argument("--loads", type=int, default=10, help="of each large model (default 10)")
    add_format(parser)
    given = parser.parse_args()
    if remark := machine.remark():
        print(remark, file=sys.stderr)
    figures: list[Figure] = []
    for part in given.only or PARTS:
        # What each writes goes away before the next begins.
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
            figures += PARTS[part](given, Path(folder))
    progress("")
    is_json = given.format == "json"
    print(json.dumps([one.as_map() for one in figures], indent=2) if is_json else table(figures))
    return 0 if all_reached(figures) else 1


def _models(text: str) -> int:
    number = int(text)
    if number < 2 * _FEW:
        raise argparse.ArgumentTypeError(f"at least {2 * _FEW}")
    return number


if __name__ == "__main__":
    uvloop.install()
    sys.exit(main())
