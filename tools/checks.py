"""Run the checks one after the other, and say at the end which of them failed.

The second half of `tools/test`, inside .venv. What a check prints is passed on as it comes. Those
of pytest run side by side, since their tests wait for servers most of the time: of all but the
last, what they print comes in one piece when that one has ended.
"""

import argparse
import io
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from tools.environment import ROOT
from tools.progress import duration

NOTHING_SELECTED: Final = 5
"""How pytest ends when no test fits its arguments."""
LINES_OF_A_FAILURE: Final = 15
WIRE_FOLDERS: Final = ("tests/wire", "tests/integration", "tests/e2e")


@dataclass(frozen=True, slots=True)
class Step:
    """One check: a command of the environment, which stands first on the path."""

    name: str
    title: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pytest(self) -> bool:
        return self.command[0] == "pytest"


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended, and the last lines that it printed."""

    step: Step
    is_good: bool
    seconds: float
    last_lines: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """The closing line of pytest, which says more than its code."""
        return self.last_lines[-1] if self.step.is_pytest and self.last_lines else ""


def steps() -> tuple[Step, ...]:
    """Return every check, the quick ones first."""
    # Its own Node comes with it; one that happens to be on the path may be too old.
    pyright = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    wire = tuple(folder for folder in WIRE_FOLDERS if (ROOT / folder).is_dir())
    return (
        Step("format", "ruff format: is everything formatted?", ("ruff", "format", "--check")),
        Step("lint", "ruff: lint", ("ruff", "check")),
        Step("spelling", "codespell: common misspellings", ("codespell",)),
        Step("contracts", "import-linter: who may import whom", ("lint-imports",)),
        Step("picture", "the drawn life cycle is that of the code", _script("draw_lifecycle")),
        Step("examples", "the example files belong together", _script("train_digits")),
        Step("types", "mypy: types of everything", ("mypy",)),
        Step("pyright", "pyright: types of the product", ("pyright",), pyright),
        Step(
            "wire-public", "tests of the wire on grpcio's handlers", _pytest(*wire), _on("public")
        ),
        Step("tests", "all tests, on the completion queue", _pytest(), _on("queue")),
    )


def _script(name: str) -> tuple[str, ...]:
    return ("python", f"tools/{name}.py", "--check")


def _pytest(*folders: str) -> tuple[str, ...]:
    return ("pytest", *folders)


def _on(transport: str) -> Mapping[str, str]:
    return {"INTERLOCK_TEST_TRANSPORT": transport}


def run_all(selected: Sequence[Step], pytest_arguments: Sequence[str]) -> list[Result]:
    """Run checks; return how they ended, in their order."""
    results = [run(step, ()) for step in selected if not step.is_pytest]
    tests = [step for step in selected if step.is_pytest]
    if not tests:
        return results
    *others, last = tests
    outputs = [io.StringIO() for _ in others]
    with ThreadPoolExecutor(max_workers=len(tests)) as pool:
        running = [
            pool.submit(run, step, pytest_arguments, output)
            for step, output in zip(others, outputs, strict=True)
        ]
        result_of_last = run(last, pytest_arguments)
        for one, output in zip(running, outputs, strict=True):
            results.append(one.result())
            print(output.getvalue(), end="", flush=True)
    return [*results, result_of_last]


def run(step: Step, pytest_arguments: Sequence[str], out: TextIO | None = None) -> Result:
    """Run one check and pass on what it prints, to `out` or to our own output."""
    out = out or sys.stdout
    arguments = (*step.command, *pytest_arguments) if step.is_pytest else step.command
    print(f"\n== {step.name}: {step.title}", file=out, flush=True)
    started = time.monotonic()
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, **_environment(), **step.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        # Popen makes the pipe, since it was told to.
        assert process.stdout is not None
        last_lines = _pass_on(process.stdout, out)
    seconds = time.monotonic() - started
    is_good = process.returncode == 0 or (
        process.returncode == NOTHING_SELECTED and step.is_pytest and bool(pytest_arguments)
    )
    print(f"-- {step.name}: {verdict(is_good)}, {duration(seconds)}", file=out, flush=True)
    return Result(step, is_good, seconds, last_lines)


def _environment() -> Mapping[str, str]:
    # So that tests which call `interlock` or `ruff` by name find those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    colours = {"FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    return {"PATH": path, **colours}


def _pass_on(lines: Iterator[str], out: TextIO) -> tuple[str, ...]:
    """Print every line as it comes, and return the last ones that say something."""
    last: deque[str] = deque(maxlen=LINES_OF_A_FAILURE)
    for line in lines:
        out.write(line)
        out.flush()
        if line.strip():
            last.append(line.rstrip())
    return tuple(last)


def verdict(is_good: bool) -> str:
    return "passed" if is_good else "FAILED"


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return how each failure ended, a line for each check, and the closing lines of pytest.

    `seconds` is what all of them took together.
    """
    failed = [result for result in results if not result.is_good]
    lines = [
        line
        for result in failed
        for line in (f"-- the end of {result.step.name}:", *result.last_lines, "")
    ]
    width = max(len(result.step.name) for result in results)
    lines += [
        f"{result.step.name:<{width}}  {verdict(result.is_good)}  {duration(result.seconds):>10}"
        for result in results
    ]
    lines += [f"{result.step.name}: {result.remark}" for result in results if result.remark]
    names = ", ".join(result.step.name for result in failed)
    lines.append(f"FAILED: {names}" if failed else f"Everything passed in {duration(seconds)}.")
    return "\n".join(lines)


def split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return our arguments, and those behind `--`, which are pytest's."""
    if "--" not in arguments:
        return arguments, ()
    border = arguments.index("--")
    return arguments[:border], arguments[border + 1 :]


def main(arguments: Sequence[str]) -> int:
    known = {step.name: step for step in steps()}
    parser = argparse.ArgumentParser(
        prog="tools/test",
        usage="%(prog)s [STEP ...] [-- PYTEST ARGUMENT ...]",
        description="Make or mend .venv, then run the checks.",
        epilog="Without a STEP all of them run. Example: tools/test tests -- -k lease -x",
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(known))
    parser.add_argument("--list", action="store_true", help="say what the steps are, run nothing")
    ours, pytest_arguments = split(arguments)
    chosen = parser.parse_args(ours)
    if unknown := [name for name in chosen.steps if name not in known]:
        parser.error(f"no step {', '.join(unknown)}; there are: {', '.join(known)}")
    selected = [step for step in known.values() if not chosen.steps or step.name in chosen.steps]
    if chosen.list:
        print("\n".join(f"{step.name:<12} {step.title}" for step in selected))
        return 0
    started = time.monotonic()
    results = run_all(selected, pytest_arguments)
    print(f"\n== summary\n{summary(results, time.monotonic() - started)}", flush=True)
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
