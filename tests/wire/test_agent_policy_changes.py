"""A policy that changes under a server: what goes on, what is looked at again, what goes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import pytest

from interlock.cli.main import main
from tests.support.models import Repository
from tests.support.publishing import naming_with
from tests.support.signing import OTHER, P256, public_pem, write_private_key
from tests.support.wire import (
    Client,
    WireServer,
    answer_to_zero,
    eventually,
    row_of,
    server_process,
)
from tests.wire.test_agent_policy import AGENT, BAD, put, written

WITHIN_S = 30.0
EXPLICIT = ("--model-control-mode=explicit", "--load-model=*")
POLL = ("--model-control-mode=poll", "--repository-poll-secs=0.3", "--repository-settle-secs=0.2")
LOOSE = """\
version: 1
rules:
  - match: "copied"
  - match: "signed"
    required: [{agent: signature}]
    signers: [release, vendor]
  - match: "*"
    allow: {config_overrides: true}
"""
STRICT = """\
version: 1
rules:
  - match: "free"
  - match: "tolerated"
    mode: warn
    required: [{agent: gate}]
  - match: "copied"
    forbidden: [copying]
  - match: "signed"
    required: [{agent: signature}]
    signers: [vendor]
  - match: "*"
    required: [{agent: gate}]
"""
TRIAL = STRICT.replace('  - match: "*"\n', '  - match: "*"\n    mode: warn\n')


@dataclass
class Stage:
    """A server, and the file of its policy."""

    server: WireServer
    policy: Path
    changes: int = 0

    def change(self, text: str) -> None:
        """Write another policy, and wait until it is in force."""
        self.changes += 1
        written(self.policy.parent, text)
        told = "took a new agent policy"
        eventually(lambda: self.server.process.log.count(told) == self.changes, within_s=WITHIN_S)


@contextmanager
def staged(tmp_path: Path, *flags: str, grace_s: float, models: dict[str, str]) -> Iterator[Stage]:
    """Serve models with these notes under the loose policy."""
    for name in ("agents/gate", "agents/copying", "models", "policy", "signers"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name).chmod(0o755)
    for name in ("gate", "copying"):
        (tmp_path / "agents" / name / "agent.py").write_text(AGENT)
    repository = Repository(tmp_path / "models")
    for constant, (model, note) in enumerate(models.items(), 1):
        extra = naming_with("copying") if model == "copied" else ""
        put(repository, model, constant, note, extra)
        if model == "signed":
            private = write_private_key(tmp_path / "private.pem", P256)
            assert main(["sign", str(repository.root / model), "--key", str(private)]) == 0
    for name, key in (("release", P256), ("vendor", OTHER)):
        (tmp_path / "signers" / f"{name}.pem").write_bytes(public_pem(key))
        (tmp_path / "signers" / f"{name}.pem").chmod(0o644)
    policy = written(tmp_path / "policy", LOOSE)
    arguments = (
        *flags,
        f"--repoagent-directory={tmp_path / 'agents'}",
        f"--signer-directory={tmp_path / 'signers'}",
        f"--agent-policy={policy}",
        f"--agent-policy-grace-secs={grace_s}",
    )
    with server_process(repository, *arguments) as process:
        yield Stage(WireServer(process, repository, Client), policy)
        assert process.terminate() == 0, process.log


@dataclass
class Traffic:
    """Requests to a model, one after the other, until it is told to stop."""

    client: Client
    model: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                answer_to_zero(self.client, self.model)
                self.answered += 1
            except grpc.RpcError as error:
                self.failed.append(str(error))


@contextmanager
def traffic(stage: Stage, model: str) -> Iterator[Traffic]:
    with stage.server.client() as client, Traffic(client, model) as traffic:
        yield traffic


def comes_true(client: Client, model: str, state: str, words: str) -> None:
    def holds() -> bool:
        now, reason = row_of(client, model)
        return now == state and words in reason

    eventually(holds, within_s=WITHIN_S)


def generation(client: Client, model: str) -> int:
    """Return the number of the one that serves."""
    states = [one.state for one in client.generations(model)]
    (number,) = [state.generation for state in states if state.state == "READY"]
    return int(number)


NOTES = {
    "free": "bad",
    "seen": "good",
    "refused": "bad",
    "tolerated": "bad",
    "copied": "good",
    "signed": "good",
}
NOT_SIGNED = "policy: it is signed by 'release', and what counts is the signature of vendor"


def test_what_fails_by_a_new_policy_is_told_of_and_serves_until_its_grace_is_over(
    tmp_path: Path,
) -> None:
    def answers() -> list[float]:
        return [answer_to_zero(client, model) for model in ("refused", "copied", "signed")]

    stage_of = staged(tmp_path, *EXPLICIT, grace_s=600, models=NOTES)
    with stage_of as stage, stage.server.client() as client:
        stage.change(STRICT)
        they_are_told_of(client)
        assert answers() == [3, 5, 6]

        assert BAD in client.load_refusal("refused").text
        assert "is forbidden" in client.load_refusal("copied").text
        assert answers() == [3, 5, 6]


@pytest.mark.parametrize("flags", [EXPLICIT, POLL], ids=["explicit", "poll"])
def test_what_serves_is_held_against_a_new_policy(tmp_path: Path, flags: tuple[str, ...]) -> None:
    stage_of = staged(tmp_path, *flags, grace_s=0.5, models=NOTES)
    with stage_of as stage, stage.server.client() as client:
        before = {model: generation(client, model) for model in NOTES}
        with traffic(stage, "seen") as seen, traffic(stage, "free") as free:
            stage.change(STRICT)
            they_go(client)
            eventually(lambda: generation(client, "seen") == before["seen"] + 1)

        assert seen.answered > 0
        assert free.answered > 0
        assert seen.failed == free.failed == []
        assert (answer_to_zero(client, "free"), generation(client, "free")) == (1, before["free"])
        assert (answer_to_zero(client, "seen"), row_of(client, "seen")) == (2, ("READY", ""))
        assert answer_to_zero(client, "tolerated") == 4
        assert client.ready()
        if flags == POLL:
            what_went_stays_away_until_its_content_is_another(stage, client)
        else:
            what_went_is_refused_until_the_policy_is_another(stage, client)


def they_are_told_of(client: Client) -> None:
    comes_true(client, "refused", "READY", f"Invalid argument: {BAD}")
    comes_true(client, "refused", "READY", "--agent-policy-grace-secs=600")
    comes_true(client, "copied", "READY", "policy: the agent 'copying' is forbidden")
    comes_true(client, "signed", "READY", NOT_SIGNED)
    comes_true(client, "tolerated", "READY", f"policy: the agent 'gate' refuses it: {BAD}")


def they_go(client: Client) -> None:
    comes_true(client, "refused", "UNAVAILABLE", BAD)
    comes_true(client, "copied", "UNAVAILABLE", "policy: the agent 'copying' is forbidden")
    comes_true(client, "signed", "UNAVAILABLE", "than those of vendor")
    comes_true(client, "tolerated", "READY", f"policy: the agent 'gate' refuses it: {BAD}")


def what_went_stays_away_until_its_content_is_another(stage: Stage, client: Client) -> None:
    known = [one.state.generation for one in client.generations("refused")]
    put(stage.server.repository, "another", 9)
    comes_true(client, "another", "READY", "")
    # After 15 s a failure is tried again, by itself: more than once would be too often.
    assert max(one.state.generation for one in client.generations("refused")) <= max(known) + 1
    assert row_of(client, "refused")[0] != "READY"

    put(stage.server.repository, "refused", 7)
    comes_true(client, "refused", "READY", "")
    assert answer_to_zero(client, "refused") == 7
    assert row_of(client, "copied")[0] == "UNAVAILABLE"


def what_went_is_refused_until_the_policy_is_another(stage: Stage, client: Client) -> None:
    assert BAD in client.load_refusal("refused").text

    stage.change(TRIAL)
    comes_true(client, "refused", "READY", f"policy: the agent 'gate' refuses it: {BAD}")
    assert row_of(client, "copied")[0] == "UNAVAILABLE"
    assert generation(client, "seen") == 2
