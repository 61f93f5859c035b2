"""What a plan is made of: the moves that the planner may ask for.

Each names the generation that it concerns, and why, in the words that end up in the log
and in the version's history.
"""

from dataclasses import dataclass

from interlock.domain.ids import GenerationKey


@dataclass(frozen=True, slots=True)
class Load:
    """Build it, beside whatever serves now."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Show:
    """Put it into the serving table. All of one plan are shown by one assignment."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StandBy:
    """Take it out of the serving table, and keep it loaded for the rollback window."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take it out of the serving table, let it drain, give back what it holds."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Discard:
    """Give back what was built and will never be shown."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Give it up: nothing was built, and nobody asks for it any more."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Forgive a failure that nobody asks for any more; its line in the index stays."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the record: it is over, and a newer generation tells of the version."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Adjust:
    """Build the instances that it is to have, beside those that run; it goes on serving."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """Let the instances that were built take over."""

    key: GenerationKey
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Give back the instances that were built, and leave it as it is."""

    key: GenerationKey
    reason: str = ""


Action = (
    Load | Show | StandBy | Withdraw | Discard | Drop | Dismiss | Forget | Adjust | Apply | Revoke
)
