"""Loads that bring a configuration or files of their own: spec/lifecycle.md 4.3."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from interlock.cli.main import main
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import (
    Client,
    ParameterValue,
    Refusal,
    WireServer,
    arrays,
    eventually,
    given,
    infer_request,
    serving,
)

FAILED = "failed to load '{}', failed to poll from model repository"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model", max_batch_size=4)
    repository.identity("other")
    scratch = tmp_path_factory.mktemp("scratch")
    with serving(repository, f"--scratch-directory={scratch}") as server:
        yield server
    assert list(scratch.iterdir()) == []


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


ONNX = '{"backend": "onnxruntime"}'


def answer_of(client: Client, model: str, version: str = "") -> float:
    """What an adding model answers for 0: its constant."""
    request = infer_request(model, given("x", np.zeros(1, "<f4")), version=version)
    return float(arrays(client.infer(request))["y"][0])


def test_a_model_that_no_repository_has_is_loaded_from_the_request(
    blocking: Any, client: Client
) -> None:
    """L0_lifecycle: override_model."""
    blocking.load_model(
        "sent", config=ONNX, files={"file:1/model.onnx": onnx_small.add_constant(5, (1,))}
    )

    assert answer_of(client, "sent") == 5
    assert ("sent", "1", "READY", "") in client.index()

    blocking.unload_model("sent")
    eventually(lambda: ("sent", "1", "UNAVAILABLE", "unloaded") in client.index())
    code, text = client.load_refusal("sent")
    assert (code, text.startswith(FAILED.format("sent"))) == ("INTERNAL", True)


def test_files_take_the_place_of_the_repository_s_until_the_next_load(
    server: WireServer, blocking: Any, client: Client
) -> None:
    server.repository.onnx("replaced", onnx_small.add_constant(1))
    blocking.load_model("replaced")

    blocking.load_model(
        "replaced", config=ONNX, files={"file:2/model.onnx": onnx_small.add_constant(2, (1,))}
    )
    assert answer_of(client, "replaced") == 2
    assert [row[1] for row in client.index(ready=True) if row[0] == "replaced"] == ["2"]

    blocking.load_model("replaced")
    assert answer_of(client, "replaced") == 1


def test_files_that_do_not_load_leave_what_serves(
    server: WireServer, blocking: Any, client: Client
) -> None:
    server.repository.onnx("safe", onnx_small.add_constant(1))
    blocking.load_model("safe")

    with pytest.raises(InferenceServerException) as refused:
        blocking.load_model("safe", config=ONNX, files={"file:1/model.onnx": b"no model"})

    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "load failed for model 'safe': version 1 is at UNAVAILABLE" in refused.value.message()
    assert answer_of(client, "safe") == 1
    client.load("safe")


def test_files_need_a_configuration(client: Client) -> None:
    assert client.load_refusal("model", **{"file:1/model.onnx": b""}) == Refusal(
        "INTERNAL",
        f"{FAILED.format('model')}: "
        "Load parameter 'config' must be specified for model file override",
    )


@pytest.mark.parametrize("path", ["../escape", "/tmp/escape", "1/../../escape", ""])
def test_files_stay_within_their_directory(client: Client, path: str) -> None:
    parameters: dict[str, ParameterValue] = {"config": ONNX, f"file:{path}": b""}

    code, text = client.load_refusal("model", **parameters)

    assert code == "INTERNAL"
    assert text.startswith(
        f"{FAILED.format('model')}: Invalid file parameter '{path}' with normalized path '"
    )
    assert text.endswith("' must stay within model directory.")


def test_a_name_that_is_too_long_is_a_failed_poll(client: Client) -> None:
    parameters: dict[str, ParameterValue] = {"config": ONNX, f"file:1/{'x' * 300}": b""}

    code, text = client.load_refusal("model", **parameters)

    assert (code, text.startswith(FAILED.format("model"))) == ("INTERNAL", True)
    assert text.endswith("File name too long")


def test_an_unload_may_be_waited_for(server: WireServer, client: Client) -> None:
    server.repository.identity("busy", parameters={"execute_delay_ms": "300"})
    client.load("busy")
    call = client.start(infer_request("busy", given("INPUT0", np.ones(1, "<f4"))))
    for _ in range(10):  # behind the call: when these are answered, it has arrived
        client.infer(infer_request("other", given("INPUT0", np.ones(1, "<f4"))))
    unload = pb.RepositoryModelUnloadRequest(model_name="busy")
    unload.parameters["wait"].bool_param = True

    client.call("RepositoryModelUnload", unload)

    assert call.done()
    assert ("busy", "1", "UNAVAILABLE", "unloaded") in client.index()


def test_a_load_may_be_left_to_itself_or_given_so_much_time(
    server: WireServer, client: Client
) -> None:
    server.repository.identity("long", parameters={"creation_delay_sec": "1"})

    client.load("long", wait=False)

    assert client.load_refusal("long", timeout_ms=50) == Refusal(
        "UNAVAILABLE",
        "load of model 'long' has not begun within 50 ms, another operation on the model goes on; "
        "nothing was changed",
    )
    eventually(lambda: client.model_ready("long"))
    assert client.load_refusal("long", timeout_ms=50, force=True) == Refusal(
        "UNAVAILABLE",
        "load of model 'long' has not ended within 50 ms; it goes on, and "
        "RepositoryIndex tells how it ends",
    )
    client.load("long")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("wait", 1, "bool_param"),
        ("timeout_ms", "1", "int64_param"),
        ("versions", 1, "string_param"),
        ("force", "yes", "bool_param"),
    ],
)
def test_a_parameter_of_ours_has_a_type(
    client: Client, name: str, value: ParameterValue, kind: str
) -> None:
    parameters = {name: value}

    assert client.load_refusal("model", **parameters) == Refusal(
        "INVALID_ARGUMENT",
        f"invalid value type for load parameter '{name}', expected {kind}.",
    )


def test_the_command_loads_files(server: WireServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(ONNX)
    (tmp_path / "mine.onnx").write_bytes(onnx_small.add_constant(9, (1,)))
    flags = [
        f"--config={tmp_path / 'config.json'}",
        f"--file=1/model.onnx={tmp_path / 'mine.onnx'}",
    ]

    code = main(["load", "mine", f"--server={server.address}", *flags])

    assert code == 0
    assert answer_of(client, "mine") == 9
