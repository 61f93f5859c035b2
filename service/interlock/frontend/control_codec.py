"""Write what is known of versions as messages of interlock.v1.

Moments are the monotonic clock's; on the wire they are times of day. `zero` is the time of
day at which that clock stood at 0, so that one moment is the same time in every answer.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from interlock.domain.description import (
    GenerationDescription,
    LoadPlan,
    ModelDescription,
    PlannedStep,
    VerdictDescription,
    VersionDescription,
)
from interlock.domain.transition import Phase, Transition, VersionState
from interlock.pb import control_pb2 as pb

_FROM: Final = "from"
"""A keyword of Python's: the field can be reached through its name alone."""


def phase_name(phase: Phase) -> str:
    return f"PHASE_{phase.name}"


def encode_move(move: Transition, zero: datetime) -> pb.Transition:
    message = pb.Transition(
        model=move.key.model,
        version=str(move.key.version),
        generation=move.key.generation,
        to=phase_name(move.after),
        reason=move.reason,
    )
    setattr(message, _FROM, pb.Phase.Value(phase_name(move.before)))
    message.time.FromDatetime(zero + timedelta(seconds=move.moment))
    return message


def encode_state(state: VersionState, zero: datetime) -> pb.VersionState:
    message = pb.VersionState(
        model=state.key.model,
        version=str(state.key.version),
        generation=state.key.generation,
        phase=phase_name(state.phase),
        state=state.readiness.value,
        reason=state.reason,
        failures=state.failures,
    )
    if state.since is not None:
        message.since.FromDatetime(zero + timedelta(seconds=state.since))
    if state.next_try is not None:
        message.next_try.FromDatetime(zero + timedelta(seconds=state.next_try))
    return message


def encode_staging(state: VersionState, zero: datetime) -> pb.WatchResponse:
    return pb.WatchResponse(staging=encode_state(state, zero))


def encode_snapshot(states: Iterable[VersionState], zero: datetime) -> pb.WatchResponse:
    # Given in any case: an empty snapshot is a snapshot.
    snapshot = pb.WatchResponse.Snapshot(versions=[encode_state(state, zero) for state in states])
    return pb.WatchResponse(snapshot=snapshot)


def encode_description(description: ModelDescription, zero: datetime) -> pb.DescribeResponse:
    return pb.DescribeResponse(
        model=description.model,
        versions=[_version(version, zero) for version in description.versions],
        directory=description.directory,
        config_path=description.config_path,
        version_policy=description.version_policy,
        problem=description.problem,
        hold=description.hold,
    )


def encode_plan(plan: LoadPlan) -> pb.PlanResponse:
    return pb.PlanResponse(steps=map(_step, plan.steps), hold=plan.hold)


def _step(step: PlannedStep) -> pb.PlanResponse.Step:
    return pb.PlanResponse.Step(
        version=str(step.key.version),
        generation=step.key.generation,
        effect=f"EFFECT_{step.effect.name}",
        reason=step.reason,
    )


def _version(version: VersionDescription, zero: datetime) -> pb.DescribeResponse.Version:
    return pb.DescribeResponse.Version(
        version=str(version.version),
        generations=[_generation(generation, zero) for generation in version.generations],
        on_disk=version.on_disk,
        selected=version.selected,
        why_not_ready=version.why_not_ready,
        staging=version.staging,
        size_bytes=version.size_bytes,
    )


def _generation(
    generation: GenerationDescription, zero: datetime
) -> pb.DescribeResponse.Generation:
    verdict = generation.verdict
    return pb.DescribeResponse.Generation(
        state=encode_state(generation.state, zero),
        leases=generation.leases,
        fingerprint=generation.fingerprint,
        digest=generation.digest,
        instances=generation.instances,
        verdict=None if verdict is None else _verdict(verdict),
    )


def _verdict(verdict: VerdictDescription) -> pb.DescribeResponse.Verdict:
    return pb.DescribeResponse.Verdict(
        outcome=verdict.outcome,
        reason=_text(verdict.reason),
        agents=[
            pb.DescribeResponse.Agent(
                name=_text(agent.name),
                passed=agent.passed,
                reason=_text(agent.reason),
                notes={_text(name): _text(value) for name, value in agent.notes.items()},
            )
            for agent in verdict.agents
        ],
    )


def _text(text: str) -> str:
    """Return a text of an agent, which may quote what is no UTF-8, as protobuf takes it."""
    return text.encode(errors="replace").decode()
