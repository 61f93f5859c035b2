"""Encrypted models in a server: read from memory, configuration included, and nowhere else."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from interlock.cli.main import main
from interlock_agents.encryption.keys import parse_keys
from tests.support import onnx_small
from tests.support.encryption import encrypted
from tests.support.models import Repository
from tests.support.wire import (
    Client,
    WireServer,
    arrays,
    eventually,
    given,
    infer_request,
    serving,
)

SIZE = 1024
LABEL = "class-of-the-marked-model"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Whoever makes models, and has the keys."""

    keys: Path
    drafts: Repository
    target: Repository

    def new_key(self, name: str) -> None:
        assert main(["keys", "new", name, f"--key-directory={self.keys}"]) == 0

    def publish(self, model: str, key: str = "first") -> Path:
        """Encrypt what lies in the drafts, and put it into the repository in one step."""
        place = self.target.root / f".{model}.draft"
        draft = self.drafts.root / model
        public = self.keys / f"{key}.pub"
        assert main(["encrypt", str(draft), f"--recipient={public}", f"--out={place}"]) == 0
        folder = self.target.root / model
        shutil.rmtree(folder, ignore_errors=True)
        return place.rename(folder)


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    root = tmp_path_factory.mktemp("publisher")
    for name in ("drafts", "repository"):
        (root / name).mkdir()
    keys = root / "keys"
    publisher = Publisher(keys, Repository(root / "drafts"), Repository(root / "repository"))
    publisher.new_key("first")
    return publisher


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def server(publisher: Publisher, scratch: Path) -> Iterator[WireServer]:
    publisher.target.identity("plain")
    flags = (f"--scratch-directory={scratch}", f"--key-directory={publisher.keys}")
    with serving(publisher.target, *flags) as server:
        yield server
    assert list(scratch.iterdir()) == []


def answer(client: Client, model: str, size: int = 1) -> np.ndarray:
    request = infer_request(model, given("x", np.zeros(size, "<f4")))
    return arrays(client.infer(request))["y"]


def reason(client: Client, model: str) -> str:
    return next(row[3] for row in client.index() if row[0] == model)


def memory_files(server: WireServer) -> list[str]:
    """Return the files in memory that the server has open or mapped."""
    process = Path("/proc") / str(server.process.pid)
    try:
        found = (process / "maps").read_text().splitlines()
        descriptors = tuple((process / "fd").iterdir())
    except PermissionError:
        pytest.skip("only root may look into a process that has something to hide")
    for descriptor in descriptors:
        with suppress(FileNotFoundError):  # it was closed just now
            found.append(str(descriptor.readlink()))
    return [one for one in found if "memfd:" in one]


