"""What the policy is asked about a load, and what becomes of its answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from interlock.control.agent_hearing import Hearing, candidate_of
from interlock.control.agent_policy import (
    AgentPolicy,
    Candidate,
    Objection,
    Override,
    RequiredAgent,
    Rule,
)
from interlock.control.agent_verdicts import Heard
from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.serving.load_job import LoadJob
from tests.support.control import key

OWN, THEIRS = (AgentConfig("own"),), (AgentConfig("theirs"),)
POLICY = AgentPolicy((Rule(("*",), required=(RequiredAgent("gate"),), line=1),))


def job(preparation: Preparation | None, backend: str = "") -> LoadJob:
    return LoadJob(key(1), ModelConfig("m", backend=backend), Path("/m"), preparation=preparation)


@pytest.mark.parametrize(
    ("preparation", "candidate"),
    [
        (None, Candidate("m")),
        (Preparation(OWN), Candidate("m", OWN)),
        (Preparation(OWN, "{}", THEIRS), Candidate("m", OWN, Override.CONFIG, THEIRS)),
        (Preparation(OWN, ""), Candidate("m", OWN, Override.CONFIG)),
        (
            Preparation((), "{}", THEIRS, brings_files=True),
            Candidate("m", (), Override.FILES, THEIRS),
        ),
    ],
    ids=["nothing", "agents", "a configuration", "an empty one", "files"],
)
def test_a_candidate_is_what_a_job_brings(
    preparation: Preparation | None, candidate: Candidate
) -> None:
    assert candidate_of(job(preparation)) == candidate
    named = candidate_of(job(preparation), ("n::m",))
    assert named == replace(candidate, other_names=("n::m",))
    assert candidate_of(job(preparation, "x")) == replace(candidate, backend="x")


def test_the_backend_may_be_known_only_after_the_agents() -> None:
    hearing = Hearing(POLICY, candidate_of(job(None)))
    heard = (Heard("gate", {}),)
    assert hearing.judged(heard).verdict.passes

    judged = hearing.run_by("python").judged(heard)

    assert [one.objection for one in judged.verdict.findings] == [Objection.PYTHON_MODEL]
    assert judged.candidate.backend == "python"
    assert judged.policy is POLICY


def test_what_is_refused_before_the_agents_does_not_miss_them() -> None:
    hearing = Hearing(POLICY, Candidate("m", override=Override.CONFIG))

    judged = hearing.refused()

    assert [one.objection for one in judged.verdict.findings] == [Objection.CONFIG_OVERRIDE]
    assert judged.verdict.refusal == hearing.decision.refusal


def test_without_a_policy_everything_passes() -> None:
    judged = Hearing(None, Candidate("m", OWN, backend="python")).judged((Heard("own", {}),))

    assert judged.verdict.passes
    assert judged.policy is None
