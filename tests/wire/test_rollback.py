"""Roll back, hold, drain with a limit, swap where memory is short: over the wire."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from interlock.cli.main import main
from interlock.pb import control_pb2 as pb
from tests.support import onnx_small
from tests.support.models import Port, Repository, parameter
from tests.support.server_process import ServerProcess
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
)

EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")
POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.3",
    "--repository-settle-secs=0.2",
)
HELD_AT_1 = (
    "held: rolled back to version 1, until the model's content changes, a load names the model or "
    "the hold is released"
)
FINE = 0
SHA256_DIGITS = 64
WITHIN_S = 20.0
SLOW_MS = 1500
MODEL_BYTES = 48 << 20


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    repository = Repository(root)
    repository.onnx("adder", onnx_small.add_constant(1.0))
    return repository


@contextmanager
def started(repository: Repository, *flags: str) -> Iterator[tuple[ServerProcess, Client]]:
    with server_process(repository, *flags) as process:
        with Client(process.address) as client:
            yield process, client
        assert process.terminate() == 0


def control(client: Client, method: str, **fields: Any) -> Any:
    call = client.channel.unary_unary(
        f"/interlock.v1.Control/{method}",
        getattr(pb, f"{method}Request").SerializeToString,
        getattr(pb, f"{method}Response").FromString,
    )
    return call(getattr(pb, f"{method}Request")(model="adder", **fields), timeout=TIMEOUT_S)


def refusal(client: Client, method: str, **fields: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        control(client, method, **fields)
    error: Any = caught.value
    return error.code().name, error.details()


def answer_of(client: Client, version: str = "") -> float:
    request = infer_request("adder", given("x", np.zeros(1, "<f4")), version=version)
    return float(arrays(client.infer(request))["y"][0])


@contextmanager
def asking(client: Client) -> Iterator[list[float]]:
    """Ask without pause in another thread; yield the answers, and fail if a request does."""
    answers: list[float] = []
    over = Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(answer_of(client))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            yield answers
        finally:
            over.set()
        asked.result()


def publish(repository: Repository, version: int, constant: float) -> None:
    repository.replace("adder", f"{version}/model.onnx", onnx_small.add_constant(constant))


def a_later_change_is_seen(repository: Repository, client: Client) -> None:
    """Wait until the poller has acted upon what came after all that is there now."""
    repository.identity("later")
    eventually(lambda: client.model_ready("later"), within_s=WITHIN_S)


def content_is_known(client: Client, version: str) -> None:
    """Wait until a version's files have been read, which tells a touch from a change."""

    def is_known() -> bool:
        versions = control(client, "Describe").versions
        (found,) = (one for one in versions if one.version == version)
        return len(found.generations[-1].digest) == SHA256_DIGITS

    eventually(is_known, within_s=WITHIN_S)


def rows(client: Client) -> list[tuple[str, str, str]]:
    return [row[1:] for row in client.index() if row[0] == "adder"]


def test_a_rollback_within_the_window_is_one_step_and_a_hold(repository: Repository) -> None:
    with started(repository, *EXPLICIT, "--rollback-window-secs=600") as (process, client):
        publish(repository, 1, 2.0)  # the old file is gone, what it made is still loaded
        client.load("adder")
        assert answer_of(client) == 2.0

        done = control(client, "Rollback")

        assert (list(done.versions), done.was_warm, done.hold) == (["1"], True, HELD_AT_1)
        assert answer_of(client) == 1.0
        assert rows(client) == [("1", "READY", HELD_AT_1)]
        assert control(client, "Describe").hold == HELD_AT_1
        plan = control(client, "Plan")
        assert plan.hold == HELD_AT_1
        assert [(step.generation, step.effect) for step in plan.steps] == [
            (1, pb.PlanResponse.EFFECT_STAND_BY),
            (2, pb.PlanResponse.EFFECT_KEEP),
        ]
        process.wait_for_log("model held, until this process ends at the latest")
        code, text = refusal(client, "Rollback")
        assert code == "INVALID_ARGUMENT"
        assert "it is rolled back already" in text

        client.load("adder")  # names the model: the hold is over
        assert answer_of(client) == 2.0
        assert rows(client) == [("1", "READY", "")]


def test_no_request_fails_while_a_model_goes_back_and_forth(repository: Repository) -> None:
    with started(repository, *EXPLICIT, "--rollback-window-secs=600") as (process, client):
        publish(repository, 2, 2.0)
        client.load("adder")
        with asking(client) as answers:
            for _ in range(5):
                assert main(["rollback", "adder", f"--server={process.address}"]) == FINE
                assert answer_of(client) == 1.0
                client.load("adder")
                assert answer_of(client) == 2.0
    assert set(answers) == {1.0, 2.0}


