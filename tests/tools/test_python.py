"""Which Python the tools take, on machines where several or none will do."""

import os
import subprocess
from pathlib import Path

import pytest

from tools.environment import ROOT

PROBE = "source tools/lib/python.sh && find_python"
BASH = "/bin/bash"


class Machine:
    """A search path with pretended interpreters and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str, *, right_version: bool = True, venv: bool = True) -> Path:
        program = self._folder / name
        program.write_text(
            "#!/bin/sh\n"
            'case "$2" in\n'
            f"  *version_info*) exit {0 if right_version else 1} ;;\n"
            f"  *ensurepip*) exit {0 if venv else 1} ;;\n"
            f"  *executable*) echo {program} ;;\n"
            "esac\n"
        )
        program.chmod(0o755)
        return program

    def finds(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BASH, "-euc", PROBE],
            cwd=ROOT,
            env={"PATH": str(self._folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_takes_the_systems_python_if_it_will_do(machine: Machine) -> None:
    systems = machine.has("python3")
    machine.has("python3.13")

    assert machine.finds().stdout == f"{systems}\n"


def test_looks_further_if_the_systems_python_is_too_old(machine: Machine) -> None:
    machine.has("python3", right_version=False)
    newer = machine.has("python3.12")

    assert machine.finds().stdout == f"{newer}\n"


def test_looks_further_if_the_systems_python_makes_no_environments(machine: Machine) -> None:
    machine.has("python3", venv=False)
    complete = machine.has("python3.11")

    assert machine.finds().stdout == f"{complete}\n"


def test_takes_the_python_that_it_is_told_to(machine: Machine) -> None:
    machine.has("python3")
    told = machine.has("my python")

    assert machine.finds(PYTHON=str(told)).stdout == f"{told}\n"


def test_says_what_to_install_where_there_is_no_python(machine: Machine) -> None:
    done = machine.finds()

    assert done.returncode == 1
    assert done.stderr == (
        "error: no Python 3.11 to 3.14 here;"
        " on Debian and Ubuntu: sudo apt install python3 python3-venv\n"
    )


def test_says_what_to_install_where_python_makes_no_environments(machine: Machine) -> None:
    machine.has("python3", venv=False)

    done = machine.finds()

    assert done.returncode == 1
    assert done.stderr == (
        "error: python3 cannot make virtual environments;"
        " on Debian and Ubuntu: sudo apt install python3-venv\n"
    )


def test_takes_a_real_python() -> None:
    done = subprocess.run(
        [BASH, "-euc", PROBE], cwd=ROOT, capture_output=True, text=True, env=os.environ, check=True
    )

    assert Path(done.stdout.strip()).is_file()


@pytest.mark.parametrize(
    "script", ["quickstart", "test", "lock", "install-wheel", "bench", "demo-swap", "lib/python.sh"]
)
def test_the_scripts_are_bash(script: str) -> None:
    subprocess.run([BASH, "-n", ROOT / "tools" / script], check=True)
