"""The first thing that a newcomer runs, and what it tells them to type next."""

import base64
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.toolchains import grpcurl
from tools import demonstration
from tools.demonstration import (
    EXAMPLES,
    DemonstrationError,
    Digit,
    Guess,
    drawing,
    guesses,
    shades_for,
    table,
)
from tools.environment import ROOT
from tools.quickstart import HOST, port_trouble


def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what quickstart becomes once .venv is ready, in this environment."""
    return subprocess.run(
        [sys.executable, "-m", "tools.demonstration", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Keep one serving, and yield it with all that it has said until then."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "tools.demonstration", "--grpc-port=0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Serving on"):
                break
        else:
            errors.seek(0)
            pytest.fail(f"it never served:\n{said}{errors.read()}")
        try:
            yield process, said
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def test_classifies_a_digit_and_stops() -> None:
    done = quickstart("--exit", "--grpc-port=0", "--digit=3")

    assert done.returncode == 0, done.stdout + done.stderr
    assert drawing(Digit(EXAMPLES, 3).pixels, shades_for("utf-8")) in done.stdout
    labels = re.findall(r"^    (\w+) +[\d.]+%", done.stdout, re.MULTILINE)
    assert labels[0] == "three"
    assert len(labels) == 3
    assert "The server is right." in done.stdout


def test_a_second_version_takes_over_and_no_client_notices() -> None:
    done = quickstart("--exit", "--grpc-port=0")

    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^ {4,6}(\S.*?) {2,}([\d,]+)$", done.stdout, re.MULTILINE))
    sent, failed, before, after = (int(count.replace(",", "")) for count in counts.values())
    assert list(counts) == [
        "requests sent",
        "failed",
        "answered by version 1",
        "answered by version 2",
    ]
    assert failed == 0
    assert sent == before + after
    assert before > 10
    assert after > 10
    assert re.search(r"version 2 took over \d\.\d\d s after its last byte", done.stdout)
    assert "No client noticed." in done.stdout
    assert not (EXAMPLES / "repository" / "digits" / "2").exists()


def test_a_second_version_that_cannot_take_over_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = tmp_path / "examples"
    shutil.copytree(EXAMPLES, examples)
    (examples / "next" / "digits" / "2" / "model.onnx").write_bytes(b"no model")

    with pytest.raises(
        DemonstrationError, match=r"^version 2 did not take over within 3\.0 s: .*model\.onnx"
    ):
        demonstration.run(Digit(examples, 7), 0, stop_after=True, patience_s=3.0)
    assert "The server is right." in capsys.readouterr().out


def test_a_wrong_answer_is_a_failure(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    shutil.copytree(EXAMPLES, examples)
    images = examples / "images"
    shutil.copy(images / "digit-3.f32", images / "digit-7.f32")

    assert demonstration.run(Digit(examples, 7), 0, stop_after=True) == 1


def test_serves_until_it_is_interrupted() -> None:
    with serving() as (process, said):
        address = address_in(said)
        listing = grpc_port_answers(address)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)

    assert (listing, code) == (True, 0)
    assert not grpc_port_answers(address)


def grpc_port_answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def address_in(said: str) -> str:
    """Return where it says that it serves, in its last line."""
    return said.splitlines()[-1].split()[2]


def block_after(said: str, heading: str) -> str:
    """Return the paragraph that follows the one with the heading."""
    paragraphs = said.split("\n\n")
    (index,) = [index for index, text in enumerate(paragraphs) if heading in text]
    return paragraphs[index + 1]


@pytest.mark.timeout(1000)
def test_the_printed_calls_for_grpcurl_run_as_they_stand() -> None:
    program = Path(grpcurl())
    with serving("--digit=5") as (_, said):
        done = shell(block_after(said, "with grpcurl"), path=program.parent)

    assert "inference.GRPCInferenceService" in done.stdout, done.stderr
    (raw,) = re.findall(r'"rawOutputContents": \[\s*"([^"]+)"', done.stdout)
    assert guesses(base64.b64decode(raw))[0].label == "five"


def test_the_printed_call_for_the_command_line_runs_as_it_stands() -> None:
    with serving("--digit=5") as (_, said):
        done = shell(block_after(said, "installed already"))

    assert re.search(r"^0\.\d+ +5 +five$", done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_the_printed_python_runs_as_it_stands() -> None:
    with serving("--digit=5") as (_, said):
        code = block_after(said, "in Python")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )

    assert ":5:five'" in done.stdout, done.stderr


def shell(script: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    search = f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]
    return subprocess.run(
        ["sh", "-euc", script],
        env={**os.environ, "PATH": search},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_busy_port_is_one_clear_line() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [ROOT / "tools" / "quickstart", f"--grpc-port={port}", "--exit"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: cannot serve on port {port}: Address already in use;"
        " choose another with --grpc-port\n"
    )


def test_a_number_that_is_no_port_is_refused() -> None:
    assert port_trouble(70000) == "70000 is no port; --grpc-port takes 0 to 65535"


def test_says_at_once_when_the_server_dies_and_what_it_said_last() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = quickstart(f"--grpc-port={port}", "--exit")

    assert done.returncode == 1
    assert "error: the server ended with exit code 1; its log ends:" in done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_stays_behind_when_it_is_killed_politely() -> None:
    with serving() as (process, said):
        address = address_in(said)
        process.send_signal(signal.SIGTERM)
        process.wait(60)

    assert not grpc_port_answers(address)


def test_explains_itself() -> None:
    done = subprocess.run(
        [ROOT / "tools" / "quickstart", "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert done.stdout.startswith("usage: tools/quickstart ")
    assert "--digit N" in done.stdout


def test_reads_the_classes_of_an_answer() -> None:
    texts = [b"0.75:7:seven", b"0.25:1:one"]
    contents = b"".join(struct.pack("<I", len(text)) + text for text in texts)

    assert guesses(contents) == [Guess(0.75, "seven"), Guess(0.25, "one")]


def test_draws_paper_to_ink_in_a_frame() -> None:
    picture = drawing([0.0] * 7 + [16.0] + [8.0] * 56, " ab").splitlines()

    assert picture[0] == "    +----------------+"
    assert picture[1] == "    |              bb|"
    assert picture[2] == "    |aaaaaaaaaaaaaaaa|"
    assert len(picture) == 10


@pytest.mark.parametrize(("encoding", "darkest"), [("utf-8", "█"), ("ascii", "#")])
def test_draws_with_what_the_output_can_show(encoding: str, darkest: str) -> None:
    assert shades_for(encoding)[-1] == darkest


def test_lists_the_best_classes_with_their_labels() -> None:
    assert table([Guess(0.9, "seven"), Guess(0.05, "one")]).splitlines() == [
        f"    seven   90.00%  {'#' * 36}",
        f"    one      5.00%  {'#' * 2}",
    ]
