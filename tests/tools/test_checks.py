"""How the checks are run and summed up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import checks
from tools.checks import Result, Step, run, run_all, split, steps, summary
from tools.environment import ROOT

GOOD = Step("good", "does nothing", ("python", "-c", "print('fine')"))
BAD = Step("bad", "refuses", ("python", "-c", "import sys; sys.exit('not so')"))


def test_passes_on_what_a_check_prints(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(GOOD, ())

    assert result.is_good
    assert "== good: does nothing\nfine\n-- good: passed, " in capsys.readouterr().out


def test_a_check_that_ends_badly_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(BAD, ())

    assert not result.is_good
    assert "not so\n-- bad: FAILED, " in capsys.readouterr().out


def test_runs_the_tools_of_this_environment() -> None:
    name = Step("which", "which python", ("python", "-c", "import sys; print(sys.executable)"))

    assert run(name, ()).is_good
    assert checks._environment()["PATH"].startswith(f"{Path(sys.executable).parent}{os.pathsep}")


def test_hands_arguments_to_pytest_and_keeps_its_closing_line() -> None:
    step = Step("tests", "tests", ("pytest", "tests/tools/test_progress.py"))

    result = run(step, ["-k", "duration", "--color=no"])

    assert result.is_good
    assert "5 passed" in result.remark


@pytest.mark.parametrize(
    ("arguments", "is_good"),
    [
        pytest.param(["-k", "no_such_test"], True, id="because of its arguments"),
        pytest.param([], False, id="by itself"),
    ],
)
def test_pytest_may_find_nothing_to_run_only_if_told_so(
    arguments: list[str], is_good: bool, tmp_path: Path
) -> None:
    step = Step("tests", "tests", ("pytest", str(tmp_path)))

    assert run(step, arguments).is_good is is_good


def test_the_summary_ends_with_what_failed_and_pytests_closing_line() -> None:
    tests = Step("tests", "all tests", ("pytest",))
    closing = "1 failed, 2 passed in 0.4s"
    results = [Result(GOOD, True, 61.0, ("fine",)), Result(tests, False, 0.5, ("why", closing))]

    assert summary(results, 61.0).splitlines() == [
        "-- the end of tests:",
        "why",
        closing,
        "",
        "good   passed   1 min 1 s",
        "tests  FAILED      500 ms",
        f"tests: {closing}",
        "FAILED: tests",
    ]


def test_the_summary_of_a_failure_has_only_its_last_lines() -> None:
    many = Step("many", "many lines", ("python", "-c", "print(*range(40), sep='\\n'); exit(1)"))

    assert run(many, ()).last_lines == tuple(str(number) for number in range(25, 40))


def test_the_summary_says_that_everything_passed() -> None:
    assert summary([Result(GOOD, True, 2.0)], 3.0).endswith("\nEverything passed in 3.0 s.")


def test_the_tests_run_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meet = """
import os, pathlib, time
def test_both_are_here_at_once():
    here = pathlib.Path(__file__).parent
    (here / os.environ["ME"]).touch()
    deadline = time.monotonic() + 30
    while len(list(here.glob("side-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
    (tmp_path / "test_meet.py").write_text(meet)
    command = ("pytest", "-p", "no:cacheprovider", str(tmp_path))
    left = Step("left", "one side", command, {"ME": "side-left"})
    right = Step("right", "the other", command, {"ME": "side-right"})

    results = run_all([left, GOOD, right], ())

    assert [(one.step.name, one.is_good) for one in results] == [
        ("good", True),
        ("left", True),
        ("right", True),
    ]
    printed = capsys.readouterr().out
    assert printed.index("== right") < printed.index("-- right") < printed.index("== left")


@pytest.mark.parametrize(
    ("arguments", "ours", "pytests"),
    [
        pytest.param(["lint"], ["lint"], [], id="no border"),
        pytest.param(["tests", "--", "-k", "x"], ["tests"], ["-k", "x"], id="both"),
        pytest.param(["--", "-x"], [], ["-x"], id="pytest's only"),
    ],
)
def test_what_follows_two_dashes_is_for_pytest(
    arguments: list[str], ours: list[str], pytests: list[str]
) -> None:
    found = split(arguments)

    assert (list(found[0]), list(found[1])) == (ours, pytests)


def test_an_unknown_step_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.checks", "lnit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "no step lnit; there are: format, lint, " in done.stderr


def test_the_wire_is_tested_on_both_transports() -> None:
    transports = {step.env["INTERLOCK_TEST_TRANSPORT"] for step in steps() if step.is_pytest}

    assert transports == {"queue", "public"}


def test_ci_runs_the_same_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert [line for line in lines if not line.startswith(("#", "set "))] == [
        'exec "$(dirname "${BASH_SOURCE[0]}")/../tools/test"'
    ]
