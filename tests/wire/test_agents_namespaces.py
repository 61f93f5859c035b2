"""Repository agents where names are in several repositories, and configurations have names."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Repository, parameter
from tests.support.publishing import STEPS, Publisher, naming
from tests.support.wire import Client, WireServer, arrays, given, infer_request, row_of, serving

FAILED = "failed to load '{}', failed to poll from model repository: "


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("repositories") / "east"
    root.mkdir()
    return Repository(root)


@pytest.fixture(scope="module")
def west(east: Repository) -> Repository:
    root = east.root.parent / "west"
    root.mkdir()
    return Repository(root)


@pytest.fixture(scope="module")
def server(publisher: Publisher, east: Repository, west: Repository) -> Iterator[WireServer]:
    flags = (
        f"--model-repository={west.root}",
        "--model-namespacing=true",
        "--model-config-name=prod",
        *publisher.flags,
    )
    with serving(east, *flags) as server:
        yield server


def draft(repository: Repository, model: str, constant: float, *agents: str) -> Path:
    """Write a model that runs with `configs/prod.pbtxt`, and with no other."""
    lines = ('backend: "onnxruntime"', parameter("intra_op_thread_count", "1"), naming(*agents))
    files = {
        "1/model.onnx": onnx_small.add_constant(constant),
        "configs/prod.pbtxt": "\n".join(lines).encode(),
    }
    return repository.add(model, 'backend: "none such"', files=files)


def answer(client: Client, model: str) -> float:
    request = infer_request(model, given("x", np.zeros((1, 1), "<f4")))
    return float(arrays(client.infer(request))["y"][0, 0])


def test_agents_of_a_configuration_with_a_name_run(
    server: WireServer, client: Client, publisher: Publisher, east: Repository
) -> None:
    folder = draft(east, "named", 1, "checksum")

    refusal = client.load_refusal("named")

    assert refusal.text.startswith(FAILED.format("named") + "failed to open text file for read ")
    publisher.do(folder, "manifest")
    client.load("named")
    assert answer(client, "named") == 1


def test_a_configuration_with_a_name_may_be_encrypted(
    server: WireServer, client: Client, publisher: Publisher, east: Repository
) -> None:
    folder = draft(east, "sealed", 2, "checksum", "signature", "decrypt")
    publisher.do(folder, *STEPS)
    assert "backend" not in (folder / "configs" / "prod.pbtxt").read_text()

    client.load("sealed")

    assert answer(client, "sealed") == 2


def test_models_of_one_name_pass_their_agents_each_for_itself(
    server: WireServer,
    client: Client,
    publisher: Publisher,
    east: Repository,
    west: Repository,
) -> None:
    agents = ("checksum", "signature", "decrypt")
    publisher.do(draft(east, "both", 3, *agents), *STEPS)
    publisher.do(draft(west, "both", 4, *agents), *STEPS)

    client.load("east::both")
    client.load("west::both")
    assert (answer(client, "east::both"), answer(client, "west::both")) == (3, 4)

    signed = (east.root / "both" / "model.sig").read_bytes()
    west.replace("both", "model.sig", signed)
    refusal = client.load_refusal("west::both")

    reason = "model.sig: file 1/model.onnx.enc is not what was signed"
    assert refusal.text == FAILED.format("west::both") + reason
    assert row_of(client, "west::both") == ("READY", f"Invalid argument: {reason}")
    assert row_of(client, "east::both") == ("READY", "")
    assert (answer(client, "east::both"), answer(client, "west::both")) == (3, 4)


def test_a_model_that_was_never_loaded_has_its_reason_under_its_own_name(
    server: WireServer, client: Client, publisher: Publisher, east: Repository, west: Repository
) -> None:
    publisher.do(draft(east, "half", 5, "checksum"), "manifest")
    draft(west, "half", 6, "checksum")
    client.load("east::half")

    client.load_refusal("west::half")

    state, reason = row_of(client, "west::half")
    assert state == "UNAVAILABLE"
    assert "failed to open text file for read manifest.json" in reason
    assert row_of(client, "east::half") == ("READY", "")
