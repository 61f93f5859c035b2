"""What an operator decided against the repository, and how long that stays.

A hold keeps a model as a request left it: rolled back, or unloaded. Nothing but what is
named here ends it, and it is told wherever one looks for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from interlock.control.wishes import Polled
from interlock.domain.ids import Version

Identities = Mapping[Version, str]
"""What a model is made of: the fingerprint of each version that was found."""


class HoldKind(Enum):
    ROLLBACK = "rollback"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Hold:
    """One model's hold.

    `versions` are those that it keeps, `content` is what the repository had when it began,
    as far as somebody followed that.
    """

    kind: HoldKind
    versions: tuple[Version, ...] = ()
    content: Identities = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Say what is held and what ends that, for the index, the log and the plan."""
        if self.kind is HoldKind.UNLOAD:
            return "held: unloaded on request, until a load names the model or the hold is released"
        listed = ", ".join(map(str, self.versions))
        return (
            f"held: rolled back to version {listed}, until the model's content changes, a load "
            "names the model or the hold is released"
        )

    def outlasts(self, polled: Polled) -> bool:
        """Return whether it goes on though the repository now has this."""
        return self.kind is HoldKind.UNLOAD or identities(polled) == self.content


def identities(polled: Polled | None) -> Identities:
    """Return what a poll found, selected or not."""
    if polled is None:
        return {}
    return {version: one.fingerprint for version, one in polled.found.items()}
