"""Build the instances that a configuration asks for, beside those that there are already."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from interlock.backends.base import Instance, OpenedModel
from interlock.domain.config import InstanceGroup, ModelConfig
from interlock.domain.errors import InvalidRequestError


class Place(NamedTuple):
    """What one instance is asked to be. Two with the same `signature` can stand in for each other.

    `name` is `<group>_<c>`; a group counts through its GPUs.
    """

    name: str
    signature: tuple[object, ...]
    passive: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance, and the place that it fills."""

    place: Place
    instance: Instance


@dataclass(frozen=True, slots=True)
class Instances:
    """A version's instances. The passive ones are built, and get no requests."""

    placed: tuple[Placed, ...] = ()

    @property
    def active(self) -> tuple[Instance, ...]:
        return tuple(one.instance for one in self.placed if not one.place.passive)

    @property
    def passive(self) -> tuple[Instance, ...]:
        return tuple(one.instance for one in self.placed if one.place.passive)

    def without(self, others: "Instances") -> "Instances":
        """Return those that `others` does not have."""
        known = {id(one.instance) for one in others.placed}
        return Instances(tuple(one for one in self.placed if id(one.instance) not in known))

    def close(self) -> None:
        """Close all of them; the first failure is raised when all have been tried."""
        with ExitStack() as stack:
            for instance in (*self.active, *self.passive):
                stack.callback(instance.close)


NO_INSTANCES = Instances()


def build_instances(
    opened: OpenedModel, config: ModelConfig, *, keep: Instances = NO_INSTANCES
) -> Instances:
    """Build every instance, one after the other: those of today's backends take no time.

    One of `keep` is taken where it can stand in for what is asked for, whatever its name.
    What was built is closed again when a later one fails. Raise ServiceError.
    """
    places = list(places_of(config))
    kept = matched(places, keep.placed)
    placed: list[Placed] = []
    with ExitStack() as undo:
        for index, place in enumerate(places):
            instance = kept.get(index)
            if instance is None:
                instance = opened.make_instance(config, name=place.name, index=index)
                undo.callback(instance.close)
            placed.append(Placed(place, instance))
        if all(place.passive for place in places):
            raise InvalidRequestError(
                f"every instance of model '{config.name}' is passive: nothing could run a request"
            )
        undo.pop_all()
    return Instances(tuple(placed))


def places_of(config: ModelConfig) -> Iterator[Place]:
    """Yield what each instance is asked to be."""
    for group, name, gpu in _members(config):
        yield Place(name, (group.kind, gpu, group.passive, group.rest), group.passive)


def matched(places: Sequence[Place], there: Sequence[Placed]) -> dict[int, Instance]:
    """Return which places instances that are there can fill, by the place's index.

    Those of the same name first: where one of several groups goes, its own instances go.
    """
    found: dict[int, Instance] = {}
    left = list(there)

    def fill(fits: Callable[[Place, Place], bool]) -> None:
        for index, place in enumerate(places):
            if index in found:
                continue
            for one in left:
                if fits(one.place, place):
                    found[index] = one.instance
                    left.remove(one)
                    break

    fill(lambda has, wanted: has == wanted)
    fill(lambda has, wanted: has.signature == wanted.signature)
    return found


def _members(config: ModelConfig) -> Iterator[tuple[InstanceGroup, str, int | None]]:
    """Yield every instance's group, name and GPU."""
    for group in config.instance_groups:
        gpus: Sequence[int | None] = group.gpus or (None,)
        for number in range(group.count * len(gpus)):
            yield group, f"{group.name}_{number}", gpus[number // group.count]
