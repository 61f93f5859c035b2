"""What counts as a change in poll mode, when it is complete, and what is none."""

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest

from interlock.pb import control_pb2
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
)

SETTLE_S = 0.3
FLAGS = (
    "--model-control-mode=poll",
    "--repository-poll-secs=1",
    f"--repository-settle-secs={SETTLE_S}",
)
WITHIN_S = 20.0
STEP_BYTES = 64 * 1024
LONG_AGO_S = 1_000_000_000
SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Polled:
    """One model of a server in poll mode, whose version 1 adds 1."""

    name: str
    repository: Repository
    client: Client

    @property
    def model(self) -> Path:
        return self.repository.root / self.name

    def replace(self, file: str, content: bytes) -> None:
        self.repository.replace(self.name, file, content)

    def answer(self) -> float:
        request = infer_request(self.name, given("x", np.zeros(1, "<f4")))
        return float(arrays(self.client.infer(request))["y"][0])

    def reasons(self) -> Mapping[str, str]:
        return {row[1]: row[3] for row in self.client.index() if row[0] == self.name}

    def generations(self, version: int) -> list[tuple[int, str]]:
        """Return every generation that came to be of a version, and how far each came."""
        call = self.client.channel.unary_unary(
            "/interlock.v1.Control/History",
            control_pb2.HistoryRequest.SerializeToString,
            control_pb2.HistoryResponse.FromString,
        )
        request = control_pb2.HistoryRequest(model=self.name, version=str(version))
        answer: Any = call(request, timeout=TIMEOUT_S)
        last = {move.generation: move.to for move in answer.transitions}
        return [
            (generation, control_pb2.Phase.Name(phase).removeprefix("PHASE_"))
            for generation, phase in sorted(last.items())
        ]

    def digest(self, version: int) -> str:
        """Return the digest of the newest generation of a version."""
        versions = self.client.describe(self.name).versions
        (found,) = (one for one in versions if one.version == str(version))
        return str(found.generations[-1].digest)

    def comes_to(self, answer: float) -> None:
        eventually(lambda: self.answer() == answer, within_s=WITHIN_S)

    def comes_to_say(self, version: int, text: str) -> None:
        """Wait until the index has this text of a version."""
        eventually(lambda: text in self.reasons().get(str(version), ""), within_s=WITHIN_S)

    def comes_to_know_its_content(self, version: int) -> None:
        """Wait until the version's files have been read, which tells a touch from a change."""
        eventually(lambda: len(self.digest(version)) == SHA256_DIGITS, within_s=WITHIN_S)

    def comes_to_say_nothing(self, version: int) -> None:
        """Wait until all is well with a version, as far as the index knows."""
        eventually(lambda: self.reasons()[str(version)] == "", within_s=WITHIN_S)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def client(repository: Repository) -> Iterator[Client]:
    with server_process(repository, *FLAGS) as process, Client(process.address) as client:
        yield client


@pytest.fixture
def server(repository: Repository, client: Client, request: pytest.FixtureRequest) -> Polled:
    """A model of the test's own, that the server has found by itself."""
    name = "adder-" + re.sub(r"\W+", "-", request.node.name)
    repository.onnx(name, onnx_small.add_constant(1.0))
    eventually(lambda: client.model_ready(name), within_s=WITHIN_S)
    return Polled(name, repository, client)


@contextmanager
def asking(server: Polled) -> Iterator[list[float]]:
    """Ask without pause in another thread; yield the answers, and fail if a request does."""
    answers: list[float] = []
    errors: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                answers.append(server.answer())
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
    assert errors == []


def test_a_slow_copy_under_traffic_is_never_loaded_half(server: Polled) -> None:
    content = onnx_small.marked(2.0, ballast_bytes=8 * STEP_BYTES)
    version = server.model / "2"
    with asking(server) as answers:
        version.mkdir()
        with (version / "model.onnx").open("wb", buffering=0) as file:
            for start in range(0, len(content), STEP_BYTES):
                file.write(content[start : start + STEP_BYTES])
                time.sleep(SETTLE_S / 2)  # what a slow copy is made of
        eventually(lambda: answers[-1:] == [2.0], within_s=WITHIN_S)

    assert set(answers) == {1.0, 2.0}
    assert answers == sorted(answers)
    eventually(lambda: server.generations(2) == [(1, "READY")], within_s=WITHIN_S)


def test_a_version_is_told_to_be_on_its_way(server: Polled) -> None:
    with (server.model / "1" / "labels.txt").open("w") as file:
        file.write("half a l")
        file.flush()
        server.comes_to_say(1, "staging: ")
        assert server.answer() == 1.0
        assert server.client.ready()

    server.comes_to_say_nothing(1)
    eventually(lambda: server.generations(1) == [(1, "UNLOADED"), (2, "READY")], within_s=WITHIN_S)


