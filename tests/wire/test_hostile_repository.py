"""Whatever lies in a repository: it is refused with its reason, and nothing else is disturbed."""

import itertools
import os
import random
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from interlock.runtime.threads import spawn
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import Client, arrays, eventually, given, infer_request, server_process

FLAGS = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.5",
    "--repository-settle-secs=0.1",
    "--exit-on-error=false",
)
WITHIN_S = 20.0
GOOD = onnx_small.add_constant(1.0)
NUMBERS = itertools.count(1)
CONFIG = 'backend: "onnxruntime"'

Spoil = Callable[[Path], None]


class Traffic:
    """One client that never stops, and remembers what went wrong."""

    def __init__(self, address: str) -> None:
        self.wrong: list[object] = []
        self.answers = 0
        self._address = address
        self._end = threading.Event()

    def run(self) -> None:
        with Client(self._address) as client:
            while not self._end.is_set():
                try:
                    answer = answer_of(client)
                except (grpc.RpcError, LookupError) as error:
                    self.wrong.append(error)
                    continue
                self.answers += 1
                if answer != 1.0:
                    self.wrong.append(answer)

    def end(self) -> None:
        self._end.set()


def answer_of(client: Client) -> float:
    request = infer_request("adder", given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("models"))
    repository.onnx("adder", GOOD)
    return repository


@pytest.fixture(scope="module")
def client(repository: Repository) -> Iterator[Client]:
    """A client of a server that answers another one all the while, and never wrongly."""
    with (
        server_process(repository, *FLAGS) as process,
        Client(process.address) as client,
    ):
        traffic = Traffic(process.address)
        thread = spawn("traffic", traffic.run)
        yield client
        traffic.end()
        thread.join()
        assert traffic.answers > 0
        assert traffic.wrong == []
        assert process.terminate() == 0


def model(config: str = CONFIG, content: bytes | None = GOOD, version: str = "1") -> Spoil:
    def make(folder: Path) -> None:
        (folder / version).mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config)
        if content is not None:
            (folder / version / "model.onnx").write_bytes(content)

    return make


def linked(target: str) -> Spoil:
    def make(folder: Path) -> None:
        model(content=None)(folder)
        (folder / "1" / "model.onnx").symlink_to(target)

    return make


def pipe(folder: Path) -> None:
    model(content=None)(folder)
    os.mkfifo(folder / "1" / "model.onnx")


def listening(folder: Path) -> None:
    model(content=None)(folder)
    before = Path.cwd()
    # The name of a socket must be short.
    os.chdir(folder / "1")
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("model.onnx")
    finally:
        os.chdir(before)


def looping(folder: Path) -> None:
    model()(folder)
    (folder / "1" / "again").symlink_to("..")


HOSTILE = [
    pytest.param(model(content=b""), "model.onnx", id="empty file"),
    pytest.param(model(content=GOOD[: len(GOOD) // 2]), "model.onnx", id="truncated file"),
    pytest.param(model(content=b"PK\x03\x04" + GOOD), "model.onnx", id="wrong magic"),
    pytest.param(model(content=random.Random(1).randbytes(4096)), "model.onnx", id="random bytes"),
    pytest.param(model(content=None), "model.onnx", id="no model file"),
    pytest.param(linked("nowhere"), "model.onnx", id="dangling link"),
    pytest.param(linked("model.onnx"), "model.onnx", id="link to itself"),
    pytest.param(pipe, "model.onnx", id="pipe"),
    pytest.param(listening, "model.onnx", id="socket"),
    pytest.param(
        model(config="backend: onnx runtime {"), "config.pbtxt", id="broken configuration"
    ),
    pytest.param(model(config='backend: "nobody\'s"'), "nobody's", id="unknown backend"),
    pytest.param(model(config=CONFIG + "\nname: 'other'"), "other", id="name of another"),
    pytest.param(model(config="\x00\xff"), "config.pbtxt", id="binary configuration"),
    pytest.param(model(version="0003"), "version", id="leading zeros"),
    pytest.param(model(version="-3"), "version", id="negative version"),
    pytest.param(model(version="1abc"), "version", id="version with letters"),
    pytest.param(model(version="9" * 40), "version", id="forty digits"),
]


@pytest.fixture
def name() -> str:
    """The name of a model that no other test has: nothing is left of what was there before."""
    return f"hostile-{next(NUMBERS)}"


@pytest.mark.parametrize(("spoil", "reason"), HOSTILE)
def test_what_cannot_be_loaded_has_its_reason_in_the_index(
    repository: Repository, client: Client, tmp_path: Path, name: str, spoil: Spoil, reason: str
) -> None:
    spoil(tmp_path / name)
    # In one step, as if it had been copied at once.
    shutil.move(tmp_path / name, repository.root / name)

    def has_its_reason() -> bool:
        rows = [row for row in client.index() if row[0] == name]
        return any(re.search(reason, row[3]) for row in rows if row[2] != "READY")

    try:
        eventually(has_its_reason, within_s=WITHIN_S)
        assert not client.model_ready(name)
        assert answer_of(client) == 1.0
    finally:
        shutil.rmtree(repository.root / name)


@pytest.mark.parametrize("name", ["two words", "ü", "a;b", "%2e%2e", "..hidden", "x" * 250])
def test_a_folder_of_an_odd_name_is_a_model_or_is_not_looked_at(
    repository: Repository, client: Client, tmp_path: Path, name: str
) -> None:
    model()(tmp_path / "hostile")
    shutil.move(tmp_path / "hostile", repository.root / name)
    try:
        if name.startswith("."):
            assert all(row[0] != name for row in client.index())
        else:
            eventually(lambda: client.model_ready(name), within_s=WITHIN_S)
        assert answer_of(client) == 1.0
    finally:
        shutil.rmtree(repository.root / name)


@pytest.mark.parametrize("name", ["line\nbreak", "tab\there", "\x1b[31mred"])
def test_a_folder_whose_name_has_control_characters_is_refused(
    repository: Repository, client: Client, tmp_path: Path, name: str
) -> None:
    model()(tmp_path / "hostile")
    shutil.move(tmp_path / "hostile", repository.root / name)

    def is_refused() -> bool:
        rows = [row for row in client.index() if row[0] == name]
        return any("control characters" in row[3] for row in rows)

    try:
        eventually(is_refused, within_s=WITHIN_S)
        assert not client.model_ready(name)
    finally:
        shutil.rmtree(repository.root / name)


def test_a_folder_whose_name_is_no_text_hides_no_other(
    repository: Repository, client: Client, tmp_path: Path
) -> None:
    folder = repository.root / os.fsdecode(b"no text \xff")
    model()(tmp_path / "hostile")
    shutil.move(tmp_path / "hostile", folder)
    model()(tmp_path / "later")
    shutil.move(tmp_path / "later", repository.root / "later")
    try:
        eventually(lambda: client.model_ready("later"), within_s=WITHIN_S)
        names = {row[0] for row in client.index()}
        assert "later" in names
        assert not [name for name in names if name.startswith("no text")]
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(repository.root / "later")


def test_a_folder_that_holds_itself_is_no_trap(
    repository: Repository, client: Client, tmp_path: Path
) -> None:
    looping(tmp_path / "endless")
    shutil.move(tmp_path / "endless", repository.root / "endless")

    eventually(lambda: client.model_ready("endless"), within_s=WITHIN_S)
