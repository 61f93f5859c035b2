"""The start: an early port, models that fail, flags that decide what that means."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.server_process import LISTENING, STARTED, ServerProcess, ServerProcessError
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    ParameterValue,
    given,
    infer_request,
    server_process,
    unavailable,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NOT_READY = unavailable("Server not ready")
DATA = given("INPUT0", np.ones(1, "<f4"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@contextmanager
def started(
    repository: Repository, *flags: str, wait_for: str = STARTED
) -> Iterator[tuple[ServerProcess, Client]]:
    with server_process(repository, *flags, wait_for=wait_for) as process:
        with Client(process.address) as client:
            yield process, client
        assert process.terminate() == 0


def test_the_port_opens_before_the_models_are_loaded(repository: Repository) -> None:
    repository.identity("slow", parameters={"creation_delay_sec": "2"})
    repository.identity("quick")

    with started(repository, wait_for=LISTENING) as (process, client):
        stub = health_pb2_grpc.HealthStub(client.channel)
        quick = stub.Watch(health_pb2.HealthCheckRequest(service="model/quick"), timeout=TIMEOUT_S)
        whole = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        while next(quick).status != SERVING:
            pass

        assert (client.live(), client.ready()) == (True, False)
        assert next(whole).status == NOT_SERVING
        # What is READY answers; what is not there yet might come.
        assert client.infer(infer_request("quick", DATA)).model_name == "quick"
        assert client.model_ready("quick")
        for model in ("slow", "nowhere"):
            assert client.infer_refusal(infer_request(model, DATA)) == NOT_READY
            assert client.exchange(infer_request(model, DATA))[0].error_message == NOT_READY.text
            metadata = pb.ModelMetadataRequest(name=model)
            assert client.refusal("ModelMetadata", metadata) == NOT_READY
        assert not any("Started GRPCInferenceService" in line for line in process.lines)

        assert next(whole).status == SERVING
        assert client.ready()
        process.wait_for_log(STARTED)
        assert client.infer(infer_request("slow", DATA)).model_name == "slow"
        assert client.infer_refusal(infer_request("nowhere", DATA)).code == "NOT_FOUND"
        quick.cancel()
        whole.cancel()


def test_the_log_names_the_address_twice(repository: Repository) -> None:
    repository.identity("model")

    with started(repository) as (process, _):
        listening = process.wait_for_log(LISTENING)[1]
        serving = process.wait_for_log(STARTED)[1]

    assert listening == serving == process.address


def test_a_model_that_fails_ends_the_start(repository: Repository) -> None:
    repository.identity("good")
    repository.onnx("bad", b"this is no graph")

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(repository),
    ):
        pass

    assert "bad" in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_model_that_fails_may_be_left_out(repository: Repository) -> None:
    repository.identity("good")
    repository.onnx("bad", b"this is no graph")

    with started(repository, "--exit-on-error=false") as (_, client):
        assert client.infer(infer_request("good", DATA)).model_name == "good"
        assert not client.ready()
        assert not client.model_ready("bad")
        (bad, good) = client.index()
        assert bad[:3] == ("bad", "1", "UNAVAILABLE")
        assert bad[3].startswith("Internal: onnx runtime error ")
        assert good == ("good", "1", "READY", "")


def test_readiness_need_not_be_strict(repository: Repository) -> None:
    repository.onnx("bad", b"this is no graph")

    flags = ("--exit-on-error=false", "--strict-readiness=false")
    with started(repository, *flags) as (_, client):
        assert client.ready()
        assert not client.model_ready("bad")


def test_explicit_mode_loads_what_it_is_told(repository: Repository) -> None:
    for model in ("a", "b", "c"):
        repository.identity(model)

    flags = ("--model-control-mode=explicit", "--load-model=a", "--load-model", "c")
    with started(repository, *flags) as (_, client):
        assert client.index() == [
            ("a", "1", "READY", ""),
            ("b", "", "", ""),
            ("c", "1", "READY", ""),
        ]
        assert client.ready()


def test_explicit_mode_may_begin_with_nothing(repository: Repository) -> None:
    repository.identity("a")

    with started(repository, "--model-control-mode=explicit") as (_, client):
        assert client.ready()
        client.load("a")
        assert client.model_ready("a")


def test_the_flags_of_connections_let_a_client_ping(repository: Repository) -> None:
    """By its default a server ends a connection that pings so often."""
    repository.identity("model", parameters={"execute_delay_ms": "1500"})
    flags = (
        "--grpc-keepalive-time=10000",
        "--grpc-keepalive-timeout=5000",
        "--grpc-keepalive-permit-without-calls=true",
        "--grpc-http2-max-pings-without-data=0",
        "--grpc-http2-min-recv-ping-interval-without-data=10",
        "--grpc-http2-max-ping-strikes=0",
        "--grpc-max-connection-age=600000",
        "--grpc-max-connection-age-grace=10000",
    )
    pings = triton.KeepAliveOptions(
        keepalive_time_ms=100,
        keepalive_timeout_ms=5_000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    tensor = triton.InferInput("INPUT0", [1], "FP32")
    tensor.set_data_from_numpy(np.ones(1, np.float32))

    with (
        started(repository, *flags) as (process, _),
        triton.InferenceServerClient(process.address, keepalive_options=pings) as client,
    ):
        assert client.infer("model", [tensor]).as_numpy("OUTPUT0") == [1]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        pytest.param(
            ["--model-control-mode=explicit", "--load-model=nowhere"],
            "failed to poll model 'nowhere': model not found in any model repository.",
            id="a model that is not there",
        ),
        pytest.param(
            ["--model-control-mode=explicit", "--load-model=*", "--load-model=a"],
            "Wildcard model name '*' must be the ONLY startup model if specified at all.",
            id="all models and one",
        ),
        pytest.param(
            ["--load-model=a"],
            "Use of '--load-model' requires setting '--model-control-mode=explicit' as well.",
            id="no explicit mode",
        ),
    ],
)
def test_a_start_that_makes_no_sense_ends_with_a_sentence(
    repository: Repository, flags: list[str], text: str
) -> None:
    repository.identity("a")

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(repository, *flags),
    ):
        pass

    assert text in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_busy_port_is_a_clear_error(repository: Repository) -> None:
    repository.identity("model")

    with started(repository) as (first, _):
        port = first.address.rsplit(":", 1)[1]
        with (
            pytest.raises(ServerProcessError, match="ended with 1") as failed,
            server_process(repository, f"--grpc-port={port}"),
        ):
            pass

    assert f"Socket '127.0.0.1:{port}' already in use " in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_scratch_directory_that_is_not_there_ends_the_start(
    repository: Repository, tmp_path: Path
) -> None:
    arguments = [
        f"--model-repository={repository.root}",
        "--grpc-port=0",
        f"--scratch-directory={tmp_path / 'gone'}",
    ]

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as caught,
        ServerProcess.start(arguments),
    ):
        pass

    assert "--scratch-directory cannot be used: [Errno 2] No such file or directory" in str(
        caught.value
    )


def test_a_start_removes_the_scratch_of_a_process_that_was_killed(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository.identity("model")
    scratch = tmp_path_factory.mktemp("scratch")
    flags = (f"--scratch-directory={scratch}", "--model-control-mode=explicit")
    with server_process(repository, *flags) as killed, Client(killed.address) as client:
        parameters: dict[str, ParameterValue] = {
            "config": '{"backend": "identity"}',
            "file:1/plain": b"text",
        }
        client.load("model", **parameters)
        killed.kill()
    (left,) = scratch.iterdir()
    assert [path.read_bytes() for path in left.rglob("plain")] == [b"text"]

    with started(repository, *flags):
        assert not left.exists()
    assert list(scratch.iterdir()) == []
