"""Decide which repository agents a model must pass, and what it may not bring along.

The policy is the server's. What a model's own configuration asks for is added to it, and
nothing that comes with a model, or with a request, takes anything away. A model that no rule
speaks of is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from interlock.domain.config_agents import AgentConfig

SIGNATURE: Final = "signature"
"""The agent that is told which signers count."""
SNAPSHOT: Final = "snapshot"
"""The agent behind which nobody can change a model's files any more."""
VERIFYING: Final = frozenset({SIGNATURE, "checksum"})
"""The agents that promise something of the files themselves."""
SIGNERS: Final = "signers"
"""Its parameter that names them, with commas between."""
_APART: Final = " with other parameters, or more often, than the rule requires it"
PYTHON_BACKENDS: Final = frozenset({"python"})


class Mode(Enum):
    """What becomes of a model that the policy is against."""

    AUDIT = "audit"
    """It serves; the log and the audit log say what would have been refused."""
    WARN = "warn"
    """It serves, and clients are told: in the index, and behind the reply to a load."""
    ENFORCE = "enforce"
    """It is refused."""


class Override(Enum):
    """What a load brings with it in the place of the repository's own."""

    NONE = "none"
    CONFIG = "config"
    FILES = "files"


class Objection(Enum):
    """What the policy can be against."""

    NO_RULE = "no-rule"
    FORBIDDEN_AGENT = "forbidden-agent"
    CONFIG_OVERRIDE = "config-override"
    FILE_OVERRIDE = "file-override"
    PYTHON_MODEL = "python-model"
    HOST_CODE = "host-code"
    MISSING_AGENT = "missing-agent"
    REFUSED_BY_AGENT = "refused-by-agent"
    SIGNER = "signer"


