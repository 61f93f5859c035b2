"""interlock.v1.Control over the wire, and the verbs on top of it."""

import json
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from threading import Thread
from typing import Any

import grpc
import pytest

from interlock.pb import control_pb2 as pb
from tests.support.models import Repository
from tests.support.wire import TIMEOUT_S, Client, WireServer, server_process, serving

CONTROL = "interlock.v1.Control"
TWO_VERSIONS = "version_policy { all {} }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("first")
    with serving(repository) as server:
        yield server


@pytest.fixture
def repository(server: WireServer) -> Repository:
    return server.repository


def ask(client: Client, method: str, **fields: str) -> Any:
    """Call History or Describe."""
    call = client.channel.unary_unary(
        f"/{CONTROL}/{method}",
        getattr(pb, f"{method}Request").SerializeToString,
        getattr(pb, f"{method}Response").FromString,
    )
    return call(getattr(pb, f"{method}Request")(**fields), timeout=TIMEOUT_S)


def watch(client: Client, model: str = "") -> Any:
    call = client.channel.unary_stream(
        f"/{CONTROL}/Watch",
        pb.WatchRequest.SerializeToString,
        pb.WatchResponse.FromString,
    )
    return call(pb.WatchRequest(model=model), timeout=TIMEOUT_S)


def moves(stream: Any, last: int) -> list[str]:
    """Take moves up to the one to `last`; return where each went."""
    seen = []
    for message in stream:
        seen.append(pb.Phase.Name(message.transition.to).removeprefix("PHASE_"))
        if message.transition.to == last:
            break
    return seen


def test_a_watch_sees_a_model_come_and_go(repository: Repository, client: Client) -> None:
    repository.identity("watched")
    stream = watch(client, "watched")
    assert not next(stream).snapshot.versions

    client.load("watched")
    assert moves(stream, pb.PHASE_READY) == ["LOADING", "PROVING", "READY"]
    client.unload("watched")
    assert moves(stream, pb.PHASE_UNLOADED) == ["DRAINING", "UNLOADING", "UNLOADED"]

    stream.cancel()


def test_a_watch_begins_with_what_is(repository: Repository, client: Client) -> None:
    repository.identity("shown", versions=(1, 2), extra=TWO_VERSIONS)
    client.load("shown")

    stream = watch(client, "shown")
    states = next(stream).snapshot.versions
    stream.cancel()

    assert [(one.version, one.phase, one.state, one.generation) for one in states] == [
        ("1", pb.PHASE_READY, "READY", 1),
        ("2", pb.PHASE_READY, "READY", 1),
    ]
    assert all(one.HasField("since") for one in states)


def test_history_outlives_the_version(repository: Repository, client: Client) -> None:
    repository.identity("past")
    client.load("past")
    client.unload("past")

    history = ask(client, "History", model="past", version="1").transitions

    assert [one.to for one in history[:4]] == [
        pb.PHASE_LOADING,
        pb.PHASE_PROVING,
        pb.PHASE_READY,
        pb.PHASE_DRAINING,
    ]
    times = [one.time.ToNanoseconds() for one in history]
    assert times == sorted(times)


def test_describe_says_why_a_version_is_not_loaded(repository: Repository, client: Client) -> None:
    repository.identity("partial", versions=(1, 2))
    before = ask(client, "Describe", model="partial")
    client.load("partial")

    after = ask(client, "Describe", model="partial")

    assert [one.why_not_ready for one in before.versions] == [
        "the version policy (latest 1) does not select it",
        "nothing has asked to load it since its files came",
    ]
    assert [one.why_not_ready for one in after.versions] == [before.versions[0].why_not_ready, ""]
    assert after.config_path.endswith("partial/config.pbtxt")


def test_a_plan_says_what_a_load_would_do_and_does_nothing(
    repository: Repository, client: Client
) -> None:
    repository.identity("planned")
    client.load("planned")
    repository.identity("planned", versions=(1, 2))

    steps = ask(client, "Plan", model="planned").steps

    assert [(one.version, one.effect, one.reason) for one in steps] == [
        ("1", pb.PlanResponse.EFFECT_UNLOAD, "no longer asked for"),
        ("2", pb.PlanResponse.EFFECT_LOAD, "it does not serve"),
    ]
    assert not client.model_ready("planned", "2")


@pytest.mark.parametrize("method", ["History", "Describe"])
def test_what_nobody_knows_is_not_found(client: Client, method: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(client, method, model="nobody")

    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watch_ends_with_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("m")
    with server_process(repository) as process, Client(process.address) as client:
        stream = watch(client)
        next(stream)

        assert process.terminate() == 0

        with pytest.raises(grpc.RpcError) as ended:
            list(stream)
    assert (ended.value.code(), ended.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "Server exiting",
    )


def test_the_verb_prints_moves_until_it_is_interrupted(
    server: WireServer, repository: Repository, client: Client
) -> None:
    repository.identity("printed")
    words = ("watch", "printed", "-o=json", f"--server={server.address}")
    client.load("printed")
    command = [sys.executable, "-m", "interlock", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: queue.Queue[str] = queue.Queue()
            stdout = process.stdout
            reader = Thread(target=lambda: deque(map(lines.put, stdout), maxlen=0), daemon=True)
            reader.start()
            first = json.loads(lines.get(timeout=TIMEOUT_S))
            client.unload("printed")
            second = json.loads(lines.get(timeout=TIMEOUT_S))
            process.send_signal(signal.SIGINT)

            assert process.wait(TIMEOUT_S) == 0
            reader.join(TIMEOUT_S)
        finally:
            process.kill()
    assert (first["event"], first["phase"]) == ("state", "ready")
    assert (second["event"], second["from"], second["to"]) == ("transition", "ready", "draining")
