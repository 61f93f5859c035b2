"""What ModelStatistics counts, and when: spec/protocol.md 12."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import (
    Client,
    Message,
    WireServer,
    eventually,
    given,
    infer_request,
    invalid,
    serving,
)

DURATIONS = ("success", "queue", "compute_input", "compute_infer", "compute_output")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("idle", versions=(1, 3), extra="version_policy { all {} }")
    repository.identity("gone")
    with serving(repository) as server:
        with server.client() as client:
            client.unload("gone")
        yield server


def load(server: WireServer, client: Client, model: str, **kwargs: str) -> None:
    server.repository.identity(model, max_batch_size=8, parameters=kwargs)
    client.load(model)


def rows(model: str, count: int) -> Message:
    return infer_request(model, given("INPUT0", np.zeros((count, 2), "<f4")))


def counts(statistics: Message) -> dict[str, int]:
    inference = statistics.inference_stats
    return {
        field.name: getattr(inference, field.name).count
        for field in inference.DESCRIPTOR.fields
        if getattr(inference, field.name).count
    }


def named(client: Client, model: str = "", version: str = "") -> list[tuple[str, str]]:
    request = pb.ModelStatisticsRequest(name=model, version=version)
    answer = client.call("ModelStatistics", request)
    return [(one.name, one.version) for one in answer.model_stats]


def test_a_model_that_has_done_nothing_counts_nothing(client: Client) -> None:
    statistics = client.statistics("idle", "1")

    assert statistics.inference_count == 0
    assert statistics.execution_count == 0
    assert statistics.last_inference == 0
    assert counts(statistics) == {}
    assert not statistics.batch_stats


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        pytest.param("idle", "", [("idle", "1"), ("idle", "3")], id="all versions"),
        pytest.param("idle", "3", [("idle", "3")], id="one version"),
        pytest.param("idle", "1x", [("idle", "1")], id="one version, leniently"),
    ],
)
def test_versions_are_chosen(
    client: Client, model: str, version: str, expected: list[tuple[str, str]]
) -> None:
    assert named(client, model, version) == expected


@pytest.mark.parametrize("version", ["", "1", "99"])
def test_without_a_name_every_ready_version_of_every_model_comes(
    client: Client, version: str
) -> None:
    every = named(client, "", version)

    assert {("idle", "1"), ("idle", "3")} <= set(every)
    assert "gone" not in {model for model, _ in every}


@pytest.mark.parametrize(
    ("model", "version", "text"),
    [
        ("nowhere", "", "requested model 'nowhere' is not available"),
        ("nowhere", "1", "requested model 'nowhere' is not available"),
        ("gone", "", "requested model 'gone' is not available"),
        ("idle", "2", "requested model version is not available for model 'idle'"),
        (
            "idle",
            "abc",
            (
                "failed to get model version from specified version string 'abc' "
                "(details: stol), version should be an integral value > 0"
            ),
        ),
    ],
)
def test_statistics_of_what_does_not_serve_are_refused(
    client: Client, model: str, version: str, text: str
) -> None:
    request = pb.ModelStatisticsRequest(name=model, version=version)

    assert client.refusal("ModelStatistics", request) == invalid(text)


def test_a_success_counts_everywhere_before_its_answer_is_sent(
    server: WireServer, client: Client
) -> None:
    load(server, client, "good")
    for size in (1, 3, 3):
        client.infer(rows("good", size))

    statistics = client.statistics("good")

    assert statistics.inference_count == 7
    assert statistics.execution_count == 3
    assert counts(statistics) == dict.fromkeys(DURATIONS, 3)
    assert {
        batch.batch_size: (
            batch.compute_input.count,
            batch.compute_infer.count,
            batch.compute_output.count,
        )
        for batch in statistics.batch_stats
    } == {1: (1, 1, 1), 3: (2, 2, 2)}


def test_times_are_those_of_the_request(server: WireServer, client: Client) -> None:
    load(server, client, "timed", execute_delay_ms="50")
    client.infer(rows("timed", 1))

    statistics = client.statistics("timed")

    stats = statistics.inference_stats
    assert stats.compute_infer.ns >= 50_000_000
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert stats.success.ns >= sum(part.ns for part in parts)
    # Milliseconds since 1970, between the year of this test and the next century.
    assert 1_700_000_000_000 < statistics.last_inference < 4_102_444_800_000


def test_a_stream_counts_as_much(server: WireServer, client: Client) -> None:
    load(server, client, "streamed")
    client.exchange(rows("streamed", 2), rows("streamed", 1))

    statistics = client.statistics("streamed")

    assert (statistics.inference_count, statistics.execution_count) == (3, 2)
    assert counts(statistics) == dict.fromkeys(DURATIONS, 2)


def test_a_model_without_a_batch_dimension_counts_one(server: WireServer, client: Client) -> None:
    server.repository.identity("flat")
    client.load("flat")
    client.infer(infer_request("flat", given("INPUT0", np.zeros(5, "<f4"))))

    statistics = client.statistics("flat")

    assert statistics.inference_count == 1
    # Triton's batch size where there is no batch dimension is 1 in batch_stats.
    assert [batch.batch_size for batch in statistics.batch_stats] == [1]


def test_what_is_refused_before_the_queue_counts_nowhere(
    server: WireServer, client: Client
) -> None:
    load(server, client, "strict")
    client.infer_refusal(rows("strict", 9))
    client.infer_refusal(infer_request("strict"))
    client.infer_refusal(infer_request("strict", version="7"))

    statistics = client.statistics("strict")

    assert statistics.execution_count == 0
    assert counts(statistics) == {}


def test_a_failure_of_the_backend_counts_the_execution(server: WireServer, client: Client) -> None:
    server.repository.onnx(
        "failing", onnx_small.fails_on_odd_lengths(), outputs=[Port("FP32", (-1, 2), name="y")]
    )
    client.load("failing")
    client.infer(infer_request("failing", given("x", np.zeros(2, "<f4"))))
    client.infer_refusal(infer_request("failing", given("x", np.zeros(3, "<f4"))))

    statistics = client.statistics("failing")

    assert statistics.inference_count == 1
    assert statistics.execution_count == 2
    assert counts(statistics) == {**dict.fromkeys(DURATIONS, 1), "fail": 1}
    assert statistics.inference_stats.fail.ns > 0
    assert [batch.compute_infer.count for batch in statistics.batch_stats] == [2]


def arrived(client: Client, number: int) -> grpc.Future:
    """Start a request, and return once the server has taken in so many."""
    future: grpc.Future = client.start(rows("patient", 1))
    eventually(lambda: client.inside("patient") == number)
    return future


def test_a_request_that_is_cancelled_in_the_queue_is_a_failure(
    server: WireServer, client: Client
) -> None:
    load(server, client, "patient", execute_delay_ms="1500")
    running, waiting, last = (arrived(client, number) for number in (1, 2, 3))

    waiting.cancel()

    assert (running.code(), last.code()) == (grpc.StatusCode.OK, grpc.StatusCode.OK)
    statistics = client.statistics("patient")
    assert statistics.execution_count == 2
    assert counts(statistics) == {**dict.fromkeys(DURATIONS, 2), "fail": 1}


def test_statistics_start_anew_with_what_is_replaced(server: WireServer, client: Client) -> None:
    server.repository.onnx("replaced", onnx_small.add_constant(1))
    client.load("replaced")
    client.infer(infer_request("replaced", given("x", np.zeros(1, "<f4"))))
    server.repository.replace("replaced", "1/model.onnx", onnx_small.add_constant(2))

    client.load("replaced")

    assert client.statistics("replaced").inference_count == 0


def test_concurrent_requests_are_all_counted(server: WireServer, client: Client) -> None:
    load(server, client, "crowd")
    calls = [client.start(rows("crowd", 1)) for _ in range(200)]
    assert [call.code() for call in calls] == [grpc.StatusCode.OK] * 200

    eventually(lambda: client.statistics("crowd").inference_count == 200)
    assert counts(client.statistics("crowd")) == dict.fromkeys(DURATIONS, 200)