@dataclass(frozen=True, slots=True)
class RequiredAgent:
    """An agent that must run, with at least these parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    accepts: tuple[str, ...] = ()
    """Patterns of the parameters that a model may add. The rest of its wishes run apart."""

    def takes(self, asked: AgentConfig) -> bool:
        """Whether one call can do what is required and what the model asks for."""
        return asked.name == self.name and all(
            self.parameters[key] == value if key in self.parameters else _is_like(key, self.accepts)
            for key, value in asked.parameters.items()
        )


@dataclass(frozen=True, slots=True)
class Allowances:
    """What a model, or a load of it, may bring along."""

    config_overrides: bool = False
    file_overrides: bool = False
    python_models: bool = False
    host_code: bool = False
    """Plans that carry code for the processor, which deserializing runs."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the models of these names, `*` and `?` and `[a-c]` being patterns."""

    match: tuple[str, ...]
    mode: Mode = Mode.ENFORCE
    required: tuple[RequiredAgent, ...] = ()
    forbidden: tuple[str, ...] = ()
    """Patterns of the agents that a model may not ask for; a call that is required anyway is
    exempt."""
    signers: tuple[str, ...] = ()
    """Whose signatures count, by the names that the agent `signature` knows; none for all."""
    allow: Allowances = Allowances()
    snapshot: bool = False
    """Whether agents that verify, where that is enforced, see what nobody can change any more."""
    line: int = 0
    """Where it stands in its file."""

    def forbids(self, agent: str) -> bool:
        """Whether a model may not ask for an agent, unless it is required."""
        return _is_like(agent, self.forbidden)

    def agents(self) -> tuple[RequiredAgent, ...]:
        """Return what is required, the signers among its parameters.

        What is verified is what is loaded: a snapshot comes first, unless the rule does
        without, or places it itself.
        """
        agents = tuple(self._with_signers(agent) for agent in self.required)
        names = {agent.name for agent in agents}
        is_due = self.snapshot and self.mode is Mode.ENFORCE and not names.isdisjoint(VERIFYING)
        return (RequiredAgent(SNAPSHOT), *agents) if is_due and SNAPSHOT not in names else agents

    def _with_signers(self, agent: RequiredAgent) -> RequiredAgent:
        if agent.name != SIGNATURE:
            return agent
        told = {SIGNERS: ", ".join(self.signers)} if self.signers else {}
        # Nothing is accepted: a model must not say anything of whom the agent trusts.
        return RequiredAgent(agent.name, {**agent.parameters, **told})


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """A policy as a whole. The first rule that matches a model is the one that holds."""

    rules: tuple[Rule, ...] = ()
    mode: Mode = Mode.ENFORCE
    """For models that no rule speaks of."""
    name: str = "policy"
    """What its file is called, for people."""

    def rule_for(self, *names: str) -> Rule | None:
        """Return the rule of a model with these names, None where no rule speaks of any."""
        return next(
            (rule for rule in self.rules if any(_is_like(name, rule.match) for name in names)),
            None,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is to be loaded, as far as it is known.

    Before its agents have run the backend may be unknown, and is passed over: an encrypted
    configuration does not say. Ask again with the configuration that they leave behind.
    """

    model: str
    agents: tuple[AgentConfig, ...] = ()
    """Those of the configuration in the repository, whatever the request brought."""
    override: Override = Override.NONE
    overriding: tuple[AgentConfig, ...] = ()
    """Those of the configuration that came with the request."""
    backend: str = ""
    wants_host_code: bool = False
    other_names: tuple[str, ...] = ()
    """What it would be called if its name were, or were not, in another repository as well: a
    rule holds whichever is the case."""


@dataclass(frozen=True, slots=True)
class ChosenAgent:
    """An agent that is to run."""

    name: str
    parameters: Mapping[str, str]
    is_required: bool = False
    is_binding: bool = True
    """Whether the model is refused if the agent refuses it. Not so where the agent runs for
    the policy alone, and that only looks on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the policy is against, with what to do about it."""

    objection: Objection
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of a model: which agents run, in this order, and what is wrong.

    `allow` is also for those who learn later what a model holds.
    """

    agents: tuple[ChosenAgent, ...]
    findings: tuple[Finding, ...] = ()
    mode: Mode = Mode.ENFORCE
    rule: Rule | None = None
    allow: Allowances = Allowances()
    where: str = ""
    """The rule, for people."""

    @property
    def refusal(self) -> str | None:
        """Why the model is not to be loaded; None where it may be."""
        return told(self.findings, self.where) if self.mode is Mode.ENFORCE else None

    @property
    def warning(self) -> str | None:
        """What clients are to be told of a model that serves all the same."""
        return told(self.findings, self.where) if self.mode is Mode.WARN else None


def told(findings: Sequence[Finding], where: str) -> str | None:
    """Return findings as one sentence, None where there are none."""
    if not findings:
        return None
    return f"policy: {'; '.join(finding.reason for finding in findings)} ({where})"


def decide(policy: AgentPolicy | None, candidate: Candidate) -> Decision:
    """Return what a policy says; None is a server without one, as Triton is."""
    if policy is None:
        return _unruled(candidate)
    rule = policy.rule_for(candidate.model, *candidate.other_names)
    if rule is None:
        reason = (
            f"no rule speaks of the model '{candidate.model}': add one that matches its name "
            "('*' matches every name)"
        )
        return Decision(
            agents=_chosen((), _asked_for(candidate), policy.mode),
            findings=(Finding(Objection.NO_RULE, reason),),
            mode=policy.mode,
            where=policy.name,
        )
    asked = _asked_for(candidate)
    return Decision(
        agents=_chosen(rule.agents(), asked, rule.mode),
        findings=(*_forbidden(rule, asked), *_not_allowed(rule.allow, candidate)),
        mode=rule.mode,
        rule=rule,
        allow=rule.allow,
        where=f"rule '{', '.join(rule.match)}', {policy.name}:{rule.line}",
    )


def is_heard(policy: AgentPolicy | None, *names: str, is_overridden: bool) -> bool:
    """Whether a model is for the policy to see before its configuration counts.

    That is so though it names no agents. Nothing of such a model is changed in place.
    """
    if policy is None:
        return False
    rule = policy.rule_for(*names)
    return is_overridden or rule is None or bool(rule.required)


def _unruled(candidate: Candidate) -> Decision:
    """Let the configurations say everything."""
    everything = Allowances(
        config_overrides=True, file_overrides=True, python_models=True, host_code=True
    )
    agents = _chosen((), _asked_for(candidate), Mode.ENFORCE)
    return Decision(agents=agents, allow=everything)


def _asked_for(candidate: Candidate) -> tuple[AgentConfig, ...]:
    """Return the model's own agents, and then those of the request that are none of them.

    Where a request brings the files, the model is the request's.
    """
    if candidate.override is Override.FILES:
        return candidate.overriding
    left = list(candidate.agents)
    added = []
    for agent in candidate.overriding:
        if agent in left:
            left.remove(agent)
        else:
            added.append(agent)
    return (*candidate.agents, *added)


def _chosen(
    required: Sequence[RequiredAgent], asked: Sequence[AgentConfig], mode: Mode
) -> tuple[ChosenAgent, ...]:
    """Return what is required, in its order, and then what else is asked for, in its own.

    Nothing that a model names has seen its files before what is required of it has.
    """
    shared, rest = _shared(required, asked)
    chosen = [
        ChosenAgent(
            name=agent.name,
            parameters={**({} if same is None else same.parameters), **agent.parameters},
            is_required=True,
            is_binding=mode is Mode.ENFORCE or same is not None,
        )
        for agent, same in zip(required, shared, strict=True)
    ]
    return (*chosen, *(ChosenAgent(agent.name, agent.parameters) for agent in rest))


def _shared(
    required: Sequence[RequiredAgent], asked: Sequence[AgentConfig]
) -> tuple[list[AgentConfig | None], list[AgentConfig]]:
    """Return what is asked for that each required agent does as well, and what runs apart."""
    left = list(asked)
    shared = []
    for agent in required:
        same = next((one for one in left if agent.takes(one)), None)
        if same is not None:
            left.remove(same)
        shared.append(same)
    return shared, left


def _forbidden(rule: Rule, asked: Sequence[AgentConfig]) -> tuple[Finding, ...]:
    """Return what is forbidden of that which runs apart: it may publish other files."""
    _, apart = _shared(rule.agents(), asked)
    required = {agent.name for agent in rule.required}
    names = dict.fromkeys(agent.name for agent in apart if rule.forbids(agent.name))
    return tuple(
        Finding(
            Objection.FORBIDDEN_AGENT,
            f"the agent '{name}' is forbidden{_APART if name in required else ''}: remove it from "
            "model_repository_agents, or from what the rule forbids",
        )
        for name in names
    )


def _not_allowed(allow: Allowances, candidate: Candidate) -> tuple[Finding, ...]:
    """Return what a model or a load brings along that it may not."""
    override = candidate.override
    brought = (
        (
            override is Override.CONFIG and not allow.config_overrides,
            Objection.CONFIG_OVERRIDE,
            "a load may not bring a configuration",
            "config_overrides",
        ),
        (
            override is Override.FILES and not allow.file_overrides,
            Objection.FILE_OVERRIDE,
            "a load may not bring files",
            "file_overrides",
        ),
        (
            candidate.backend in PYTHON_BACKENDS and not allow.python_models,
            Objection.PYTHON_MODEL,
            "the model is code in Python",
            "python_models",
        ),
        (
            candidate.wants_host_code and not allow.host_code,
            Objection.HOST_CODE,
            "the model's plan may run code of its own on the host",
            "host_code",
        ),
    )
    return tuple(
        Finding(objection, f"{text}: the rule needs 'allow: {{{key}: true}}'")
        for applies, objection, text, key in brought
        if applies
    )


def _is_like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
