"""The demonstration finds nothing to complain of, and would complain of what is wrong."""

import json
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from tritonclient.grpc import service_pb2 as pb

from interlock.pb import control_pb2
from tools import demo_agents
from tools.attacks import (
    FLIPPED,
    IN_EXPLICIT_MODE,
    IN_POLL_MODE,
    NO_AGENTS,
    ROTATION,
    Attack,
    Publication,
    Scene,
    Step,
)
from tools.demo_agents import Outcome, Seen, Story, audited_reasons, table, unaudited
from tools.demo_swap import MODEL, Requests
from tools.environment import ROOT
from tools.releases import Releases

GOOD = Outcome(
    mode="poll",
    steps=(
        Seen("the key is rotated", "version 1 takes over", 1.25),
        Seen("a byte is flipped", "version 1 goes on, and says why", 0.5, "model.sig: no"),
    ),
    seconds=10.0,
    before=Requests(1000, 5.0, 9.0, 10.0),
    during=Requests(20_000, 7.0, 19.0, 20.0),
    failed=(),
    disagreeing=(),
    disagreeing_answers=0,
    audited=5,
    unaudited=(),
)


@dataclass
class ServerFake:
    """Implements what a Scene asks of a client: a server that never changes."""

    version: int = 1
    constant: int = 1
    reason: str = ""
    state: str = "READY"

    def index(self) -> list[tuple[str, str, str, str]]:
        return [(MODEL, str(self.version), self.state, self.reason)]

    def generations(self, _model: str) -> list[Any]:
        state = control_pb2.VersionState(version="1", generation=1, state=self.state)
        return [control_pb2.DescribeResponse.Generation(state=state)]

    def infer(self, request: Any) -> Any:
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        answer.outputs.add(name="y", datatype="FP32", shape=[1])
        answer.raw_output_contents.append(struct.pack("<f", self.constant))
        return answer

    def load(self, _model: str, **_parameters: Any) -> None:
        """Refuse nothing."""


@contextmanager
def nothing(_scene: Scene) -> Iterator[None]:
    yield


def trouble_of(step: Step, client: ServerFake, tmp_path: Path) -> str:
    """Play a step whose server does nothing, and return what is said of it."""
    scene = Scene(Releases(tmp_path, MODEL), cast("Any", None), cast("Any", client))
    story = Story(scene, within_s=0.0)
    story.play(step)
    return story.seen[-1].trouble


@pytest.mark.parametrize(
    ("mode", "steps", "streams"),
    [("poll", (ROTATION, FLIPPED, NO_AGENTS), 1), ("explicit", IN_EXPLICIT_MODE, 0)],
)
def test_no_client_notices_a_rotation_and_what_others_do_to_a_model_is_refused(
    mode: str, steps: Sequence[Step], streams: int
) -> None:
    outcome = demo_agents.run(mode, steps, unary_clients=1, streams=streams, at_rest_s=0.2)

    assert outcome.is_good, (outcome.steps, outcome.failed, outcome.disagreeing)
    assert len(outcome.steps) == len(steps)
    assert outcome.before.sent > 10


@pytest.mark.parametrize(
    ("step", "client", "trouble"),
    [
        pytest.param(
            Attack("a", nothing, "because"),
            ServerFake(),
            "the index says [], and nothing of 'because'",
            id="no reason is told",
        ),
        pytest.param(
            Attack("a", nothing, "because"),
            ServerFake(constant=-1, reason="because"),
            "version 1 adds -1",
            id="what is forged answers",
        ),
        pytest.param(
            Attack("a", nothing, "because"),
            ServerFake(reason="because"),
            "the index goes on to say ['because']",
            id="the reason stays when it holds no more",
        ),
        pytest.param(
            IN_EXPLICIT_MODE[0],
            ServerFake(),
            "the load was not refused",
            id="an override is loaded",
        ),
        pytest.param(
            Publication("a", nothing, 1, 1),
            ServerFake(),
            "it was not loaded anew; the index says []",
            id="a release is overlooked",
        ),
    ],
)
def test_a_server_that_does_something_else_is_found(
    step: Step, client: ServerFake, trouble: str, tmp_path: Path
) -> None:
    assert trouble_of(step, client, tmp_path) == trouble


def test_each_step_has_a_name_of_its_own() -> None:
    steps = (*IN_POLL_MODE, *IN_EXPLICIT_MODE)

    assert len({step.title for step in steps}) == len(steps)


@pytest.mark.parametrize(
    "outcome",
    [
        replace(GOOD, failed=("UNAVAILABLE: no",)),
        replace(GOOD, disagreeing=("an answer",)),
        replace(GOOD, unaudited=("a load",)),
        replace(GOOD, steps=(*GOOD.steps, Seen("a load", "refused", 1.0, trouble="it was not"))),
    ],
)
def test_what_is_not_as_it_must_be_fails_the_run(outcome: Outcome) -> None:
    assert GOOD.is_good
    assert not outcome.is_good


def test_the_table_has_a_line_for_each_step_and_what_clients_are_told() -> None:
    bad = replace(GOOD, mode="explicit", steps=(Seen("x", "y", 1.0, trouble="z"),))
    lines = table([GOOD, bad]).splitlines()

    assert lines[1].startswith(" 1 poll     the key is rotated  version 1 takes over ")
    assert lines[3].strip() == "model.sig: no"
    assert lines[4].split() == ["3", "explicit", "x", "y", "WRONG", "1.0", "s"]
    assert "requests sent                             21,000      21,000" in lines


def test_an_attack_that_the_audit_log_does_not_tell_of_is_found(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    reasons = ("", "policy: this may not be")
    log.write_text("".join(f"{json.dumps({'reason': one})}\n" for one in reasons))
    told, untold = Attack("a", nothing, "may not"), Attack("b", nothing, "must not")

    assert unaudited((ROTATION, told, untold), audited_reasons(log)) == ["b"]


def test_explains_itself() -> None:
    done = subprocess.run(
        [ROOT / "tools" / "demo-agents", "--help"], capture_output=True, text=True, check=False
    )

    if done.returncode == 2:  # where the development environment is another one
        assert done.stderr == (
            "tools/demo-agents: no development environment; run tools/test once to make it\n"
        )
    else:
        assert done.stdout.startswith("usage: tools/demo-agents ")
