"""Which instances are built, and what happens when one of them cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from interlock.backends.base import BatchResult
from interlock.backends.instance_group import Instances, Place, Placed, build_instances
from interlock.domain.config import InstanceGroup, ModelConfig, ModelFacts
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.request import InferRequest


@dataclass
class FakeInstance:
    name: str
    closed: list[str]
    close_error: Exception | None = None

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        raise AssertionError("nothing runs here")

    def close(self) -> None:
        self.closed.append(self.name)
        if self.close_error is not None:
            raise self.close_error


@dataclass
class FakeModel:
    """Makes instances until it has made `limit` of them."""

    limit: int = 100
    made: list[tuple[str, int]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    facts: ModelFacts | None = None

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> FakeInstance:
        if index >= self.limit:
            raise InternalError(f"no room for {name}")
        self.made.append((name, index))
        return FakeInstance(name, self.closed)

    def close(self) -> None:
        raise AssertionError("the model is not the group's to close")


def config(*groups: InstanceGroup) -> ModelConfig:
    return ModelConfig("m", instance_groups=groups)


def test_instances_are_named_after_their_group_and_counted_through_the_model() -> None:
    model = FakeModel()

    build_instances(model, config(InstanceGroup("a", count=2), InstanceGroup("b")))

    assert model.made == [("a_0", 0), ("a_1", 1), ("b_0", 2)]


def test_a_group_on_several_gpus_has_its_count_on_each() -> None:
    model = FakeModel()

    build_instances(model, config(InstanceGroup("a", kind="KIND_GPU", count=2, gpus=(0, 1))))

    assert [name for name, _ in model.made] == ["a_0", "a_1", "a_2", "a_3"]


def test_passive_instances_are_built_apart() -> None:
    built = build_instances(
        FakeModel(), config(InstanceGroup("a"), InstanceGroup("idle", passive=True))
    )

    assert [instance.name for instance in built.active] == ["a_0"]
    assert [instance.name for instance in built.passive] == ["idle_0"]


def test_a_model_with_passive_instances_alone_is_refused() -> None:
    model = FakeModel()

    with pytest.raises(InvalidRequestError) as caught:
        build_instances(model, config(InstanceGroup("idle", passive=True)))

    assert str(caught.value) == (
        "every instance of model 'm' is passive: nothing could run a request"
    )
    assert model.closed == ["idle_0"]


def test_what_was_built_is_closed_when_a_later_instance_fails() -> None:
    model = FakeModel(limit=2)

    with pytest.raises(InternalError, match="no room for a_2"):
        build_instances(model, config(InstanceGroup("a", count=3)))

    assert sorted(model.closed) == ["a_0", "a_1"]


def test_what_is_there_is_kept_and_what_is_lacking_is_built() -> None:
    model = FakeModel()
    before = build_instances(model, config(InstanceGroup("a")))

    after = build_instances(model, config(InstanceGroup("a", count=3)), keep=before)

    assert model.made == [("a_0", 0), ("a_1", 1), ("a_2", 2)]
    assert after.active[0] is before.active[0]
    assert [one.name for one in after.without(before).active] == ["a_1", "a_2"]


def test_a_group_with_another_name_keeps_its_instances() -> None:
    model = FakeModel()
    before = build_instances(model, config(InstanceGroup("a", count=2)))

    after = build_instances(model, config(InstanceGroup("b", count=2)), keep=before)

    assert after.active == before.active


def test_of_two_groups_that_one_goes_that_is_no_longer_named() -> None:
    model = FakeModel()
    before = build_instances(model, config(InstanceGroup("a"), InstanceGroup("b")))

    after = build_instances(model, config(InstanceGroup("b")), keep=before)

    assert [one.name for one in after.active] == ["b_0"]
    assert [one.name for one in before.without(after).active] == ["a_0"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(InstanceGroup("a", kind="KIND_MODEL"), id="kind"),
        pytest.param(InstanceGroup("a", gpus=(1,)), id="GPU"),
        pytest.param(InstanceGroup("a", rest=b"rate limiter"), id="anything else"),
    ],
)
def test_an_instance_of_another_kind_is_built_anew(other: InstanceGroup) -> None:
    model = FakeModel()
    before = build_instances(model, config(InstanceGroup("a")))

    after = build_instances(model, config(other), keep=before)

    assert after.without(before) == after


def test_one_that_becomes_passive_is_built_anew() -> None:
    model = FakeModel()
    before = build_instances(model, config(InstanceGroup("a"), InstanceGroup("b")))
    wanted = config(InstanceGroup("a"), InstanceGroup("b", passive=True))

    after = build_instances(model, wanted, keep=before)

    assert after.active == before.active[:1]
    assert len(after.without(before).passive) == 1


def test_what_is_kept_is_not_closed_when_another_cannot_be_built() -> None:
    before = build_instances(FakeModel(), config(InstanceGroup("a")))
    model = FakeModel(limit=2)

    with pytest.raises(InternalError, match="no room for a_2"):
        build_instances(model, config(InstanceGroup("a", count=3)), keep=before)

    assert model.closed == ["a_1"]


def test_every_instance_is_closed_even_if_one_of_them_fails_at_it() -> None:
    closed: list[str] = []
    bad = FakeInstance("bad", closed, InternalError("stuck"))
    instances = Instances(
        (
            Placed(Place("a", (), passive=False), FakeInstance("a", closed)),
            Placed(Place("bad", (), passive=False), bad),
            Placed(Place("b", (), passive=False), FakeInstance("b", closed)),
            Placed(Place("idle", (), passive=True), FakeInstance("idle", closed)),
        )
    )

    with pytest.raises(InternalError, match="stuck"):
        instances.close()

    assert sorted(closed) == ["a", "b", "bad", "idle"]
