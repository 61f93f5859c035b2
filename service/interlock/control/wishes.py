"""What others ask of the manager, and what a poll of a model found.

A wish carries the future that is told how it ended: `None`, or a ServiceError in the words
that the client may read, and a cause: what is done, and who does it.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from interlock.control.rollback import Content
from interlock.domain.cause import A_LOAD, A_RETRY, A_ROLLBACK, AN_UNLOAD, Cause
from interlock.domain.config import ModelConfig
from interlock.domain.config_agents import Preparation
from interlock.domain.errors import NotFoundError, ServiceError
from interlock.domain.ids import GenerationKey, ModelName, Version


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version, with the fingerprint of what it is made of.

    `observed` is what its files must have while it is loaded, "" where that is not looked
    at. It differs from `fingerprint` where files were touched and their content is the same.
    `body` stands for the files but for the configuration, "" where they are not known.
    """

    version: Version
    fingerprint: str
    observed: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Polled:
    """A model as a poll of the repository found it, ready to be loaded.

    `candidates` are what the version policy selects; `fallbacks` take the place of those
    of them that fail and do not serve, the first one first. `common` is the fingerprint of
    all that is not one version's. `origin` says what stands in the place of what the
    repository has, "" where nothing does. With a `preparation` the configuration says no more
    than which versions there are: what the model is to run with is known once its agents
    have been at work.
    """

    model: ModelName
    config: ModelConfig
    directory: Path
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[Candidate, ...] = ()
    common: str = ""
    origin: str = ""
    preparation: Preparation | None = None

    @property
    def found(self) -> dict[Version, Candidate]:
        """Return what was found, selected or not."""
        return {one.version: one for one in (*self.candidates, *self.fallbacks)}


@dataclass(frozen=True, slots=True, eq=False)
class LoadWish:
    """These versions shall serve, and no other of the model.

    Together or not at all; with `alone` each for itself: one that fails hinders no other,
    and is not tried again with the same content, unless `again` is set. With `force`
    generations of their own begin, whatever serves already.

    `follows` says that it comes of what the repository has: a hold may stand against it,
    unless `again` says that somebody named the model.
    """

    polled: Polled
    force: bool = False
    alone: bool = False
    again: bool = False
    follows: bool = False
    cause: Cause = A_LOAD
    outcome: "Future[None]" = field(default_factory=Future)

    @property
    def model(self) -> ModelName:
        return self.polled.model


@dataclass(frozen=True, slots=True, eq=False)
class UnloadWish:
    """No version of the model shall serve; with `hold`, whatever the repository has.

    `gone` is told, always without an error, when what served then holds nothing any more,
    and how many bytes that gave back; nothing is told there if the wish itself fails.
    """

    model: ModelName
    hold: bool = False
    cause: Cause = AN_UNLOAD
    outcome: "Future[None]" = field(default_factory=Future)
    gone: "Future[int]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class RollbackWish:
    """These contents, which have served before, shall serve again and stay."""

    model: ModelName
    contents: tuple[Content, ...]
    cause: Cause = A_ROLLBACK
    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseWish:
    """The model shall not be held any more; what serves of it goes on."""

    model: ModelName
    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class RetryWish:
    """What failed of the model, or this version of it, shall be tried again now.

    `polled` is what was found for that; `None` where what was asked for last is up to date.
    """

    model: ModelName
    version: Version | None = None
    polled: Polled | None = None
    cause: Cause = A_RETRY
    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class ReviewWish:
    """What the policy for repository agents wants of a model after it has changed.

    `renewed` shall be loaded again, beside what serves, so that agents see it; `retried` are
    the versions that failed by it; `withdrawn` shall not serve any more, whatever is asked for.
    The outcome is an error where something else is under way: nothing is renewed then.
    """

    model: ModelName
    renewed: frozenset[GenerationKey] = frozenset()
    retried: frozenset[Version] = frozenset()
    withdrawn: frozenset[GenerationKey] = frozenset()
    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class Trouble:
    """The model could not be polled. What serves of it goes on; the index says why.

    `error` is for the index, `answer` for whoever asked. `unready` is set where strict
    readiness counts it: the model is there and its configuration is sound, but no version
    qualifies. `is_request` is set where the request's own files or versions are at fault: that
    says nothing of the model.
    """

    model: ModelName
    error: ServiceError
    answer: ServiceError
    unready: bool = False
    is_request: bool = False
    cause: Cause = A_LOAD
    outcome: "Future[None]" = field(default_factory=Future)

    @property
    def is_unknown(self) -> bool:
        """Whether the repository has no such model."""
        return isinstance(self.error, NotFoundError)


@dataclass(frozen=True, slots=True, eq=False)
class Stop:
    """Start nothing more; what has begun goes on."""

    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class UnloadAll:
    """Nothing shall serve any more; told when nothing is left."""

    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """The reconciler's own loop shall end."""

    outcome: "Future[None]" = field(default_factory=Future)


def pass_on(to: "Future[None]", ended: "Future[None]") -> None:
    """Tell one who waits what another has heard."""
    error = ended.exception()
    if error is None:
        to.set_result(None)
    else:
        to.set_exception(error)


Wish = (
    LoadWish
    | UnloadWish
    | RollbackWish
    | ReleaseWish
    | RetryWish
    | ReviewWish
    | Trouble
    | Stop
    | UnloadAll
    | End
)
