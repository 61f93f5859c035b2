"""Decide what the agents' words make of a version, and what of that outlives a change of policy.

A verdict is what is kept of a version that was loaded. After a change it is held against the
new policy: it still passes, it lacks something that only a load can find out, or it no longer
passes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from interlock.control.agent_policy import (
    SIGNATURE,
    SIGNERS,
    ChosenAgent,
    Decision,
    Finding,
    Mode,
    Objection,
    told,
)
from interlock.domain.description import AgentDescription
from interlock.domain.ids import GenerationKey

SIGNER_NOTE: Final = "signer"
"""What the agent `signature` notes: the name of the signer."""

_OUTCOMES: Final = {Mode.AUDIT: "would-refuse", Mode.WARN: "warned", Mode.ENFORCE: "refused"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One agent that has run, and what came of it."""

    name: str
    parameters: Mapping[str, str]
    refusal: str | None = None
    """Why it refused the model; None where it did not."""
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found when a version was loaded, whatever the mode was."""

    heard: tuple[Heard, ...] = ()
    findings: tuple[Finding, ...] = ()
    mode: Mode = Mode.ENFORCE
    where: str = ""

    @property
    def passes(self) -> bool:
        return not self.findings

    @property
    def outcome(self) -> str:
        """What came of it, in a word of the audit log."""
        return "passed" if self.passes else _OUTCOMES[self.mode]

    @property
    def reason(self) -> str | None:
        """What is wrong, whatever becomes of it."""
        return told(self.findings, self.where)

    @property
    def refusal(self) -> str | None:
        """Why the version must not serve; None where it may."""
        return told(self.findings, self.where) if self.mode is Mode.ENFORCE else None

    @property
    def warning(self) -> str | None:
        """What clients are to be told of a version that serves all the same."""
        return told(self.findings, self.where) if self.mode is Mode.WARN else None


class Standing(Enum):
    """How a version stands under another policy than it was loaded under."""

    PASSES = "passes"
    LACKS = "lacks a verdict"
    """It is loaded again, as a new generation, and what that finds is its verdict."""
    FAILS = "no longer passes"
    """It is reported at once, and withdrawn after a grace where the policy is enforced."""


@dataclass(frozen=True, slots=True)
class Reassessment:
    """A version under another policy. `findings` are empty where it passes."""

    standing: Standing
    findings: tuple[Finding, ...] = ()
    mode: Mode = Mode.ENFORCE
    where: str = ""

    @property
    def reason(self) -> str:
        """What is wrong, "" where nothing is."""
        return told(self.findings, self.where) or ""

    @property
    def is_to_go(self) -> bool:
        """Whether the version is withdrawn, once its grace is over."""
        return self.standing is Standing.FAILS and self.mode is Mode.ENFORCE


def agents_of(verdict: Verdict | None) -> tuple[AgentDescription, ...]:
    """Return what each agent said, in the order in which they were asked."""
    heard = () if verdict is None else verdict.heard
    return tuple(
        AgentDescription(one.name, one.refusal is None, one.refusal or "", one.notes)
        for one in heard
    )


def judge(decision: Decision, heard: Sequence[Heard]) -> Verdict:
    """Return the verdict on a model whose agents have run, as far as they came."""
    findings = [*decision.findings]
    # Those behind one that refuses do not run, which says nothing of its own.
    is_cut_short = any(words.refusal is not None for words in heard)
    for agent, words in _matched(decision.agents, heard):
        if words is not None:
            findings.extend(_against(agent, words))
        elif agent.is_required and not is_cut_short:
            reason = f"the agent '{agent.name}' is required and has not run"
            findings.append(Finding(Objection.MISSING_AGENT, reason))
    return Verdict(tuple(heard), tuple(findings), decision.mode, decision.where)


def reassess(decision: Decision, verdict: Verdict | None) -> Reassessment:
    """Return how a version stands with what a policy says of it now.

    `decision` is for the candidate as it was loaded. A version without a verdict, loaded
    before there was a policy, lacks one.
    """
    failing = [*decision.findings]
    lacking: list[Finding] = []
    heard = () if verdict is None else verdict.heard
    for agent, words in _matched(decision.agents, heard):
        if not agent.is_required:
            continue
        if words is None:
            reason = f"the agent '{agent.name}' has not seen the version as the policy wants it"
            lacking.append(Finding(Objection.MISSING_AGENT, reason))
            continue
        if words.refusal is not None and words.parameters != agent.parameters:
            reason = f"the agent '{agent.name}' refused it when others counted"
            lacking.append(Finding(Objection.REFUSED_BY_AGENT, reason))
            continue
        failing.extend(_against(agent, words))
    lacking.extend(_beyond(decision, heard))
    standing = Standing.FAILS if failing else Standing.LACKS if lacking else Standing.PASSES
    return Reassessment(standing, (*failing, *lacking), mode=decision.mode, where=decision.where)


class Graces:
    """Counts how long versions have failed. `now` is monotonic seconds; one thread calls."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since: dict[GenerationKey, float] = {}

    def step(
        self, now: Mapping[GenerationKey, Reassessment], at: float
    ) -> tuple[GenerationKey, ...]:
        """Return what to withdraw, of all that serves; what is not named is forgotten."""
        failing = [key for key, reassessment in now.items() if reassessment.is_to_go]
        self._since = {key: self._since.get(key, at) for key in failing}
        return tuple(sorted(key for key in failing if self._ends(key) <= at))

    def due(self) -> float | None:
        """Return when the next grace ends; None where nothing fails."""
        return min((self._ends(key) for key in self._since), default=None)

    def _ends(self, key: GenerationKey) -> float:
        return self._since[key] + self._grace_s


