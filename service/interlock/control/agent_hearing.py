"""Put what is to be loaded before the policy: which agents run, and what their words come to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interlock.control.agent_policy import (
    AgentPolicy,
    Candidate,
    Decision,
    Override,
    decide,
)
from interlock.control.agent_verdicts import Heard, Verdict, judge
from interlock.domain.config_agents import Preparation
from interlock.serving.load_job import LoadJob

NAMELESS = Preparation(())
"""Of a model that names no agents."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, on whom, and under which policy; `None` for a server without one."""

    verdict: Verdict
    candidate: Candidate
    policy: AgentPolicy | None


@dataclass(frozen=True, slots=True)
class Hearing:
    """A candidate under a policy, which is the same from the first question to the last."""

    policy: AgentPolicy | None
    candidate: Candidate

    @property
    def decision(self) -> Decision:
        """What the policy says, as far as the candidate is known."""
        return decide(self.policy, self.candidate)

    def run_by(self, backend: str) -> "Hearing":
        """Return the hearing that goes on once it is known which backend runs the model."""
        return replace(self, candidate=replace(self.candidate, backend=backend))

    def refused(self) -> Judged:
        """Return the verdict on what the policy refuses before any agent is asked."""
        decision = self.decision
        verdict = Verdict((), decision.findings, decision.mode, decision.where)
        return Judged(verdict, self.candidate, self.policy)

    def judged(self, heard: Sequence[Heard]) -> Judged:
        """Return the verdict after the agents, as far as they came."""
        return Judged(judge(self.decision, heard), self.candidate, self.policy)


def candidate_of(job: LoadJob, other_names: tuple[str, ...] = ()) -> Candidate:
    """Return what the policy is asked about for a job, whose model has these names as well."""
    preparation = job.preparation or NAMELESS
    return Candidate(
        model=job.key.model,
        other_names=other_names,
        agents=preparation.agents,
        override=_override_of(preparation),
        overriding=preparation.overriding,
        backend=job.config.backend,
    )


def _override_of(preparation: Preparation) -> Override:
    if preparation.brings_files:
        return Override.FILES
    return Override.NONE if preparation.override is None else Override.CONFIG
