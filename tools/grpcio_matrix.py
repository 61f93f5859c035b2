"""Run the tests of the wire against servers on other releases of grpcio.

Two environments are made below .venvs: `lowest` has the lowest release of everything that
pyproject.toml allows, `newest` the newest that pip finds. A server of each is tested on
both transports; the client's environment stays as it is.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools import progress
from tools.environment import ROOT

FOLDER: Final = ROOT / ".venvs"
TRANSPORTS: Final = ("queue", "public")
WIRE_TESTS: Final = "tests/wire"
SHOWN: Final = ("grpcio", "grpcio-reflection", "protobuf", "numpy", "onnxruntime")
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--no-input")


class SetupError(Exception):
    """An environment could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A server's environment: its name, and what is installed into it."""

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return FOLDER / f"grpcio-{self.name}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Result:
    """How the tests went on one server."""

    environment: str
    transport: str
    code: int
    remark: str


def dependencies() -> tuple[str, ...]:
    """Return what the server needs, as pyproject.toml says it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return tuple(settings["project"]["dependencies"])


def lowest(requirement: str) -> str:
    """Return the requirement for the lowest release series: `a>=1.2,<3` becomes `a==1.2.*`."""
    found = re.fullmatch(r"([\w-]+)>=([\d.]+)(,.*)?", requirement)
    if found is None:
        raise SetupError(f"pyproject.toml: {requirement!r} does not say what is the lowest")
    return f"{found[1]}=={found[2]}.*"


def environments() -> tuple[Environment, ...]:
    every = dependencies()
    return (
        Environment("lowest", tuple(lowest(one) for one in every)),
        Environment("newest", every),
    )


def make(environment: Environment, wheel: Path) -> None:
    """Bring an environment to its requirements, with the wheel installed."""
    if not environment.python.exists():
        _do(
            f"making {environment.folder.relative_to(ROOT)}",
            [sys.executable, "-m", "venv", "--clear", str(environment.folder)],
        )
    install = [str(environment.python), *PIP, "install", "--progress-bar=off"]
    upgrade = ["--upgrade", "--upgrade-strategy=eager"]
    _do(
        f"installing the {environment.name} releases",
        [*install, *upgrade, *environment.requirements],
    )
    itself = ["--no-deps", "--no-index", "--force-reinstall", str(wheel)]
    _do("installing interlock", [*install, *itself])


def build(folder: Path) -> Path:
    command = [sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation"]
    _do("building the wheel", [*command, "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("interlock-*.whl")
    return wheel


def _do(title: str, command: Sequence[str]) -> None:
    ended = progress.run(title, command)
    if ended.code != 0:
        raise SetupError(f"{title} failed:\n{_end_of(ended.output)}")


def _end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-20:])


def releases(environment: Environment) -> str:
    """Return what is installed there, as far as it matters here."""
    listed = subprocess.run(
        [str(environment.python), *PIP, "list", "--format=freeze"],
        capture_output=True,
        check=True,
        text=True,
    )
    installed = dict(line.split("==", 1) for line in listed.stdout.splitlines() if "==" in line)
    return ", ".join(f"{name} {installed[name]}" for name in SHOWN if name in installed)


def test(environment: Environment, transport: str, arguments: Sequence[str]) -> Result:
    """Run the tests of the wire; their clients run in our own environment."""
    settings = {
        "INTERLOCK_TEST_PYTHON": str(environment.python),
        "INTERLOCK_TEST_TRANSPORT": transport,
    }
    # A path to the source would win over the wheel.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "pytest", *(arguments or [WIRE_TESTS])]
    title = f"the {environment.name} releases, transport {transport}"
    ended = progress.run(title, command, env={**inherited, **settings})
    if ended.code != 0:
        print(ended.output)
    return Result(environment.name, transport, ended.code, _end_of(ended.output).splitlines()[-1])


def run(
    names: Sequence[str], transports: Sequence[str], arguments: Sequence[str]
) -> Iterator[Result]:
    chosen = [environment for environment in environments() if environment.name in names]
    with tempfile.TemporaryDirectory(prefix="interlock-wheel-") as folder:
        wheel = build(Path(folder))
        for environment in chosen:
            make(environment, wheel)
    for environment in chosen:
        print(f"{environment.name}: {releases(environment)}", flush=True)
        for transport in transports:
            yield test(environment, transport, arguments)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/test-grpcio", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=("lowest", "newest"), help="one environment")
    parser.add_argument("--transport", choices=TRANSPORTS, help="one transport")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    arguments = parser.parse_args()
    names = (arguments.only,) if arguments.only else ("lowest", "newest")
    transports = (arguments.transport,) if arguments.transport else TRANSPORTS
    try:
        results = list(run(names, transports, arguments.pytest))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for result in results:
        verdict = "passed" if result.code == 0 else "FAILED"
        print(f"{result.environment:<8} {result.transport:<8} {verdict}  {result.remark}")
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