def test_an_encrypted_model_serves_with_its_encrypted_configuration(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    draft = publisher.drafts.onnx(
        "whole", onnx_small.add_constant(4), instances=2, extra="version_policy { all {} }"
    )
    golden = {"input": {"x": [1.0]}, "expect": {"y": [5.0]}}
    (draft / "golden").mkdir()
    (draft / "golden" / "one.json").write_text(json.dumps(golden))
    folder = publisher.publish("whole")
    assert "backend" not in (folder / "config.pbtxt").read_text()

    client.load("whole")

    assert answer(client, "whole").tolist() == [4]
    assert "proven" in server.process.log
    eventually(lambda: memory_files(server) == [])


def test_weights_beside_the_graph_are_read_from_memory(
    server: WireServer, client: Client, publisher: Publisher, scratch: Path
) -> None:
    weights = np.arange(SIZE, dtype=np.float32)
    graph, data = onnx_small.external(weights)
    draft = publisher.drafts.onnx("outside", graph)
    (draft / "config.pbtxt").write_text('backend: "onnxruntime"\nmax_batch_size: 0\n')
    (draft / "1" / "weights.bin").write_bytes(data)
    publisher.publish("outside")

    client.load("outside")

    assert np.array_equal(answer(client, "outside", SIZE), weights)
    eventually(lambda: memory_files(server) == [])
    assert np.array_equal(answer(client, "outside", SIZE), weights)
    # The links that led to what was in memory have gone with it.
    eventually(lambda: not list(scratch.glob("*/files-*")))


def test_a_wrong_golden_request_that_is_encrypted_counts(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    draft = publisher.drafts.onnx("unproven", onnx_small.add_constant(4))
    (draft / "golden").mkdir()
    golden = {"input": {"x": [1.0]}, "expect": {"y": [6.0]}}
    (draft / "golden" / "one.json").write_text(json.dumps(golden))
    publisher.publish("unproven")

    refusal = client.load_refusal("unproven")

    assert refusal.code == "INVALID_ARGUMENT"
    assert "golden request 'golden/one.json': output y[0]: got 5" in refusal.text
    eventually(lambda: memory_files(server) == [])


def test_labels_that_are_encrypted_are_read(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    draft = publisher.drafts.onnx("labelled", onnx_small.add_constant(4), outputs=())
    config = draft / "config.pbtxt"
    output = 'output [ { name: "y" data_type: TYPE_FP32 dims: [-1] label_filename: "labels.txt" } ]'
    config.write_text(f"{config.read_text()}\n{output}\n")
    (draft / "labels.txt").write_text(f"{LABEL}\n")
    publisher.publish("labelled")

    client.load("labelled")

    request = infer_request(
        "labelled", given("x", np.zeros(1, "<f4")), outputs=[("y", {"classification": 1})]
    )
    assert LABEL.encode() in arrays(client.infer(request))["y"][0]


def test_a_key_that_is_missing_refuses_the_model_and_a_key_that_comes_lets_it_pass(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    publisher.drafts.onnx("moving", onnx_small.add_constant(1))
    publisher.publish("moving")
    client.load("moving")
    publisher.new_key("second")
    key = publisher.keys / "second.key"
    elsewhere = key.rename(publisher.keys.parent / "second.key")
    publisher.drafts.onnx("moving", onnx_small.add_constant(2))
    publisher.publish("moving", "second")

    refusal = client.load_refusal("moving")

    assert refusal.code == "INTERNAL"
    assert refusal.text.startswith("failed to load 'moving', failed to poll from model repository")
    assert "no key 'second'" in refusal.text
    assert "no key 'second'" in reason(client, "moving")
    assert answer(client, "moving").tolist() == [1]

    elsewhere.rename(key)
    client.load("moving")
    assert answer(client, "moving").tolist() == [2]
    assert reason(client, "moving") == ""


def test_a_wrong_key_and_a_flipped_bit_refuse_the_model(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    publisher.drafts.onnx("bent", onnx_small.add_constant(1))
    folder = publisher.publish("bent")
    client.load("bent")
    file = folder / "1" / "model.onnx.enc"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    publisher.target.replace("bent", "1/model.onnx.enc", bytes(content))

    refusal = client.load_refusal("bent")

    assert "failed to decrypt '1/model.onnx.enc'" in refusal.text
    assert answer(client, "bent").tolist() == [1]

    publisher.new_key("third")
    publisher.drafts.onnx("bent", onnx_small.add_constant(3))
    publisher.publish("bent", "third")
    key = publisher.keys / "third.key"
    key.unlink()
    (publisher.keys / "third.pub").unlink()
    publisher.new_key("third")  # another one of the same name
    refusal = client.load_refusal("bent")
    assert "failed to decrypt" in refusal.text
    assert answer(client, "bent").tolist() == [1]
    eventually(lambda: memory_files(server) == [])


@pytest.mark.parametrize(
    "line", ["max_batch_size: very-secret", "max_batch_size: -5 # very-secret"]
)
def test_a_broken_configuration_that_was_encrypted_is_not_quoted(
    server: WireServer, client: Client, publisher: Publisher, line: str
) -> None:
    publisher.drafts.onnx("quoted", onnx_small.add_constant(1))
    folder = publisher.publish("quoted")
    (key,) = parse_keys(bytearray((publisher.keys / "first.pub").read_bytes()), where="first.pub")
    text = f'backend: "onnxruntime"\n{line}\n'.encode()
    content = encrypted(text, key, path="config.pbtxt")
    publisher.target.replace(folder.name, "config.pbtxt.enc", content)

    refusal = client.load_refusal("quoted")

    assert "config.pbtxt:2:" in refusal.text
    assert "cannot be used, and is not quoted" in refusal.text
    assert "very-secret" not in refusal.text
    assert "very-secret" not in server.process.log