def _matched(
    agents: Sequence[ChosenAgent], heard: Sequence[Heard]
) -> tuple[tuple[ChosenAgent, Heard | None], ...]:
    """Return each agent with its run, in order: one that ran too early has not run."""
    matched: list[tuple[ChosenAgent, Heard | None]] = []
    left = 0
    for agent in agents:
        found = next((at for at in range(left, len(heard)) if _is_run(agent, heard[at])), None)
        matched.append((agent, None if found is None else heard[found]))
        left = left if found is None else found + 1
    return tuple(matched)


def _beyond(decision: Decision, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Yield who is forbidden now and has run, though nobody asks for it any more.

    What it has published is what serves.
    """
    if decision.rule is None:
        return
    wanted = {agent.name for agent in decision.agents}
    for name in dict.fromkeys(words.name for words in heard if words.name not in wanted):
        if decision.rule.forbids(name):
            reason = f"the agent '{name}', which is forbidden, has seen the version"
            yield Finding(Objection.FORBIDDEN_AGENT, reason)


def _is_run(agent: ChosenAgent, words: Heard) -> bool:
    return agent.name == words.name and _untrusting(agent) == _untrusting(words)


def _untrusting(agent: ChosenAgent | Heard) -> Mapping[str, str]:
    """Return the parameters, less whom the signature agent was told to trust."""
    if agent.name != SIGNATURE:
        return agent.parameters
    return {key: value for key, value in agent.parameters.items() if key != SIGNERS}


def _signers(agent: ChosenAgent) -> tuple[str, ...]:
    """Return whose signatures count, wherever the rule says so; none for all."""
    told = agent.parameters.get(SIGNERS)
    return () if told is None else tuple(name.strip() for name in told.split(","))


def _against(agent: ChosenAgent, words: Heard) -> tuple[Finding, ...]:
    """Return what stands against a version after an agent has seen it."""
    if words.refusal is not None:
        reason = f"the agent '{agent.name}' refuses it: {words.refusal}"
        return (Finding(Objection.REFUSED_BY_AGENT, reason),)
    signers = _signers(agent)
    if agent.name != SIGNATURE or not agent.is_required or not signers:
        return ()
    signer = words.notes.get(SIGNER_NOTE)
    if signer in signers:
        return ()
    who = "by nobody that the policy names" if signer is None else f"by '{signer}'"
    reason = f"it is signed {who}, and what counts is the signature of {' or '.join(signers)}"
    return (Finding(Objection.SIGNER, reason),)