def test_the_command_line_rolls_back_and_releases(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(repository, *EXPLICIT) as (process, client):
        publish(repository, 2, 2.0)
        client.load("adder")
        server = f"--server={process.address}"

        assert main(["rollback", "adder", "7", server]) != FINE
        assert "no other content of version 7 has served" in capsys.readouterr().err
        assert main(["rollback", "adder", "1", server]) == FINE
        assert capsys.readouterr().out == (
            f"rolled back adder to version 1: its files were loaded again\n{HELD_AT_1}\n"
        )
        assert answer_of(client) == 1.0
        assert main(["describe", "adder", server]) == FINE
        assert HELD_AT_1 in capsys.readouterr().out
        assert main(["rollback", "adder", "--release", server]) == FINE
        assert capsys.readouterr().out == "released adder\n"
        assert rows(client)[0] == ("1", "READY", "")


def test_a_release_ends_a_hold_and_what_serves_goes_on(repository: Repository) -> None:
    with started(repository, *EXPLICIT, "--rollback-window-secs=600") as (_, client):
        publish(repository, 2, 2.0)
        client.load("adder")
        control(client, "Rollback")

        control(client, "Rollback", release=True)

        assert answer_of(client) == 1.0
        assert rows(client)[0] == ("1", "READY", "")
        assert refusal(client, "Rollback", release=True) == (
            "INVALID_ARGUMENT",
            "failed to release model 'adder': it is not held",
        )


def test_when_the_window_is_over_what_was_replaced_goes(repository: Repository) -> None:
    with started(repository, *EXPLICIT, "--rollback-window-secs=0.5") as (_, client):
        publish(repository, 2, 2.0)
        client.load("adder")
        assert rows(client)[0][:2] == ("1", "UNLOADING")

        eventually(lambda: rows(client)[0] == ("1", "UNAVAILABLE", "unloaded"))

        story = control(client, "History", version="1").transitions
        assert pb.PHASE_STANDBY in {move.to for move in story}
        assert answer_of(client) == 2.0


def test_without_a_window_a_rollback_loads_what_is_there(repository: Repository) -> None:
    with started(repository, *EXPLICIT) as (_, client):
        publish(repository, 2, 2.0)
        client.load("adder")
        assert answer_of(client) == 2.0

        done = control(client, "Rollback", version="1")

        assert (list(done.versions), done.was_warm) == (["1"], False)
        assert answer_of(client) == 1.0
        assert rows(client)[0] == ("1", "READY", HELD_AT_1)


def test_without_a_window_what_was_overwritten_cannot_come_back(repository: Repository) -> None:
    with started(repository, *EXPLICIT) as (_, client):
        assert refusal(client, "Rollback") == (
            "INVALID_ARGUMENT",
            "failed to roll back model 'adder': nothing served before what serves now",
        )
        publish(repository, 1, 2.0)
        client.load("adder")
        eventually(lambda: all(row[1] == "READY" for row in rows(client)))

        code, text = refusal(client, "Rollback")

        assert code == "INVALID_ARGUMENT"
        assert "have changed since or are gone; --rollback-window-secs keeps" in text
        assert answer_of(client) == 2.0
        assert rows(client) == [("1", "READY", "")]


def test_in_poll_mode_a_hold_stays_until_the_content_changes(repository: Repository) -> None:
    with started(repository, *POLL, "--rollback-window-secs=600") as (_, client):
        publish(repository, 2, 2.0)
        eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)

        content_is_known(client, "2")
        control(client, "Rollback")
        (repository.root / "adder" / "2" / "model.onnx").touch()  # no change of content
        a_later_change_is_seen(repository, client)
        assert answer_of(client) == 1.0
        assert rows(client)[0] == ("1", "READY", HELD_AT_1)

        publish(repository, 2, 3.0)
        eventually(lambda: answer_of(client) == 3.0, within_s=WITHIN_S)
        assert all("held" not in reason for _, _, reason in rows(client))


def test_in_poll_mode_a_release_serves_what_the_repository_has(repository: Repository) -> None:
    with started(repository, *POLL) as (_, client):
        publish(repository, 2, 2.0)
        eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)
        control(client, "Rollback")
        assert answer_of(client) == 1.0

        control(client, "Rollback", release=True)

        assert answer_of(client) == 2.0


def test_in_poll_mode_clients_load_and_unload_where_that_is_allowed(
    repository: Repository,
) -> None:
    with started(repository, *POLL, "--allow-explicit-control") as (_, client):
        publish(repository, 2, 2.0)
        client.load("adder")  # looks now, and waits until the version lies still
        assert answer_of(client) == 2.0

        client.unload("adder")
        publish(repository, 2, 3.0)
        a_later_change_is_seen(repository, client)
        assert not client.model_ready("adder")
        held = "held: unloaded on request, until a load names the model or the hold is released"
        eventually(lambda: ("2", "UNAVAILABLE", f"unloaded; {held}") in rows(client))
        assert control(client, "Describe").hold == held

        client.load("adder")
        assert answer_of(client) == 3.0
        assert client.load_refusal("adder", config="{}").text == (
            "load parameter 'config' is not taken in model control mode poll: the server serves "
            "what the repository has; change it there"
        )
        assert client.load_refusal("nobody").text.startswith(
            "failed to load 'nobody', failed to poll from model repository: model not found"
        )


