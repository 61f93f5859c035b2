"""Stopping in the middle of traffic: spec/protocol.md 18."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.server_process import STARTED, ServerProcess, command
from tests.support.wire import (
    SERVICE,
    TIMEOUT_S,
    Client,
    Message,
    Refusal,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
    transport_flags,
    unavailable,
)

DRAINING = "GRPC server is shutting down and has stopped accepting new requests."
SLOW_S = 1.5
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def request(model: str, number: int) -> Message:
    return infer_request(model, given("INPUT0", np.array([number], "<f4")), id=str(number))


def number_in(response: Message) -> int:
    (value,) = arrays(response)["OUTPUT0"]
    return int(value)


@contextmanager
def running(
    tmp_path: Path, *flags: str, slow_s: float = SLOW_S
) -> Iterator[tuple[ServerProcess, Client]]:
    repository = Repository(tmp_path)
    repository.identity("fast")
    delay = {"execute_delay_ms": f"{slow_s * 1000:.0f}"}
    repository.identity("slow", parameters=delay, instances=4)
    with server_process(repository, *flags) as process, Client(process.address) as client:
        yield process, client


def ask(client: Client) -> Refusal | None:
    """How a new request is refused; None where it is served."""
    try:
        client.infer(request("fast", 0))
    except grpc.RpcError as error:
        return Refusal(error.code().name, error.details())
    return None


def let_arrive(client: Client, number: int = 1) -> None:
    """Wait until the server has taken in so many requests that are slow."""
    eventually(lambda: client.inside("slow") == number)


def watch(client: Client) -> Message:
    stub = health_pb2_grpc.HealthStub(client.channel)
    return stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_what_was_accepted_finishes_and_what_comes_late_is_refused(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path) as (process, client):
        idle, busy = client.stream(), client.stream()
        for stream in (idle, busy):
            stream.send(request("fast", 1))
            assert number_in(stream.next().infer_response) == 1
        calls = [client.start(request("slow", 2)) for _ in range(2)]
        busy.send(request("slow", 3), request("fast", 4))
        let_arrive(client, 3)
        eventually(lambda: client.statistics("fast").inference_count == 3)

        process.send_signal(number)
        eventually(lambda: ask(client) == unavailable(DRAINING))
        busy.send(request("fast", 5))

        assert [number_in(call.result()) for call in calls] == [2, 2]
        answers = [busy.next() for _ in range(3)]
        assert [number_in(answer.infer_response) for answer in answers[:2]] == [3, 4]
        assert answers[2].error_message == DRAINING
        assert answers[2].infer_response == pb.ModelInferResponse(id="5")
        assert idle.end() == unavailable(DRAINING)
        assert busy.end() == unavailable(DRAINING)
        assert process.wait_for_exit() == 0
        refusal = ask(client)
        assert refusal is not None
        assert refusal.code == "UNAVAILABLE"


def test_health_says_that_it_is_over(tmp_path: Path) -> None:
    with running(tmp_path) as (process, client):
        statuses = watch(client)
        assert next(statuses).status == SERVING
        call = client.start(request("slow", 1))
        let_arrive(client)

        process.send_signal(signal.SIGTERM)

        assert next(statuses).status == NOT_SERVING
        eventually(lambda: ask(client) is not None)
        exiting = unavailable("Server exiting")
        assert client.refusal("ServerLive", pb.ServerLiveRequest()) == exiting
        assert client.refusal("ServerReady", pb.ServerReadyRequest()) == exiting
        assert number_in(call.result()) == 1
        assert process.wait_for_exit() == 0


def test_a_server_with_nothing_to_do_stops_at_once(tmp_path: Path) -> None:
    budget_s = 30
    with running(tmp_path, f"--exit-timeout-secs={budget_s}") as (process, client):
        watchers = [watch(client) for _ in range(3)]
        streams = [client.stream() for _ in range(3)]
        for stream in streams:
            stream.send(request("fast", 1))
            stream.next()
        assert [next(watcher).status for watcher in watchers] == [SERVING] * 3
        began = time.monotonic()

        assert process.terminate() == 0

        # Waiting for them to end by themselves would take most of it.
        assert time.monotonic() - began < budget_s / 2
        assert [stream.end() for stream in streams] == [unavailable(DRAINING)] * 3


def test_a_request_past_the_budget_costs_the_exit_code(tmp_path: Path) -> None:
    slow_s = 20
    with running(tmp_path, "--exit-timeout-secs=1", slow_s=slow_s) as (process, client):
        call = client.start(request("slow", 1))
        let_arrive(client)
        began = time.monotonic()

        assert process.terminate() == 1

        assert 0.9 < time.monotonic() - began < slow_s
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert "Exit timeout expired. Exiting immediately." in process.log


@contextmanager
def without_a_message(client: Client, method: str) -> Iterator[grpc.Future]:
    """A unary call that never sends its message."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(TIMEOUT_S)
        yield from ()

    call = client.channel.stream_unary(f"/{SERVICE}/{method}").future(nothing())
    try:
        yield call
    finally:
        call.cancel()
        over.set()


