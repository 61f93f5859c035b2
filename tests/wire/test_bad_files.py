"""Model files that are none: a clear answer, and nothing else disturbed."""

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support import onnx_models, onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess, command
from tests.support.wire import (
    Client,
    WireServer,
    arrays,
    given,
    infer_request,
    serving,
    transport_flags,
)

GOOD = onnx_small.add_constant(1.0)
RANDOM = random.Random(3).randbytes(len(GOOD))
NO_FILE = "is a pipe, socket or device, not a file"
TIB = 1 << 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.onnx("good", GOOD)
    repository.onnx("other", GOOD)
    with serving(repository) as server:
        yield server


def answer_of(client: Client, model: str) -> float:
    request = infer_request(model, given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def reason_of(client: Client, model: str) -> str:
    ((_, _, state, reason),) = [row for row in client.index() if row[0] == model]
    assert state == "UNAVAILABLE"
    return reason


def write_socket(path: Path) -> None:
    # By a short name: the path of a socket is limited to about a hundred characters.
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def with_pipe_for_weights(path: Path) -> None:
    """A sound graph whose weights lie in a file of their own, and that is a pipe."""
    weights = TensorProto(name="constant", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "constant"], ["y"])],
        "graph",
        [onnx_models.tensor("x", shape=(4,))],
        [onnx_models.tensor("y", shape=(4,))],
        initializer=[weights],
    )
    opset = helper.make_opsetid("", onnx_small.OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=onnx_small.IR_VERSION)
    path.write_bytes(model.SerializeToString())
    os.mkfifo(path.parent / "weights.bin")


def too_large(path: Path) -> None:
    """A file of a size that no memory has; it takes no place on the disk."""
    path.write_bytes(GOOD)
    os.truncate(path, 4 * TIB)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


BROKEN = [
    pytest.param(content(b""), "Internal: onnx runtime error ", id="empty"),
    pytest.param(content(GOOD[: len(GOOD) // 2]), "Internal: onnx runtime error ", id="half"),
    pytest.param(content(GOOD[:-1]), "Internal: onnx runtime error ", id="all but a byte"),
    pytest.param(content(b"\x7fELF" + GOOD), "Internal: onnx runtime error ", id="wrong magic"),
    pytest.param(content(RANDOM), "Internal: onnx runtime error ", id="random"),
    pytest.param(content(bytes(65536)), "Internal: onnx runtime error ", id="zeros"),
    pytest.param(lambda path: path.mkdir(), "Unavailable: unable to find '", id="folder"),
    pytest.param(
        lambda path: path.symlink_to("gone"), "Unavailable: unable to find '", id="dangling link"
    ),
    pytest.param(
        lambda path: path.symlink_to(path.name), "Unavailable: unable to find '", id="circle"
    ),
    pytest.param(os.mkfifo, NO_FILE, id="pipe"),
    pytest.param(write_socket, NO_FILE, id="socket"),
    pytest.param(lambda path: path.symlink_to("/dev/zero"), NO_FILE, id="device"),
    pytest.param(with_pipe_for_weights, NO_FILE, id="pipe for weights"),
    pytest.param(too_large, "the version does not fit into memory: it needs ", id="too large"),
]


@pytest.mark.parametrize(("make", "reason"), BROKEN)
def test_a_file_that_is_no_model_is_refused_with_a_reason(
    server: WireServer, client: Client, make: Callable[[Path], object], reason: str
) -> None:
    folder = server.repository.onnx("bad", GOOD)
    path = folder / "1" / "model.onnx"
    path.unlink()
    make(path)

    code, text = client.load_refusal("bad")

    assert code == "INVALID_ARGUMENT"
    assert text.startswith("load failed for model 'bad': version 1 is at UNAVAILABLE state: ")
    assert reason in text
    assert reason_of(client, "bad") in text
    assert answer_of(client, "other") == 1.0
    client.unload("bad")
    shutil.rmtree(folder)


@pytest.mark.parametrize(("make", "reason"), BROKEN)
def test_a_file_that_is_no_model_leaves_the_one_before_serving(
    server: WireServer, client: Client, make: Callable[[Path], object], reason: str
) -> None:
    path = server.repository.root / "good" / "1" / "model.onnx"
    aside = path.with_name(".draft")
    make(aside)
    if aside.is_dir():
        path.unlink()
    aside.rename(path)

    _, text = client.load_refusal("good")

    assert reason in text
    assert answer_of(client, "good") == 1.0
    shutil.rmtree(path.parent)
    server.repository.onnx("good", GOOD)
    client.load("good")
    assert answer_of(client, "good") == 1.0


@pytest.mark.parametrize("name", ["config.pbtxt", "labels.txt"])
def test_nobody_waits_for_a_pipe_beside_the_versions(
    server: WireServer, client: Client, name: str
) -> None:
    folder = server.repository.onnx("pipes", GOOD)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    if name == "config.pbtxt":
        code, text = client.load_refusal("pipes")
        assert code == "INTERNAL"
        assert "it is a pipe, socket or device, not a file" in text
    else:
        client.load("pipes")
        assert answer_of(client, "pipes") == 1.0
        client.unload("pipes")
    assert answer_of(client, "other") == 1.0
    shutil.rmtree(folder)


def unprivileged() -> list[str]:
    """The server's command, without the power to read what it may not, if it had that."""
    if os.geteuid() != 0:
        return command()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may read everything, and there is no setpriv to give that up")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search", *command()]


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    """A server that may not read everything."""
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.onnx("other", GOOD)
    arguments = [
        f"--model-repository={repository.root}",
        *transport_flags(),
        "--model-control-mode=explicit",
        "--load-model=*",
    ]
    with ServerProcess.start(arguments, program=unprivileged()) as process:
        yield WireServer(process, repository, Client)


@pytest.mark.parametrize(
    ("hidden", "code"),
    [
        pytest.param("1/model.onnx", "INVALID_ARGUMENT", id="the model's file"),
        pytest.param("1", "INTERNAL", id="the version's folder"),
        pytest.param("config.pbtxt", "INTERNAL", id="the configuration"),
        pytest.param(".", "INTERNAL", id="the model's folder"),
    ],
)
def test_what_may_not_be_read_says_so(restricted: WireServer, hidden: str, code: str) -> None:
    folder = restricted.repository.onnx("hidden", GOOD)
    (folder / hidden).chmod(0)
    try:
        with restricted.client() as client:
            refused, text = client.load_refusal("hidden")
            assert refused == code
            assert "Permission denied" in text
            assert answer_of(client, "other") == 1.0

            (folder / hidden).chmod(0o755)
            client.load("hidden")
            assert answer_of(client, "hidden") == 1.0
            client.unload("hidden")
    finally:
        (folder / hidden).chmod(0o755)
        shutil.rmtree(folder)
