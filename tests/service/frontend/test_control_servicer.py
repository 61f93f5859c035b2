"""What the calls of interlock.v1.Control answer."""

from dataclasses import replace

import pytest

from interlock.domain.cause import Actor
from interlock.domain.description import (
    AgentDescription,
    GenerationDescription,
    LoadPlan,
    ModelDescription,
    VerdictDescription,
    VersionDescription,
)
from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import Readiness
from interlock.domain.transition import Phase, Transition, VersionState
from interlock.frontend.control_codec import (
    encode_description,
    encode_plan,
    encode_state,
    phase_name,
)
from interlock.frontend.control_servicer import ControlServicer, ModelSubscription
from interlock.frontend.gate import Gate
from interlock.pb import control_pb2 as pb
from interlock.runtime.clock import monotonic
from tests.support.boundary import DAY_ZERO, FakeControl, FakeInspection, FakeServerState


def move(moment: float, model: str = "m", after: Phase = Phase.LOADING) -> Transition:
    key = GenerationKey(ModelName(model), Version(1), Generation(2))
    return Transition(key, Phase.NEW, after, "asked for", moment)


def snapshot_of(subscription: ModelSubscription) -> list[str]:
    """Take the next message, which is a snapshot and the last there is."""
    message = subscription.next()
    assert message is not None
    assert message.HasField("snapshot")
    assert subscription.next() is None
    return [state.model for state in message.snapshot.versions]


NOW = 9.0
WHO = Actor("ipv4:10.0.0.1:5")


def subscribed(model: str, inspection: FakeInspection) -> ModelSubscription:
    return ModelSubscription(model, inspection, DAY_ZERO, lambda: NOW)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_number_on_the_wire(phase: Phase) -> None:
    assert phase_name(phase) in pb.Phase.DESCRIPTOR.values_by_name


def test_a_snapshot_comes_first_then_each_move() -> None:
    inspection = FakeInspection()
    inspection.became(move(1.0))
    subscription = subscribed("", inspection)
    assert snapshot_of(subscription) == ["m"]

    inspection.became(move(2.0))
    inspection.became(move(3.0, "other"))

    first, second = subscription.next(), subscription.next()
    assert first is not None
    assert second is not None
    assert subscription.next() is None
    assert first.transition.generation == 2
    assert first.transition.reason == "asked for"
    assert first.transition.time.ToSeconds() == DAY_ZERO.timestamp() + 2
    assert getattr(first.transition, "from") == pb.PHASE_NEW
    assert first.transition.to == pb.PHASE_LOADING
    assert second.transition.model == "other"


def arriving(version: int, reason: str, model: str = "m") -> VersionState:
    key = GenerationKey(ModelName(model), Version(version), Generation(0))
    return VersionState(key, Phase.STAGING, Readiness.UNAVAILABLE, reason, 1.0)


def staging_of(subscription: ModelSubscription) -> list[tuple[str, str, float]]:
    """Take what has been told of what arrives, and since when that is so."""
    told = []
    while (message := subscription.next()) is not None:
        state = message.staging
        assert state.phase == pb.PHASE_STAGING
        since = state.since.ToSeconds() - DAY_ZERO.timestamp()
        told.append((state.version, state.reason, since))
    return told


def test_what_arrives_is_told_of_when_it_changes() -> None:
    inspection = FakeInspection()
    inspection.arriving = (arriving(1, "1 of 2 files"),)
    subscription = subscribed("m", inspection)
    assert snapshot_of(subscription) == ["m"]

    inspection.arriving = (arriving(1, "1 of 2 files"), arriving(2, "settling"))
    assert staging_of(subscription) == [("2", "settling", 1.0)]
    inspection.arriving = (arriving(2, "settling"), arriving(3, "settling", "other"))
    assert staging_of(subscription) == [("1", "", NOW)]
    assert staging_of(subscription) == []


def test_what_failed_tells_when_it_is_tried_again() -> None:
    state = VersionState(arriving(1, "").key, Phase.FAILED, Readiness.UNAVAILABLE)
    assert not encode_state(state, DAY_ZERO).HasField("next_try")

    message = encode_state(replace(state, failures=3, next_try=60.0), DAY_ZERO)

    assert message.failures == 3
    assert message.next_try.ToSeconds() == DAY_ZERO.timestamp() + 60


def test_who_watches_one_model_hears_of_no_other() -> None:
    inspection = FakeInspection()
    inspection.became(move(1.0, "other"))
    subscription = subscribed("m", inspection)
    assert snapshot_of(subscription) == []

    inspection.became(move(2.0, "other"))

    assert subscription.next() is None


def test_who_falls_behind_starts_anew() -> None:
    inspection = FakeInspection()
    inspection.kept = 1
    subscription = subscribed("", inspection)
    assert snapshot_of(subscription) == []

    inspection.became(move(1.0))
    inspection.became(move(2.0))

    assert snapshot_of(subscription) == ["m"]


def rollback_of(control: FakeControl) -> ControlServicer:
    """A servicer of a server that has started."""
    state = FakeServerState()
    return ControlServicer(
        inspection=FakeInspection(),
        control=control,
        gate=Gate(state=state, restricted=()),
        subscribe=state.subscribe,
        clock=monotonic,
        zero=DAY_ZERO,
    )


@pytest.mark.parametrize(("version", "asked"), [("", None), ("3", 3)])
def test_a_rollback_says_where_it_went(version: str, asked: int | None) -> None:
    control = FakeControl()

    answer = rollback_of(control).rollback(pb.RollbackRequest(model="m", version=version), WHO)

    assert control.asked == [("roll back", "m", {"version": asked})]
    assert control.actors == [WHO]
    assert answer == pb.RollbackResponse(versions=[str(asked or 1)], was_warm=True, hold="held")


def test_a_release_takes_no_version() -> None:
    control = FakeControl()
    servicer = rollback_of(control)

    servicer.rollback(pb.RollbackRequest(model="m", release=True), WHO)
    with pytest.raises(InvalidRequestError) as caught:
        servicer.rollback(pb.RollbackRequest(model="m", release=True, version="1"), WHO)

    assert control.asked == [("release", "m", {})]
    assert str(caught.value) == "a release ends the hold on the whole model and takes no version"


def described(verdict: VerdictDescription | None) -> pb.DescribeResponse.Generation:
    """A generation with a verdict, as it travels."""
    key = GenerationKey(ModelName("m"), Version(1), Generation(1))
    state = VersionState(key, Phase.READY, Readiness.READY)
    generation = GenerationDescription(state, "f", 0, verdict=verdict)
    version = VersionDescription(key.version, (generation,), True, True, "")
    told = encode_description(ModelDescription(key.model, (version,)), DAY_ZERO)
    return told.versions[0].generations[0]


def test_what_agents_say_travels_whatever_it_quotes() -> None:
    agent = AgentDescription("a", passed=False, reason="no '\udcff'", notes={"file": "\udcff"})

    told = described(VerdictDescription("refused", "no '\udcff'", (agent,))).verdict

    assert (told.outcome, told.reason) == ("refused", "no '?'")
    assert (told.agents[0].reason, dict(told.agents[0].notes)) == ("no '?'", {"file": "?"})


def test_where_no_agent_has_said_anything_nothing_travels() -> None:
    assert not described(None).HasField("verdict")


def test_a_plan_says_what_is_held() -> None:
    assert encode_plan(LoadPlan((), hold="held")) == pb.PlanResponse(hold="held")
