"""Build the instances that a configuration asks for."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from interlock.backends.base import Instance, OpenedModel
from interlock.domain.config import InstanceGroup, ModelConfig
from interlock.domain.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Instances:
    """A version's instances. The passive ones are built, and get no requests."""

    active: tuple[Instance, ...]
    passive: tuple[Instance, ...]

    def close(self) -> None:
        """Close all of them; the first failure is raised when all have been tried."""
        with ExitStack() as stack:
            for instance in (*self.active, *self.passive):
                stack.callback(instance.close)


def build_instances(opened: OpenedModel, config: ModelConfig) -> Instances:
    """Build every instance, one after the other: those of today's backends take no time.

    What was built is closed again when a later one fails. Raise ServiceError.
    """
    active: list[Instance] = []
    passive: list[Instance] = []
    with ExitStack() as undo:
        for index, (group, name) in enumerate(instance_names(config)):
            instance = opened.make_instance(config, name=name, index=index)
            undo.callback(instance.close)
            (passive if group.passive else active).append(instance)
        if not active:
            raise InvalidRequestError(
                f"every instance of model '{config.name}' is passive: nothing could run a request"
            )
        undo.pop_all()
    return Instances(tuple(active), tuple(passive))


def instance_names(config: ModelConfig) -> Iterator[tuple[InstanceGroup, str]]:
    """Yield every instance's group and name, `<group>_<c>`; a group counts through its GPUs."""
    for group in config.instance_groups:
        for number in range(group.count * max(1, len(group.gpus))):
            yield group, f"{group.name}_{number}"
