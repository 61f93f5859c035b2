"""What live and ready say: spec/lifecycle.md 3.6 and 8.1, and the models that are required."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    eventually,
    given,
    infer_request,
    load_request,
    server_process,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVER = "inference.GRPCInferenceService"
REPOSITORY = "interlock.repository"
TOLERANT = "--exit-on-error=false"
EXPLICIT = "--model-control-mode=explicit"
DATA = given("INPUT0", np.ones(1, "<f4"))
WITHIN_S = 20.0


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    return Repository(root)


@contextmanager
def started(repository: Repository, *flags: str) -> Iterator[tuple[ServerProcess, Client]]:
    with server_process(repository, *flags) as process:
        with Client(process.address) as client:
            yield process, client
        assert process.terminate() == 0


def health_of(client: Client, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(client.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = stub.Check(request, timeout=TIMEOUT_S).status
    return status


def is_ready(client: Client) -> bool:
    """Whether the server is ready; all that say so must agree."""
    answers = {client.ready(), *(health_of(client, name) == SERVING for name in ("", SERVER))}
    assert len(answers) == 1
    return True in answers


def test_ready_means_that_the_required_model_serves(repository: Repository) -> None:
    repository.identity("wanted")
    repository.onnx("other", b"this is no graph")

    with started(repository, EXPLICIT, "--required-model=wanted") as (process, client):
        stub = health_pb2_grpc.HealthStub(client.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watch).status == NOT_SERVING
        assert not is_ready(client)
        assert client.live()
        process.wait_for_log("not ready: required model 'wanted' was not loaded")

        assert client.load_refusal("other").code == "INVALID_ARGUMENT"
        assert not is_ready(client)
        client.load("wanted")

        assert is_ready(client)
        assert next(watch).status == SERVING
        client.unload("wanted")
        assert not is_ready(client)
        assert next(watch).status == NOT_SERVING
        process.wait_for_log("not ready: required model 'wanted' version 1 is UN")
        watch.cancel()


@pytest.mark.parametrize("strict", ["true", "false"])
def test_what_is_not_required_does_not_count(repository: Repository, strict: str) -> None:
    repository.identity("wanted")
    repository.onnx("bad", b"this is no graph")
    flags = (TOLERANT, "--required-model=wanted", f"--strict-readiness={strict}")

    with started(repository, *flags) as (process, client):
        assert is_ready(client)
        process.wait_for_log(r"\bready\b")


@pytest.mark.parametrize("strict", ["true", "false"])
def test_a_required_model_that_fails_says_why(repository: Repository, strict: str) -> None:
    repository.identity("good")
    repository.onnx("bad", b"this is no graph")
    flags = (TOLERANT, "--required-model=bad", f"--strict-readiness={strict}")

    with started(repository, *flags) as (process, client):
        assert not is_ready(client)
        process.wait_for_log(
            "not ready: required model 'bad' version 1 is UNAVAILABLE: Internal: onnx runtime error"
        )
        assert client.infer(infer_request("good", DATA)).model_name == "good"


def test_an_empty_repository_is_ready_only_where_nothing_is_required(
    repository: Repository,
) -> None:
    with started(repository) as (_, client):
        assert is_ready(client)
    with started(repository, TOLERANT, "--required-model=m") as (process, client):
        assert not is_ready(client)
        process.wait_for_log("not ready: required model 'm' is not in any model repository")


def test_a_required_model_that_nobody_can_load_any_more_ends_the_start(
    repository: Repository,
) -> None:
    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(repository, "--required-model=m"),
    ):
        pass

    assert "this required model is not in any model repository" in str(failed.value)


def test_in_poll_mode_a_required_model_may_come_later(repository: Repository) -> None:
    flags = (
        "--model-control-mode=poll",
        "--repository-poll-secs=0.5",
        "--repository-settle-secs=0.1",
        "--required-model=m",
    )

    with started(repository, *flags) as (process, client):
        process.wait_for_log("not ready: required model 'm' is not in any model repository")
        repository.identity("m")
        eventually(client.ready, within_s=WITHIN_S)
        assert is_ready(client)
        repository.onnx("n", b"this is no graph")
        eventually(
            lambda: any(row[0] == "n" and row[3] for row in client.index()), within_s=WITHIN_S
        )
        assert is_ready(client)


def test_strict_readiness_wants_every_version_and_says_which_one_fails(
    repository: Repository,
) -> None:
    """A failed first load keeps the server unready until it is unloaded."""
    repository.identity("good")
    repository.onnx("bad", b"this is no graph")

    with started(repository, EXPLICIT, "--load-model=good") as (process, client):
        assert is_ready(client)
        assert client.load_refusal("bad").code == "INVALID_ARGUMENT"
        assert not is_ready(client)
        process.wait_for_log("not ready: model 'bad' version 1 is UNAVAILABLE: Internal: onnx")
        client.unload("bad")
        assert is_ready(client)


def test_a_failed_poll_and_an_unloaded_model_do_not_count(repository: Repository) -> None:
    repository.identity("good")

    with started(repository, EXPLICIT, "--load-model=good") as (_, client):
        assert client.load_refusal("nowhere").code == "INTERNAL"
        repository.add("odd", "max_batch_size: ]")
        assert client.load_refusal("odd").code == "INTERNAL"
        client.unload("good")
        eventually(client.ready, within_s=WITHIN_S)
        assert is_ready(client)


def test_a_model_without_any_version_counts(repository: Repository) -> None:
    repository.identity("none", versions=())

    with started(repository, EXPLICIT) as (process, client):
        assert client.load_refusal("none").code == "INVALID_ARGUMENT"
        assert not is_ready(client)
        process.wait_for_log("not ready: model 'none' has no version: ")


def test_a_first_load_counts_and_a_reload_does_not(repository: Repository) -> None:
    """LOADING is not ready; during a reload the version that serves is what counts."""
    repository.identity("slow", parameters={"creation_delay_sec": "1"})

    with started(repository, EXPLICIT) as (_, client):
        load = client.stub.RepositoryModelLoad.future(load_request("slow"), timeout=TIMEOUT_S)
        eventually(lambda: ("slow", "1", "LOADING") in [row[:3] for row in client.index()])
        assert not is_ready(client)
        load.result()
        assert is_ready(client)

        repository.identity("slow", parameters={"creation_delay_sec": "1"}, versions=(1, 2))
        load = client.stub.RepositoryModelLoad.future(load_request("slow"), timeout=TIMEOUT_S)
        eventually(lambda: ("slow", "2", "LOADING") in [row[:3] for row in client.index()])
        assert is_ready(client)
        load.result()
        assert is_ready(client)


@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
def test_without_any_repository_the_start_fails(repository: Repository, mode: str) -> None:
    repository.root.rmdir()

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(repository, f"--model-control-mode={mode}"),
    ):
        pass

    assert f"repository path is not a valid directory: {repository.root}" in str(failed.value)


@pytest.mark.parametrize("strict", ["true", "false"])
@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
def test_a_server_without_any_repository_is_neither_live_nor_ready(
    repository: Repository, mode: str, strict: str
) -> None:
    """FAILED_TO_INITIALIZE: metadata works all the same."""
    repository.root.rmdir()
    flags = (TOLERANT, f"--model-control-mode={mode}", f"--strict-readiness={strict}")

    with started(repository, *flags) as (process, client):
        assert not client.live()
        assert not is_ready(client)
        assert client.call("ServerMetadata", pb.ServerMetadataRequest()).name == "triton"
        assert health_of(client, REPOSITORY) == NOT_SERVING
        process.wait_for_log("not ready: repository path is not a valid directory: ")

        repository.root.mkdir()
        eventually(lambda: health_of(client, REPOSITORY) == SERVING, within_s=WITHIN_S)
        # In mode none nothing that is there now will ever be loaded.
        assert client.live() is is_ready(client) is (mode != "none")


@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
def test_a_repository_that_goes_away_is_unknown_and_not_gone(
    repository: Repository, mode: str
) -> None:
    repository.identity("m")
    repository.identity("n")
    flags = [f"--model-control-mode={mode}", "--repository-poll-secs=0.5"]
    if mode == "explicit":
        flags.append("--load-model=m")

    with started(repository, *flags) as (process, client):
        before = client.index()
        stub = health_pb2_grpc.HealthStub(client.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=REPOSITORY), timeout=60)
        assert next(watch).status == SERVING

        aside = repository.root.with_name("aside")
        repository.root.rename(aside)
        assert next(watch).status == NOT_SERVING
        process.wait_for_log("model repository cannot be listed")

        assert is_ready(client)
        assert health_of(client, "model/m") == SERVING
        assert client.infer(infer_request("m", DATA)).model_name == "m"
        assert client.index() == before

        aside.rename(repository.root)
        assert next(watch).status == SERVING
        process.wait_for_log("model repository can be listed again")
        assert client.index() == before
        watch.cancel()
        told = [line for line in process.lines if "model repository can" in line]
        assert len(told) == 2