def test_a_file_that_is_touched_is_looked_at_and_not_loaded(server: Polled) -> None:
    model_file = server.model / "1" / "model.onnx"
    for moment in (None, (LONG_AGO_S, LONG_AGO_S)):
        server.comes_to_know_its_content(1)
        # Being open for writing, it is not settled before the index has been asked.
        with model_file.open("r+b"):
            os.utime(model_file, moment)
            server.comes_to_say(1, "staging: ")
        server.comes_to_say_nothing(1)

    # A change that is one comes after them, and is the second generation.
    server.replace("1/model.onnx", onnx_small.add_constant(2.0))
    server.comes_to(2.0)
    eventually(lambda: server.generations(1) == [(1, "UNLOADED"), (2, "READY")], within_s=WITHIN_S)


def test_what_editors_and_file_systems_leave_behind_is_no_change(server: Polled) -> None:
    for name in (".model.onnx.swp", "model.onnx~", "#config.pbtxt#", ".#config.pbtxt", "4913"):
        (server.model / name).write_bytes(b"unsaved")
        (server.model / "1" / name).write_bytes(b"unsaved")
    for directory in ("__pycache__", ".git", "lost+found", ".ipynb_checkpoints"):
        for place in (server.model, server.model / "1", server.repository.root):
            (place / directory).mkdir()
            (place / directory / "model.onnx").write_bytes(b"not a model")

    # What was written before a change has been seen when that change has been followed.
    server.replace("2/model.onnx", onnx_small.add_constant(2.0))
    server.comes_to(2.0)

    assert server.generations(1)[0][0] == 1
    assert len(server.generations(1)) == 1
    names = {row[0] for row in server.client.index()}
    assert all(name.startswith("adder-") for name in names)


def replaced_by_the_same_size(server: Polled, _tmp_path: Path) -> None:
    file = server.model / "1" / "model.onnx"
    content = onnx_small.add_constant(2.0)
    assert len(content) == file.stat().st_size
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_an_older_one(server: Polled, tmp_path: Path) -> None:
    older = tmp_path / "older.onnx"
    older.write_bytes(onnx_small.add_constant(2.0))
    os.utime(older, (LONG_AGO_S, LONG_AGO_S))
    shutil.copy2(older, server.model / "1" / "model.onnx")


def flipped_to_an_older_tree(server: Polled, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "model.onnx").write_bytes(onnx_small.add_constant(2.0))
    for path in (older / "model.onnx", older):
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    (server.model / "1").rename(tmp_path / "aside")
    (server.model / "1").symlink_to(older)


@pytest.mark.parametrize(
    "change", [replaced_by_the_same_size, replaced_by_an_older_one, flipped_to_an_older_tree]
)
def test_a_change_that_no_clock_tells_is_one(
    server: Polled, change: Callable[[Polled, Path], None], tmp_path: Path
) -> None:
    with asking(server) as answers:
        change(server, tmp_path)
        server.comes_to(2.0)

    assert set(answers) <= {1.0, 2.0}


def write_manifest(server: Polled) -> None:
    command = [sys.executable, "-m", "interlock", "manifest", str(server.model)]
    run(command, check=True, capture_output=True)


def test_what_a_manifest_lists_is_waited_for(server: Polled, tmp_path: Path) -> None:
    server.replace("2/model.onnx", onnx_small.add_constant(2.0))
    server.comes_to(2.0)
    server.replace("3/model.onnx", onnx_small.add_constant(3.0))
    server.comes_to(3.0)
    last = server.model / "3" / "model.onnx"
    aside = tmp_path / "aside.onnx"
    write_manifest(server)
    last.rename(aside)

    server.comes_to_say(3, "staging: 1 of 2 files")
    assert server.answer() == 3.0

    whole = aside.read_bytes()
    last.write_bytes(whole[:-1])
    server.comes_to_say(3, "staging: 1 of 2 files")
    last.write_bytes(whole)
    server.comes_to_say_nothing(3)
    assert server.answer() == 3.0


def test_a_manifest_refuses_what_has_the_size_alone(server: Polled, tmp_path: Path) -> None:
    good = onnx_small.add_constant(2.0)
    forged = onnx_small.add_constant(9.0)
    assert len(good) == len(forged)
    write_manifest(server)
    with asking(server) as answers:
        (server.model / "2").mkdir()
        server.comes_to_say(2, "staging: not in manifest.json")
        draft = tmp_path / "draft.onnx"
        draft.write_bytes(good)
        draft.rename(server.model / "2" / "model.onnx")
        write_manifest(server)
        eventually(lambda: answers[-1:] == [2.0], within_s=WITHIN_S)

        (server.model / "2" / "model.onnx").write_bytes(forged)
        server.comes_to_say(2, "staging: 1 of 2 files, 2/model.onnx differs from manifest.json")
        assert server.answer() == 2.0

    assert set(answers) == {1.0, 2.0}


def test_what_no_event_tells_of_a_scan_finds(server: Polled, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_small.add_constant(2.0))
    (server.model / "2").symlink_to(tmp_path)
    server.comes_to(2.0)

    # Events come from below the repository; this lies behind a link that leads out.
    (tmp_path / "model.onnx").write_bytes(onnx_small.add_constant(3.0))
    server.comes_to(3.0)
