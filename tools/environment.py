"""Bring .venv to what a tool needs, with as little work as that takes.

There is one environment, in one of two states: enough to run the server, or all that
development needs, which includes the former. A stamp inside says which, and of what it
was made. The larger is never reduced to the smaller, and an environment that somebody
made by hand is used to serve as long as it can. Runs on the system's Python.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tools import progress

ROOT: Final = Path(__file__).resolve().parents[1]


class Purpose(Enum):
    """What an environment is for."""

    SERVE = "serve"
    DEVELOP = "develop"


LOCKS: Final[Mapping[Purpose, tuple[str, ...]]] = {
    Purpose.SERVE: ("requirements.lock", "requirements-build.lock"),
    Purpose.DEVELOP: ("requirements-dev.lock", "requirements-build.lock"),
}
CAN_SERVE: Final = """
import sys
import grpc, google.protobuf, numpy, onnxruntime, structlog
import interlock, interlock.pb
sys.exit(interlock.__file__ != sys.argv[1])
"""


class SetupError(Exception):
    """The environment could not be made; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an environment was made for, of, and where; it cannot be moved."""

    purpose: str
    ingredients: str
    root: str


@dataclass(frozen=True, slots=True)
class Project:
    """The files of one checkout that matter here."""

    root: Path = ROOT

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp_file(self) -> Path:
        return self.folder / "interlock-environment.json"

    @property
    def messages(self) -> Path:
        """Made by the installation, and lost by a clean-up of what git ignores."""
        return self.root / "service" / "interlock" / "pb" / "pool.py"

    def stamp(self, purpose: Purpose) -> Stamp:
        """Return the stamp of an environment that is made for this purpose now."""
        digest = hashlib.sha256()
        for name in LOCKS[purpose]:
            digest.update((self.root / name).read_bytes())
        digest.update((self.root / "tools" / "build_hook.py").read_bytes())
        for path in sorted((self.root / "protos").glob("*.proto")):
            digest.update(path.read_bytes())
        settings = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        # The settings of linters are in there too, and change more often than what is installed.
        installed = [settings["build-system"], settings["project"], settings["tool"]["hatch"]]
        digest.update(json.dumps(installed, sort_keys=True).encode())
        return Stamp(purpose.value, digest.hexdigest(), str(self.root))

    def read_stamp(self) -> Stamp | None:
        try:
            return Stamp(**json.loads(self.stamp_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def what_to_install(
    wanted: Purpose, found: Stamp | None, fresh: Mapping[Purpose, Stamp]
) -> Purpose | None:
    """Return what the environment must be brought to; None if it is that already."""
    is_larger = found is not None and found.purpose == Purpose.DEVELOP.value
    target = Purpose.DEVELOP if is_larger else wanted
    return None if found == fresh[target] else target


def prepare(wanted: Purpose, project: Project) -> None:
    """Make or mend the environment, or find that nothing need be done.

    Raise `SetupError` if that fails; what is there is then finished by the next call.
    """
    with _alone(project):
        found = project.read_stamp()
        if not _is_usable(project, found):
            _create(project)
            found = None
        elif found is None and wanted is Purpose.SERVE and _can_serve(project):
            return
        fresh = {purpose: project.stamp(purpose) for purpose in Purpose}
        target = what_to_install(wanted, found, fresh)
        if target is None and not project.messages.exists():
            target = wanted
        if target is not None:
            _install(target, project)
            project.stamp_file.write_text(json.dumps(asdict(fresh[target])), encoding="utf-8")


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Let nobody else change the same environment meanwhile."""
    descriptor = os.open(project.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_usable(project: Project, found: Stamp | None) -> bool:
    if found is not None and found.root != str(project.root):
        return False
    # Neither works any more when the interpreter below it was removed or replaced.
    return project.python.exists() and _succeeds([str(project.python), "-c", "import pip"])


def _can_serve(project: Project) -> bool:
    package = project.root / "service" / "interlock" / "__init__.py"
    return _succeeds([str(project.python), "-c", CAN_SERVE, str(package)])


def _create(project: Project) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    command = [sys.executable, "-m", "venv", "--clear", str(project.folder)]
    _do(f"making .venv with Python {version}", command)


def _install(target: Purpose, project: Project) -> None:
    # A message about a newer pip helps nobody here.
    pip = [str(project.python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    locks = [part for name in LOCKS[target] for part in ("-r", str(project.root / name))]
    what = "what the server needs" if target is Purpose.SERVE else "the development environment"
    _do(f"installing {what}", [*pip, "--progress-bar=off", "--require-hashes", *locks])
    itself = ["--no-deps", "--no-build-isolation", "--editable", str(project.root)]
    _do("installing interlock", [*pip, *itself])


def _do(title: str, command: Sequence[str]) -> None:
    ended = progress.run(title, command)
    if ended.code != 0:
        last = "\n".join(ended.output.splitlines()[-20:])
        raise SetupError(f"{title} failed:\n{last}")


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools/environment.py", description=__doc__)
    parser.add_argument("purpose", type=Purpose, choices=list(Purpose))
    chosen = parser.parse_args(arguments)
    try:
        prepare(chosen.purpose, Project())
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
