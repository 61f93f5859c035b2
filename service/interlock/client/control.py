"""What a server's versions do, why one is not loaded, and going back: interlock.v1.Control."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from interlock.client.calls import Client
from interlock.client.plain import Plain
from interlock.pb import control_pb2 as pb

CONTROL: Final = "interlock.v1.Control"

_PHASES: Final = {number: name for name, number in pb.Phase.items()}
_EFFECTS: Final = {number: name for name, number in pb.PlanResponse.Effect.items()}
_FROM: Final = "from"


@dataclass(frozen=True, slots=True)
class VersionState:
    """Where one content of a version is. `since` is empty where it has not moved yet.

    `failures` is how often it has failed, `next_try` when it is tried again, "" for never.
    """

    model: str
    version: str
    generation: int
    phase: str
    state: str
    reason: str
    since: str
    failures: int = 0
    next_try: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """One move of one content of a version."""

    model: str
    version: str
    generation: int
    before: str
    after: str
    reason: str
    time: str

    def as_plain(self) -> Plain:
        return {
            "model": self.model,
            "version": self.version,
            "generation": self.generation,
            "from": self.before,
            "to": self.after,
            "reason": self.reason,
            "time": self.time,
        }


@dataclass(frozen=True, slots=True)
class Agent:
    """What one repository agent said; `reason` is why it refuses, `notes` what it found."""

    name: str
    passed: bool
    reason: str
    notes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was made of what the agents said, each in turn, in a word of the audit log."""

    outcome: str
    reason: str
    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """One content of a version: so many requests are inside it, so many instances take them.

    `digest` is that of its files, `pending` while it is made, "" where nobody makes it.
    `verdict` is `None` where no agent has seen it.
    """

    state: VersionState
    leases: int
    fingerprint: str
    digest: str
    instances: int
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    on_disk: bool
    selected: bool
    why_not_ready: str
    staging: str
    size_bytes: int
    generations: tuple[Generation, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that is known of one model."""

    model: str
    directory: str
    config_path: str
    version_policy: str
    problem: str
    hold: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a load would do to one content of a version: keep, adjust, load or unload it."""

    version: str
    generation: int
    effect: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load would do, and the hold that it would end, "" where there is none."""

    steps: tuple[PlannedStep, ...]
    hold: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The versions that a model went back to, whether they were loaded still, and what is held."""

    versions: tuple[str, ...]
    was_warm: bool
    hold: str


def plan(client: Client, model: str) -> Plan:
    request = pb.PlanRequest(model=model)
    answer = client.call("Plan", request, pb.PlanResponse, service=CONTROL)
    steps = tuple(
        PlannedStep(step.version, step.generation, _effect(step.effect), step.reason)
        for step in answer.steps
    )
    return Plan(steps, answer.hold)


def roll_back(client: Client, model: str, version: str) -> RolledBack:
    """Serve what served before, or the version that is named, and hold that."""
    request = pb.RollbackRequest(model=model, version=version)
    answer = client.call("Rollback", request, pb.RollbackResponse, service=CONTROL)
    return RolledBack(tuple(answer.versions), answer.was_warm, answer.hold)


def release(client: Client, model: str) -> None:
    """End the hold on a model."""
    request = pb.RollbackRequest(model=model, release=True)
    client.call("Rollback", request, pb.RollbackResponse, service=CONTROL)


def retry(client: Client, model: str, version: str) -> None:
    """Try again what failed of a model, or of one version; return when it serves."""
    request = pb.RetryRequest(model=model, version=version)
    client.call("Retry", request, pb.RetryResponse, service=CONTROL)


def watch(client: Client, model: str) -> Iterator[tuple[VersionState, ...] | VersionState | Move]:
    """Yield where everything is, then each move; where everything is again after a gap.

    A single state is that of a content that arrives; with no reason, that it does no longer.
    """
    request = pb.WatchRequest(model=model)
    for message in client.stream("Watch", request, pb.WatchResponse, service=CONTROL):
        match message.WhichOneof("event"):
            case "snapshot":
                yield tuple(map(_state, message.snapshot.versions))
            case "transition":
                yield _move(message.transition)
            case "staging":
                yield _state(message.staging)


def states(client: Client, model: str) -> tuple[VersionState, ...]:
    """Return where everything is now; of one model, or of all."""
    for first in watch(client, model):
        if isinstance(first, tuple):
            return first
    return ()


def describe(client: Client, model: str) -> Description:
    request = pb.DescribeRequest(model=model)
    answer = client.call("Describe", request, pb.DescribeResponse, service=CONTROL)
    return Description(
        answer.model,
        answer.directory,
        answer.config_path,
        answer.version_policy,
        answer.problem,
        answer.hold,
        tuple(map(_version, answer.versions)),
    )


def _version(message: pb.DescribeResponse.Version) -> Version:
    return Version(
        message.version,
        message.on_disk,
        message.selected,
        message.why_not_ready,
        message.staging,
        message.size_bytes,
        tuple(map(_generation, message.generations)),
    )


def _generation(message: pb.DescribeResponse.Generation) -> Generation:
    return Generation(
        _state(message.state),
        message.leases,
        message.fingerprint,
        message.digest,
        message.instances,
        _verdict(message.verdict) if message.HasField("verdict") else None,
    )


def _verdict(message: pb.DescribeResponse.Verdict) -> Verdict:
    return Verdict(
        message.outcome,
        message.reason,
        tuple(
            Agent(one.name, one.passed, one.reason, dict(sorted(one.notes.items())))
            for one in message.agents
        ),
    )


def _state(message: pb.VersionState) -> VersionState:
    return VersionState(
        message.model,
        message.version,
        message.generation,
        _phase(message.phase),
        message.state,
        message.reason,
        _time(message.since) if message.HasField("since") else "",
        message.failures,
        _time(message.next_try) if message.HasField("next_try") else "",
    )


def _move(message: pb.Transition) -> Move:
    return Move(
        message.model,
        message.version,
        message.generation,
        # A keyword of Python's: the field can be reached through its name alone.
        _phase(getattr(message, _FROM)),
        _phase(message.to),
        message.reason,
        _time(message.time),
    )


def _phase(number: int) -> str:
    """Return the name; one that is newer than we are is its number."""
    return _PHASES.get(number, str(number)).removeprefix("PHASE_").lower()


def _effect(number: int) -> str:
    return _EFFECTS.get(number, str(number)).removeprefix("EFFECT_").lower()


def _time(stamp: Timestamp) -> str:
    text = stamp.ToDatetime(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
