"""Who answers which models are aspired: the model-control modes.

A mode says what is loaded at start and whether clients may load and unload. What happens
then is the same in all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from interlock.domain.errors import InvalidRequestError, NotAllowedError
from interlock.domain.ids import ModelName
from interlock.repository.snapshot import RepositorySnapshot

WILDCARD: Final = "*"

Snapshot = Callable[[], RepositorySnapshot]


class Mode(Protocol):
    """One model-control mode.

    `follows` says whether somebody asks anew for whatever changes in the repositories.
    """

    @property
    def follows(self) -> bool: ...

    def first_models(self, snapshot: Snapshot) -> tuple[ModelName, ...]:
        """Return the models to load at start, whether or not they are there."""
        ...

    @property
    def wants_all(self) -> bool:
        """Whether it wants what the repositories have: then an unload has to be held."""
        ...

    def check_control(self) -> None:
        """Raise NotAllowedError where clients may not load and unload."""
        ...


@dataclass(frozen=True, slots=True)
class NoneMode:
    """`none`: all models of all repositories at start, and nothing after that.

    With `allow_control` clients may load and unload all the same.
    """

    allow_control: bool = False
    wants_all: bool = field(default=True, init=False)

    follows: bool = False

    def first_models(self, snapshot: Snapshot) -> tuple[ModelName, ...]:
        return _all_models(snapshot())

    def check_control(self) -> None:
        if not self.allow_control:
            raise _not_allowed("none")


@dataclass(frozen=True, slots=True)
class PollMode:
    """`poll`: what the repositories hold, now and later; the poller asks for it.

    With `allow_control` clients may have it looked at now, and hold a model unloaded.
    """

    allow_control: bool = False
    wants_all: bool = field(default=True, init=False)

    follows: bool = True

    def first_models(self, snapshot: Snapshot) -> tuple[ModelName, ...]:  # noqa: ARG002 - Mode's
        return ()

    def check_control(self) -> None:
        if not self.allow_control:
            raise _not_allowed("poll")


@dataclass(frozen=True, slots=True)
class ExplicitMode:
    """`explicit`: the models of `--load-model` at start, then what clients ask for.

    Raise InvalidRequestError for the wildcard in company.
    """

    load_models: tuple[str, ...] = ()
    wants_all: bool = field(default=False, init=False)
    follows: bool = False

    def __post_init__(self) -> None:
        if WILDCARD in self.load_models and len(set(self.load_models)) > 1:
            raise InvalidRequestError(
                "Wildcard model name '*' must be the ONLY startup model if specified at all."
            )

    def first_models(self, snapshot: Snapshot) -> tuple[ModelName, ...]:
        if WILDCARD in self.load_models:
            return _all_models(snapshot())
        return tuple(ModelName(name) for name in dict.fromkeys(self.load_models))

    def check_control(self) -> None:
        return


def _not_allowed(mode: str) -> NotAllowedError:
    """Return Triton's sentence, which is the same for both modes, and what helps."""
    return NotAllowedError(
        "explicit model load / unload is not allowed if polling is enabled: the model control "
        f"mode is {mode}; start the server with --model-control-mode=explicit, or with "
        "--allow-explicit-control"
    )


def _all_models(snapshot: RepositorySnapshot) -> tuple[ModelName, ...]:
    """Return every name, those that cannot be loaded included: that is for the poll to say."""
    broken = {name for name in snapshot.problems if "/" not in name}
    return tuple(map(ModelName, sorted(snapshot.models.keys() | snapshot.duplicates | broken)))
