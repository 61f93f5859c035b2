"""The instances of a model are changed under traffic, and no client notices."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from interlock.runtime.threads import spawn
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import (
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
)

CONTROL = "interlock.v1.Control"
CLIENTS = 6
WITHIN_S = 20.0
POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=1",
    "--repository-settle-secs=0.2",
)
LOADED = ("--model-control-mode=explicit", "--load-model=m")
WARMUP = """
    model_warmup { name: "w" batch_size: 1
      inputs { key: "INPUT0" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }"""


class Traffic:
    """Clients that ask without pause; `failures` stays empty where all is well."""

    def __init__(self, address: str) -> None:
        self.failures: list[str] = []
        self.sent = 0
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            spawn(f"client {number}", partial(self._ask, address, float(number)))
            for number in range(CLIENTS)
        ]

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, address: str, value: float) -> None:
        request = infer_request("m", given("INPUT0", np.full(1, value, "<f4")))
        with Client(address) as client:
            while not self._ending.is_set():
                try:
                    answer = float(arrays(client.infer(request))["OUTPUT0"][0])
                    problem = "" if answer == value else f"{answer} is not {value}"
                except grpc.RpcError as error:
                    problem = str(error)
                with self._lock:
                    self.sent += 1
                    self.failures += [problem] if problem else []


@contextmanager
def traffic(process: ServerProcess) -> Iterator[Traffic]:
    going = Traffic(process.address)
    try:
        yield going
    finally:
        going.end()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    repository = Repository(root)
    write(repository, 1)
    return repository


def write(
    repository: Repository, count: int, extra: str = "", *, versions: Sequence[int] = (1,)
) -> None:
    repository.identity(
        "m",
        instances=count,
        versions=versions,
        parameters={"execute_delay_ms": "5"},
        extra=f"{WARMUP}\n{extra}",
    )


def make_passive(repository: Repository) -> None:
    """Ask for an instance, and that it gets no requests: that cannot be had."""
    path = repository.root / "m" / "config.pbtxt"
    path.write_text(path.read_text().replace("kind: KIND_CPU", "kind: KIND_CPU passive: true"))


def ready(client: Client) -> set[int]:
    """Which versions serve."""
    return {int(version) for _, version, state, _ in client.index() if state == "READY"}


def instances(client: Client) -> int:
    """How many take requests, of the only generation that there ever was."""
    (only,) = client.generations("m")
    assert only.state.generation == 1
    return int(only.instances)


def configured(client: Client) -> int:
    answer: Any = client.call("ModelConfig", service_pb2.ModelConfigRequest(name="m"))
    return int(answer.config.instance_group[0].count)


def test_a_load_changes_the_instances_under_traffic(repository: Repository) -> None:
    with server_process(repository, *LOADED) as process:
        with Client(process.address) as client, traffic(process) as going:
            for count in (3, 1, 4, 2, 1):
                write(repository, count)
                client.load("m")
                assert (instances(client), configured(client)) == (count, count)
            before = going.sent
            eventually(lambda: going.sent > before + 20)

        assert going.failures == []
        with Client(process.address) as client:
            counted = client.statistics("m")
            # Those of the warm-up are counted too: one for each instance that was built.
            assert counted.inference_count == going.sent + 1 + 2 + 3
        assert process.terminate() == 0


def test_in_poll_mode_an_edit_is_enough(repository: Repository) -> None:
    with server_process(repository, *POLL) as process:
        with Client(process.address) as client, traffic(process) as going:
            for count in (3, 1):
                write(repository, count)
                eventually(lambda: instances(client) == count, within_s=WITHIN_S)  # noqa: B023
                assert configured(client) == count

        assert going.failures == []
        assert going.sent > 20
        assert process.terminate() == 0


@pytest.mark.parametrize("mode", [pytest.param(POLL, id="poll"), pytest.param(LOADED, id="load")])
def test_an_edit_of_the_policy_leaves_what_serves(
    repository: Repository, mode: Sequence[str]
) -> None:
    write(repository, 2, versions=(1, 2))
    with server_process(repository, *mode) as process:
        with Client(process.address) as client, traffic(process) as going:
            for policy, serving in (("all {}", {1, 2}), ("latest { num_versions: 1 }", {2})):
                write(repository, 2, f"version_policy: {{ {policy} }}", versions=(1, 2))
                if mode is LOADED:
                    client.load("m")
                eventually(lambda: ready(client) == serving, within_s=WITHIN_S)  # noqa: B023
            sent = going.sent
            eventually(lambda: going.sent > sent + 20)
            newest = [one.state for one in client.generations("m") if one.state.version == "2"]
            assert [one.generation for one in newest] == [1]

        assert going.failures == []
        assert process.terminate() == 0


def test_in_poll_mode_the_index_says_why_instances_are_as_before(repository: Repository) -> None:
    with server_process(repository, *POLL) as process:
        with Client(process.address) as client, traffic(process) as going:
            make_passive(repository)
            eventually(lambda: "is passive" in client.index()[0][3], within_s=WITHIN_S)
            assert client.index()[0][2] == "READY"
            assert (instances(client), configured(client)) == (1, 1)
            write(repository, 2)
            eventually(lambda: instances(client) == 2, within_s=WITHIN_S)
            assert client.index() == [("m", "1", "READY", "")]

        assert going.failures == []


def test_an_edit_without_a_meaning_changes_nothing(repository: Repository) -> None:
    with server_process(repository, *LOADED) as process:
        with Client(process.address) as client:
            fingerprint = client.generations("m")[0].fingerprint
            write(repository, 1, "# nothing but a remark")
            client.load("m")

            assert instances(client) == 1
            assert client.generations("m")[0].fingerprint != fingerprint
        assert "changed in place" not in process.log


def test_a_configuration_of_the_request_s_own_changes_instances(repository: Repository) -> None:
    override = {
        "backend": "identity",
        "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
        "parameters": {"execute_delay_ms": {"string_value": "5"}},
        "model_warmup": [
            {
                "name": "w",
                "batch_size": 1,
                "inputs": {"INPUT0": {"data_type": "TYPE_FP32", "dims": [1], "zero_data": True}},
            }
        ],
        "instance_group": [{"count": 5, "kind": "KIND_CPU"}],
    }
    with server_process(repository, *LOADED) as process:
        with Client(process.address) as client, traffic(process) as going:
            client.load("m", config=json.dumps(override))
            assert instances(client) == 5
            client.load("m")
            assert instances(client) == 5
            write(repository, 2)
            client.load("m")
            assert instances(client) == 2

        assert going.failures == []


def test_instances_that_cannot_be_had_leave_the_old_ones(repository: Repository) -> None:
    with server_process(repository, *LOADED) as process:
        with Client(process.address) as client, traffic(process) as going:
            make_passive(repository)
            code, text = client.load_refusal("m")

            assert code == "INVALID_ARGUMENT"
            assert text.startswith("load failed for model 'm': version 1 is at READY state: ")
            ((_, _, state, reason),) = client.index()
            assert state == "READY"
            assert reason in text
            assert (instances(client), configured(client)) == (1, 1)
            assert client.ready()
            write(repository, 2)
            client.load("m")
            assert client.index() == [("m", "1", "READY", "")]

        assert going.failures == []