@pytest.mark.parametrize("method", ["ModelInfer", "ServerMetadata"])
def test_a_call_that_never_sends_its_message_does_not_cost_the_exit_code(
    tmp_path: Path, method: str
) -> None:
    """What is left to such calls leaves time enough to unload: a quarter of what there is."""
    with (
        running(tmp_path, "--exit-timeout-secs=8") as (process, client),
        without_a_message(client, method) as call,
    ):
        assert ask(client) is None  # which has come after it on the same connection

        assert process.terminate() == 0, process.log

        assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_goes_on_sending_does_not_hold_it_up(tmp_path: Path) -> None:
    budget_s = 30
    with running(tmp_path, f"--exit-timeout-secs={budget_s}") as (process, client):
        over = threading.Event()

        def without_end() -> Iterator[Message]:
            while not over.wait(0.001):
                yield request("fast", 1)

        answers = client.stub.ModelStreamInfer(without_end(), timeout=TIMEOUT_S)
        next(answers)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:
            for _ in answers:
                pass
        over.set()

        assert process.wait_for_exit() == 0
        assert time.monotonic() - began < budget_s / 2
        assert ended.value.details() == DRAINING


def test_the_shutdown_delay_is_normal_service_that_health_denies(tmp_path: Path) -> None:
    with running(tmp_path, "--shutdown-delay-secs=2") as (process, client):
        statuses = watch(client)
        assert next(statuses).status == SERVING
        began = time.monotonic()

        process.send_signal(signal.SIGTERM)
        assert next(statuses).status == NOT_SERVING

        served = 0
        while (refusal := ask(client)) is None:
            served += 1
        assert time.monotonic() - began > 1.9
        assert served > 10
        assert refusal.code == "UNAVAILABLE"
        assert process.wait_for_exit() == 0


def test_further_signals_change_nothing(tmp_path: Path) -> None:
    """However soon they come: one handler may interrupt the other."""
    with running(tmp_path) as (process, client):
        call = client.start(request("slow", 7))
        let_arrive(client)

        for _ in range(50):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)

        assert number_in(call.result()) == 7
        assert process.wait_for_exit() == 0


def test_it_stops_well_where_nobody_reads_its_log_any_more(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.identity("fast")
    repository.identity("slow", parameters={"execute_delay_ms": f"{SLOW_S * 1000:.0f}"})
    arguments = [*command(), f"--model-repository={repository.root}", *transport_flags()]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = (re.search(STARTED, line) for line in process.stderr)
        address = next(match[1] for match in found if match)
        process.stderr.close()
        with Client(address) as client:
            call = client.start(request("slow", 7))
            let_arrive(client)

            process.send_signal(signal.SIGTERM)

            assert number_in(call.result()) == 7
            assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_requests_that_wait_for_an_instance_are_finished_too(tmp_path: Path) -> None:
    with running(tmp_path, slow_s=0.2) as (process, client):
        calls = [client.start(request("slow", index)) for index in range(20)]
        eventually(lambda: sum(call.done() for call in calls) + client.inside("slow") == 20)

        process.send_signal(signal.SIGTERM)

        assert [number_in(call.result()) for call in calls] == list(range(20))
        assert process.wait_for_exit() == 0


def test_a_stop_during_the_first_loads_ends_well(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.identity("slow", parameters={"creation_delay_sec": "1"})

    with server_process(repository, wait_for=r"Listening on (\S+:\d+)") as process:
        assert process.terminate() == 0


def test_a_drain_wins_over_a_missing_header(tmp_path: Path) -> None:
    with running(tmp_path, "--grpc-restricted-protocol=inference:key=value") as (process, _):
        header = [("triton-grpc-protocol-key", "value")]
        with Client(process.address, metadata=header) as client, Client(process.address) as other:
            call = client.start(request("slow", 1))
            let_arrive(client)
            assert ask(other) == unavailable(
                "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
            )

            process.send_signal(signal.SIGTERM)
            eventually(lambda: ask(client) == unavailable(DRAINING))

            assert ask(other) == unavailable(DRAINING)
            assert number_in(call.result()) == 1
            assert process.wait_for_exit() == 0
