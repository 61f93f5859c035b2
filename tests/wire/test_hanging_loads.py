"""Loads that never return, or not in time: nobody else is held up, and the reason is told."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.support.models import Repository
from tests.support.server_process import LISTENING, ServerProcess
from tests.support.wire import (
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    load_request,
    server_process,
)

EXPLICIT = ("--model-control-mode=explicit", "--load-model=other")
CUT_OFF = ("--model-load-timeout-secs=1.5", "--model-load-thread-count=1")
HANGS = {"creation_delay_sec": "3600"}
WARM_UP = """
    model_warmup { name: "one" batch_size: 1 inputs { key: "INPUT0" value {
      data_type: TYPE_FP32 dims: [1] zero_data: true } } }"""
GIVEN_UP = re.compile(
    r"Unavailable: load given up after [\d.]+ s, of which (loading|warming) [\d.]+ s: "
    r"it may take no longer than --model-load-timeout-secs=1\.5"
)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    repository = Repository(root)
    repository.identity("other")
    return repository


@pytest.fixture
def process(repository: Repository) -> Iterator[ServerProcess]:
    """A server with one thread that loads, and little patience."""
    with server_process(repository, *EXPLICIT, *CUT_OFF) as process:
        yield process


@pytest.fixture
def client(process: ServerProcess) -> Iterator[Client]:
    with Client(process.address) as client:
        yield client


def answer_of(client: Client, model: str) -> float:
    request = infer_request(model, given("INPUT0", np.ones(1, "<f4")))
    return float(arrays(client.infer(request))["OUTPUT0"][0])


def rows(client: Client, model: str) -> list[tuple[str, str, str]]:
    return [row[1:] for row in client.index() if row[0] == model]


def test_a_load_that_hangs_is_cut_off_and_says_where(
    repository: Repository, client: Client, process: ServerProcess
) -> None:
    repository.identity("hangs", parameters=HANGS)

    code, text = client.load_refusal("hangs")

    assert code == "INVALID_ARGUMENT"
    assert text.startswith("load failed for model 'hangs': version 1 is at UNAVAILABLE state: ")
    found = GIVEN_UP.search(text)
    assert found is not None, text
    assert found[1] == "loading"
    assert rows(client, "hangs") == [("1", "UNAVAILABLE", found[0])]
    # The one thread that loads hangs, and another has taken its place.
    repository.identity("next")
    client.load("next")
    assert answer_of(client, "next") == 1.0
    assert answer_of(client, "other") == 1.0
    # The server does not wait for what it has written off.
    began = time.monotonic()
    assert process.terminate() == 0, process.log
    assert time.monotonic() - began < 15
    assert "load written off" in process.log


def test_a_warm_up_that_hangs_is_cut_off_and_says_so(
    repository: Repository, client: Client, process: ServerProcess
) -> None:
    repository.identity("warms", parameters={"execute_delay_ms": "3600000"}, extra=WARM_UP)

    _, text = client.load_refusal("warms")

    found = GIVEN_UP.search(text)
    assert found is not None, text
    assert found[1] == "warming"
    assert process.terminate() == 0, process.log


def test_a_successor_that_hangs_leaves_the_old_version_serving(
    repository: Repository, client: Client
) -> None:
    repository.identity("other", parameters=HANGS)

    _, text = client.load_refusal("other")

    assert GIVEN_UP.search(text)
    assert answer_of(client, "other") == 1.0
    ((_, state, reason),) = rows(client, "other")
    assert state == "READY"
    assert GIVEN_UP.fullmatch(reason)


def test_what_is_built_after_all_is_thrown_away(
    repository: Repository, client: Client, process: ServerProcess
) -> None:
    repository.identity("late", parameters={"creation_delay_sec": "3"})
    assert GIVEN_UP.search(client.load_refusal("late").text)

    process.wait_for_log(r"a load that was written off has ended after all.*")

    assert "loaded, thrown away" in process.log
    ((_, state, reason),) = rows(client, "late")
    assert state == "UNAVAILABLE"
    assert GIVEN_UP.fullmatch(reason)
    repository.identity("late")
    client.load("late")
    assert answer_of(client, "late") == 1.0
    client.unload("late")
    assert process.terminate() == 0, process.log


def test_in_poll_mode_what_hangs_holds_up_nobody(repository: Repository) -> None:
    repository.identity("hangs", parameters=HANGS)
    flags = (
        "--model-control-mode=poll",
        "--repository-poll-secs=1",
        "--repository-settle-secs=0.2",
        "--exit-on-error=false",
        *CUT_OFF,
    )
    with (
        server_process(repository, *flags) as process,
        Client(process.address) as client,
    ):
        assert answer_of(client, "other") == 1.0
        assert GIVEN_UP.fullmatch(rows(client, "hangs")[0][2])

        repository.identity("comes")

        eventually(lambda: client.model_ready("comes"), within_s=20)
        assert process.terminate() == 0, process.log


def test_a_stop_does_not_wait_longer_than_it_may_for_a_load_that_hangs(
    repository: Repository,
) -> None:
    repository.identity("hangs", parameters=HANGS)
    flags = (*EXPLICIT, "--exit-timeout-secs=2")
    with server_process(repository, *flags) as process, Client(process.address) as client:
        loading = client.stub.RepositoryModelLoad.future(load_request("hangs"), timeout=60)
        eventually(lambda: rows(client, "hangs") == [("1", "LOADING", "")])

        began = time.monotonic()
        process.send_signal(signal.SIGTERM)

        assert process.wait_for_exit() == 1
        assert time.monotonic() - began < 12
        assert "Exit timeout expired. Exiting immediately." in process.log
        assert "hangs" in process.log
        assert loading.code() is not grpc.StatusCode.OK


def test_a_stop_while_the_first_load_hangs_ends_in_time(repository: Repository) -> None:
    repository.identity("hangs", parameters=HANGS)
    with server_process(repository, "--exit-timeout-secs=1", wait_for=LISTENING) as process:
        process.wait_for_log("to=loading")
        began = time.monotonic()

        assert process.terminate() == 1
        assert time.monotonic() - began < 12
