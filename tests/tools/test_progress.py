"""What is said while a command runs."""

import io
import re
import sys

import pytest

from tools.progress import Line, duration, last_line, run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.0123, "12 ms", id="less than a second"),
        pytest.param(1.26, "1.3 s", id="seconds"),
        pytest.param(59.4, "59.4 s", id="nearly a minute"),
        pytest.param(59.7, "1 min 0 s", id="a minute, rounded"),
        pytest.param(192, "3 min 12 s", id="minutes"),
    ],
)
def test_says_a_duration_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_says_in_one_line_what_runs_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run("greeting", [sys.executable, "-c", "print('hello')"])

    assert (ended.code, ended.output) == (0, "hello\n")
    assert re.fullmatch(r"  greeting … [\d.]+ m?s\n", capsys.readouterr().out)


def test_says_that_a_command_failed_and_keeps_what_it_wrote(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = run("trying", [sys.executable, "-c", "import sys; sys.exit('no')"])

    assert (ended.code, ended.output) == (1, "no\n")
    assert capsys.readouterr().out == "  trying … failed (1)\n"


def test_never_overwrites_what_is_not_a_terminal() -> None:
    out = io.StringIO()
    line = Line("working", out=out)
    line.update("half")
    line.end("done")

    assert out.getvalue() == "  working … done\n"


def test_shows_a_command_s_last_words_on_a_terminal_and_then_only_how_it_ended() -> None:
    out = Terminal()
    line = Line("working", out=out)
    line.update("half")
    line.end("done")

    assert "0 s  half" in out.getvalue()
    assert out.getvalue().rpartition("\r")[2] == "\x1b[K  working … done\n"


def test_a_line_without_words_is_not_the_last_one() -> None:
    assert last_line(b"Collecting numpy\nDownloading\n\n  \n") == "Downloading"