def test_in_poll_mode_a_load_tries_again_what_failed(repository: Repository) -> None:
    with started(repository, *POLL, "--allow-explicit-control") as (process, client):
        repository.replace("adder", "2/model.onnx", b"not a model")
        eventually(lambda: answer_of(client) == 1.0 and len(rows(client)) > 1, within_s=WITHIN_S)
        eventually(lambda: rows(client)[1][1] == "UNAVAILABLE", within_s=WITHIN_S)
        failures = process.log.count("to=failed")

        told = client.load_refusal("adder")

        assert told.code == "INVALID_ARGUMENT"
        assert told.text.startswith("load failed for model 'adder': version 2 is at UNAVAILABLE")
        assert process.log.count("to=failed") == failures + 1
        assert answer_of(client) == 1.0


def test_room_is_made_first_and_what_made_it_comes_back(repository: Repository) -> None:
    repository.onnx(
        "adder", onnx_small.add_constant(1.0), extra=parameter("swap_policy", "resource_preserving")
    )
    with started(repository, *EXPLICIT, "--rollback-window-secs=600") as (process, client):
        repository.replace("adder", "2/model.onnx", b"not a model")

        told = client.load_refusal("adder")

        assert told.text.startswith("load failed for model 'adder': version 2 is at UNAVAILABLE")
        assert answer_of(client) == 1.0
        story = [move.to for move in control(client, "History", version="1").transitions]
        assert story[-4:] == [
            pb.PHASE_UNLOADED,
            pb.PHASE_LOADING,
            pb.PHASE_PROVING,
            pb.PHASE_READY,
        ]
        publish(repository, 2, 2.0)
        client.load("adder")
        assert answer_of(client) == 2.0
        lines = [line for line in process.lines if "adder" in line and "to=" in line]
        last_unload = max(i for i, line in enumerate(lines) if "to=unloaded" in line)
        last_load = max(i for i, line in enumerate(lines) if "to=loading" in line)
        assert last_unload < last_load


def test_an_unload_that_waits_says_what_it_gave_back(repository: Repository) -> None:
    with started(repository, *EXPLICIT) as (process, client):
        told = client.unload_and_wait("adder")

        line = process.wait_for_log("successfully unloaded 'adder' version 1.*")[0]
        logged = re.search(r"freed_bytes=(\d+)", line)
        assert logged is not None
        assert int(logged[1]) == told
        assert "resident_bytes=" in line


def test_what_a_model_took_goes_back_to_the_system(tmp_path: Path) -> None:
    count = MODEL_BYTES // 4
    repository = Repository(tmp_path)
    port = [Port(dims=(count,), name="x")], [Port(dims=(count,), name="y")]
    repository.onnx("large", onnx_small.add_weights(count), inputs=port[0], outputs=port[1])
    with started(repository, *EXPLICIT) as (process, client):
        client.unload_and_wait("large")  # what the runtime keeps for good is there from here on
        level = process.memory_bytes()
        for _ in range(3):
            client.load("large")
            assert process.memory_bytes() - level > MODEL_BYTES * 0.75

            freed = client.unload_and_wait("large")

            assert freed > MODEL_BYTES * 0.75
            assert process.memory_bytes() - level < MODEL_BYTES * 0.25


def test_after_the_drain_timeout_what_waits_is_refused_and_what_runs_is_answered(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path)
    repository.identity("slow", parameters={"execute_delay_ms": str(SLOW_MS)})
    with started(repository, *EXPLICIT, "--drain-timeout-secs=0.3") as (process, client):
        request = infer_request("slow", given("INPUT0", np.zeros(1, "<f4")))
        running = client.start(request)
        eventually(lambda: client.inside("slow") == 1)
        waiting = [client.start(request) for _ in range(3)]
        eventually(lambda: client.inside("slow") == 4)

        client.unload("slow")

        with ThreadPoolExecutor() as pool:
            errors = list(pool.map(lambda call: call.exception(TIMEOUT_S), waiting))
        assert {error.code().name for error in errors} == {"UNAVAILABLE"}
        text = (
            "version 1 of model 'slow' was taken down, and the request had not begun to run "
            "within its drain timeout of 0.3 s; send it again"
        )
        assert {error.details() for error in errors} == {text}
        assert not running.done()
        assert arrays(running.result(TIMEOUT_S))["OUTPUT0"].shape == (1,)
        process.wait_for_log("drain timeout has passed.*left=4")
        process.wait_for_log("successfully unloaded 'slow' version 1")
