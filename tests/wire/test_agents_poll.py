"""Repository agents where the server follows the repository by itself, and after a rollback."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.pb import control_pb2 as pb
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
)

POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.3",
    "--repository-settle-secs=0.2",
    "--allow-explicit-control",
)
WITHIN_S = 20.0
AGENT = """\
from pathlib import Path

from interlock_agents.api import Action, AgentError, RepositoryAgent


class Agent(RepositoryAgent):
    '''Refuses what is forbidden, and tells what it hears.'''

    def act(self, action, model):
        with (Path(__file__).parent / "story.txt").open("a") as story:
            story.write(f"{model.name} {list(model.versions)} {action.value}\\n")
        forbidden = Path(__file__).parent / "forbidden.txt"
        if action is Action.LOAD and forbidden.exists():
            raise AgentError("forbidden for now")
"""
LISTENER = 'model_repository_agents { agents [ { name: "listener" } ] }'


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    (folder / "listener").mkdir(parents=True)
    (folder / "listener" / "agent.py").write_text(AGENT)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "models"
    root.mkdir()
    return Repository(root)


@pytest.fixture
def client(repository: Repository, agents: Path) -> Iterator[Client]:
    flags = (*POLL, f"--repoagent-directory={agents}")
    with server_process(repository, *flags) as process:
        with Client(process.address) as client:
            yield client
        assert process.terminate() == 0


def comes_true(holds: Callable[[], bool]) -> None:
    eventually(holds, within_s=WITHIN_S)


def put(repository: Repository, constant: float, *, checksum_of: float | None = None) -> None:
    """Write `adder` and the checksum of what adds this or another constant."""
    right = onnx_small.add_constant(constant if checksum_of is None else checksum_of)
    digest = hashlib.sha256(right).hexdigest()
    parameter = f'parameters {{ key: "SHA256:1/model.onnx" value: "{digest}" }}'
    text = f'model_repository_agents {{ agents [ {{ name: "checksum" {parameter} }} ] }}'
    repository.onnx("adder", onnx_small.add_constant(constant), extra=text)


def answer(client: Client, version: str = "") -> float:
    request = infer_request("adder", given("x", np.zeros(1, "<f4")), version=version)
    return float(arrays(client.infer(request))["y"][0])


def reason(client: Client, version: str = "1") -> str:
    rows = [row for row in client.index() if row[:2] == ("adder", version)]
    return rows[0][3] if rows else ""


def control(client: Client, method: str, **fields: Any) -> Any:
    call = client.channel.unary_unary(
        f"/interlock.v1.Control/{method}",
        getattr(pb, f"{method}Request").SerializeToString,
        getattr(pb, f"{method}Response").FromString,
    )
    return call(getattr(pb, f"{method}Request")(model="adder", **fields), timeout=TIMEOUT_S)


def story(agents: Path) -> list[str]:
    lines = (agents / "listener" / "story.txt").read_text().splitlines()
    return [line.removeprefix("adder ") for line in lines]


def test_what_fits_its_checksum_serves_and_what_does_not_is_refused_while_the_old_one_serves(
    repository: Repository, client: Client
) -> None:
    put(repository, 1)
    comes_true(lambda: client.model_ready("adder"))
    assert answer(client) == 1

    repository.replace("adder", "1/model.onnx", onnx_small.add_constant(2))
    comes_true(lambda: "Mismatched SHA256 hash for file 1/model.onnx" in reason(client))
    assert answer(client) == 1

    put(repository, 3)
    comes_true(lambda: answer(client) == 3)
    comes_true(lambda: reason(client) == "")

    put(repository, 4, checksum_of=5)
    comes_true(lambda: "Mismatched SHA256 hash" in reason(client))
    assert answer(client) == 3


def test_versions_of_one_load_share_their_agents_and_another_has_its_own(
    repository: Repository, client: Client, agents: Path
) -> None:
    repository.onnx(
        "adder", onnx_small.add_constant(1), extra=f"{LISTENER} version_policy {{ all {{}} }}"
    )
    comes_true(lambda: client.model_ready("adder", "1"))
    repository.replace("adder", "2/model.onnx", onnx_small.add_constant(2))
    comes_true(lambda: client.model_ready("adder", "2"))
    repository.replace("adder", "1/model.onnx", onnx_small.add_constant(5))
    comes_true(lambda: answer(client, "1") == 5)

    comes_true(lambda: len(story(agents)) == 8)
    told = story(agents)
    assert [line for line in told if line.startswith("[2]")] == ["[2] LOAD", "[2] LOAD_COMPLETE"]
    first = [line.removeprefix("[1] ") for line in told if line.startswith("[1]")]
    assert sorted(first) == sorted([*["LOAD", "LOAD_COMPLETE"] * 2, "UNLOAD", "UNLOAD_COMPLETE"])


def test_what_is_refused_is_tried_again_by_itself_or_on_request(
    repository: Repository, client: Client, agents: Path
) -> None:
    forbidden = agents / "listener" / "forbidden.txt"
    forbidden.touch()
    repository.onnx("adder", onnx_small.add_constant(1), extra=LISTENER)
    comes_true(lambda: "forbidden for now" in reason(client))

    forbidden.unlink()
    control(client, "Retry")

    assert answer(client) == 1
    comes_true(lambda: story(agents)[-2:] == ["[1] LOAD", "[1] LOAD_COMPLETE"])


def test_a_rollback_asks_the_agents_again(
    repository: Repository, client: Client, agents: Path
) -> None:
    repository.onnx("adder", onnx_small.add_constant(1), extra=LISTENER)
    comes_true(lambda: client.model_ready("adder", "1"))
    repository.replace("adder", "2/model.onnx", onnx_small.add_constant(2))
    comes_true(lambda: client.model_ready("adder", "2"))
    comes_true(lambda: "[1] UNLOAD_COMPLETE" in story(agents))
    forbidden = agents / "listener" / "forbidden.txt"
    forbidden.touch()

    with pytest.raises(Exception, match="forbidden for now"):
        control(client, "Rollback")
    assert answer(client) == 2

    forbidden.unlink()
    control(client, "Rollback")
    assert answer(client) == 1
    comes_true(lambda: story(agents)[-1] == "[2] UNLOAD_COMPLETE")
    assert story(agents).count("[1] LOAD") == 3


def test_agents_hear_the_end_at_shutdown(repository: Repository, agents: Path) -> None:
    repository.onnx("adder", onnx_small.add_constant(1), extra=LISTENER)
    flags = (*POLL, f"--repoagent-directory={agents}")
    with server_process(repository, *flags) as process, Client(process.address) as client:
        comes_true(lambda: client.model_ready("adder"))
        assert process.terminate() == 0

    assert story(agents) == [
        f"[1] {action}" for action in ("LOAD", "LOAD_COMPLETE", "UNLOAD", "UNLOAD_COMPLETE")
    ]


def test_a_model_without_agents_becomes_one_with_agents_and_back(
    repository: Repository, client: Client
) -> None:
    repository.onnx("adder", onnx_small.add_constant(1))
    comes_true(lambda: client.model_ready("adder"))
    before = (repository.root / "adder" / "config.pbtxt").read_text()
    parameter = 'parameters { key: "MD5:1/model.onnx" value: "0" }'
    bad = f'model_repository_agents {{ agents [ {{ name: "checksum" {parameter} }} ] }}'

    repository.replace("adder", "config.pbtxt", f"{before}\n{bad}".encode())
    comes_true(lambda: "Mismatched MD5 hash" in reason(client))
    assert answer(client) == 1

    repository.replace("adder", "config.pbtxt", before.encode())
    comes_true(lambda: reason(client) == "")
    assert answer(client) == 1
