"""Loads that bring a configuration or files of their own: spec/lifecycle.md 4.3."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.support.models import Repository
from tests.support.wire import Client, WireServer, serving

FAILED = "failed to load '{}', failed to poll from model repository"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model", max_batch_size=4)
    with serving(repository) as server:
        yield server


@pytest.fixture(scope="module")
def blocking(server: WireServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.address) as client:
        yield client


def batch_size(blocking: Any, model: str) -> int:
    size: int = blocking.get_model_config(model).config.max_batch_size
    return size


def identity_config(**fields: object) -> str:
    tensor = {"data_type": "type_fp32", "dims": [1]}
    return json.dumps(
        {
            "backend": "identity",
            "input": [{"name": "INPUT0", **tensor}],
            "output": [{"name": "OUTPUT0", **tensor}],
            **fields,
        }
    )


def test_a_configuration_override_is_what_the_model_runs_with(
    server: WireServer, blocking: Any
) -> None:
    server.repository.identity("changed", max_batch_size=4)

    blocking.load_model("changed", config=identity_config(max_batch_size=2))
    assert batch_size(blocking, "changed") == 2

    blocking.load_model("changed")
    assert batch_size(blocking, "changed") == 2

    blocking.unload_model("changed")
    blocking.load_model("changed")
    assert batch_size(blocking, "changed") == 4


def test_a_configuration_override_lasts_until_the_file_changes(
    server: WireServer, blocking: Any
) -> None:
    server.repository.identity("edited", max_batch_size=4)
    blocking.load_model("edited", config=identity_config(max_batch_size=2))
    server.repository.identity("edited", max_batch_size=8)

    blocking.load_model("edited")

    assert batch_size(blocking, "edited") == 8


def test_the_configuration_of_a_model_can_be_sent_back(blocking: Any) -> None:
    config = blocking.get_model_config("model", as_json=True)["config"]

    blocking.load_model("model", config=json.dumps({**config, "max_batch_size": 3}))

    assert batch_size(blocking, "model") == 3


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "no JSON, line 1, column 2: "),
        ("7", "a JSON object is expected"),
        ('{"max_batch": 1}', 'Message type "inference.ModelConfig" has no field named "max_batch"'),
        ('{"name": "other"}', "unexpected directory name 'model' for model 'other'"),
    ],
)
def test_an_override_that_is_wrong_leaves_the_model_alone(
    server: WireServer, blocking: Any, config: str, reason: str
) -> None:
    before = batch_size(blocking, "model")

    with pytest.raises(InferenceServerException) as refused:
        blocking.load_model("model", config=config)

    assert refused.value.status() == "StatusCode.INTERNAL"
    start = f"{FAILED.format('model')}: Invalid config override: {reason}"
    assert refused.value.message().startswith(start)
    assert batch_size(blocking, "model") == before
    server.process.wait_for_log("Invalid config override: ")


def test_versions_of_the_requests_choice_are_loaded(server: WireServer, client: Client) -> None:
    server.repository.identity("several", versions=(1, 2, 3))

    client.load("several", versions="1,3")

    ready = [row[1] for row in client.index(ready=True) if row[0] == "several"]
    assert ready == ["1", "3"]
