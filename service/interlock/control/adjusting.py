"""Decide how a version that serves comes to the instances that its new configuration asks for.

It stays READY meanwhile. What is new is built beside what runs; then all that was asked for
together takes over in one round, or nothing of it does.
"""

from collections.abc import Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from interlock.control.actions import Action, Adjust, Apply, Revoke
from interlock.control.wishes import Candidate, Polled
from interlock.domain.cause import Cause
from interlock.domain.config import ModelConfig
from interlock.domain.config_difference import same_but_for_instances
from interlock.domain.ids import GenerationKey
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob


class Stage(Enum):
    """How far a change in place is."""

    ASKED = "asked"
    UNDERWAY = "underway"
    PREPARED = "prepared"
    """Built, warmed up and proven; it waits for the others of the same load."""
    FAILED = "failed"
    """Everything is as it was."""


GOING_ON: Final = frozenset({Stage.ASKED, Stage.UNDERWAY})
"""The stages in which it is still open whether the change can be made."""

Adjusting = Mapping[GenerationKey, Stage]
NOTHING: Final[Adjusting] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Adjustment:
    """What a version that serves is to become, without being loaded again.

    `job` has the new configuration; `fingerprint` and `origin` are the record's once it is
    made. `cause` is who asks for it. `reason` says why it failed; `moved`, that files changed
    meanwhile.
    """

    job: LoadJob
    fingerprint: str
    origin: str
    cause: Cause
    stage: Stage = Stage.ASKED
    update: InstanceUpdate | None = None
    reason: str = ""
    moved: bool = False

    def fail(self, reason: str, *, moved: bool = False) -> InstanceUpdate | None:
        """Leave everything as it was; return what was prepared, to be closed."""
        self.stage = Stage.FAILED
        self.reason = reason
        self.moved = moved
        update, self.update = self.update, None
        return update

    def again(self) -> "Adjustment":
        """Return the same change, not begun yet."""
        return Adjustment(self.job, self.fingerprint, self.origin, self.cause)

    def goes_on_for(self, candidate: Candidate, *, alone: bool) -> bool:
        """Whether nothing new has to be begun for what is asked for now."""
        if self.fingerprint != candidate.fingerprint:
            return False
        return self.stage is not Stage.FAILED or (alone and not self.moved)


def can_adjust(body: str, config: ModelConfig, candidate: Candidate, polled: Polled) -> bool:
    """Return whether what serves can become what is asked for in place.

    `body` and `config` are those of what serves.
    """
    return bool(body) and body == candidate.body and same_but_for_instances(config, polled.config)


def adjust(
    aspired: AbstractSet[GenerationKey],
    adjusting: Adjusting,
    *,
    complete: bool,
    undecided: bool,
) -> Iterator[Action]:
    """Yield what to do now for the changes in place.

    `complete` says that nothing has to be waited for, `undecided` that something still is.
    """
    for key in sorted(adjusting):
        stage = adjusting[key]
        if stage is Stage.ASKED and key in aspired:
            yield Adjust(key, "its configuration asks for other instances")
        elif stage is Stage.PREPARED:
            if key not in aspired:
                yield Revoke(key, "no longer asked for")
            elif complete:
                yield Apply(key, "changed in place")
            elif not undecided:
                yield Revoke(key, "another version of this load failed")
