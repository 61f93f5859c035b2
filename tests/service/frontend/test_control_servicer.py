"""What the calls of interlock.v1.Control answer."""

import pytest

from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.transition import Phase, Transition
from interlock.frontend.control_codec import phase_name
from interlock.frontend.control_servicer import ModelSubscription
from interlock.pb import control_pb2 as pb
from tests.support.boundary import DAY_ZERO, FakeInspection


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


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_number_on_the_wire(phase: Phase) -> None:
    assert phase_name(phase) in pb.Phase.DESCRIPTOR.values_by_name


def test_a_snapshot_comes_first_then_each_move() -> None:
    inspection = FakeInspection()
    inspection.became(move(1.0))
    subscription = ModelSubscription("", inspection, DAY_ZERO)
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


def test_who_watches_one_model_hears_of_no_other() -> None:
    inspection = FakeInspection()
    inspection.became(move(1.0, "other"))
    subscription = ModelSubscription("m", inspection, DAY_ZERO)
    assert snapshot_of(subscription) == []

    inspection.became(move(2.0, "other"))

    assert subscription.next() is None


def test_who_falls_behind_starts_anew() -> None:
    inspection = FakeInspection()
    inspection.kept = 1
    subscription = ModelSubscription("", inspection, DAY_ZERO)
    assert snapshot_of(subscription) == []

    inspection.became(move(1.0))
    inspection.became(move(2.0))

    assert snapshot_of(subscription) == ["m"]
