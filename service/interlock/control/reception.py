"""Turn what callers want into wishes: check it, wait for the model's turn, poll, hand over.

Runs in the callers' threads, so that a slow disk or a long line holds up nobody else. How a
wish ends is the manager's business.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

import structlog

from interlock.control.asking import wish_of
from interlock.control.first_loads import FirstLoads
from interlock.control.load_parameters import (
    Parameter,
    check_load_parameters,
    check_unload_parameters,
    refuse_overrides,
)
from interlock.control.modes import Mode
from interlock.control.polling import Repository
from interlock.control.turns import Turns
from interlock.control.wishes import LoadWish, Trouble, UnloadWish
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.layout import check_model_name
from interlock.repository.snapshot import RepositorySnapshot

log = structlog.get_logger()

ModelWish = LoadWish | UnloadWish | Trouble


class Reception:
    """Where loads and unloads are asked for. Any thread may call; `load` and `unload` wait."""

    def __init__(
        self, *, repository: Repository, mode: Mode, hand_over: Callable[[ModelWish], None]
    ) -> None:
        self._repository = repository
        self._mode = mode
        self._hand_over = hand_over
        self._turns = Turns()
        self.first_loads = FirstLoads()

    def load(self, model: str, parameters: Mapping[str, Parameter]) -> None:
        """Return when the model serves what is on disk.

        Raise InvalidRequestError for the request's own faults and where a version failed,
        UnavailableError where the mode refuses, InternalError where the repository has
        nothing to load.
        """
        check_load_parameters(parameters)
        check_model_name(model)
        self._mode.check_control()
        refuse_overrides(parameters)
        name = ModelName(model)
        self._turns.enter(name)
        self._ask(self._poll(name)).result()

    def unload(self, model: str, parameters: Mapping[str, Parameter]) -> None:
        """Return when no version of the model is READY."""
        check_unload_parameters(parameters)
        self._mode.check_control()
        name = ModelName(model)
        self._turns.enter(name)
        self._ask(UnloadWish(name)).result()

    def begin(self) -> None:
        """Ask for what the mode wants loaded at start; `first_loads` tells how that ends."""
        for model in self._mode.first_models(self._first_snapshot):
            self.first_loads.begin(model)
            try:
                self._turns.enter(model)
            except UnavailableError as error:  # asked to stop before all had been asked for
                self.first_loads.end(model, error)
                continue
            outcome = self._ask(self._poll(model, alone=True))
            outcome.add_done_callback(partial(self._first_load_ended, model))
        self.first_loads.all_named()

    def close(self) -> None:
        """Send away whoever waits for a turn, and whoever comes."""
        self._turns.close()

    def _ask(self, wish: ModelWish) -> "Future[None]":
        """Hand a wish over; the turn of its model ends with it."""
        wish.outcome.add_done_callback(lambda _: self._turns.leave(wish.model))
        self._hand_over(wish)
        return wish.outcome

    def _poll(self, model: ModelName, *, alone: bool = False) -> LoadWish | Trouble:
        return wish_of(model, lambda: self._repository.poll(model), alone=alone)

    def _first_snapshot(self) -> RepositorySnapshot:
        snapshot = self._repository.snapshot()
        for place, problem in snapshot.problems.items():
            if "/" in place:
                log.error("model repository cannot be read", repository=place, reason=problem)
                self.first_loads.end(place, UnavailableError(problem))
        return snapshot

    def _first_load_ended(self, model: ModelName, outcome: "Future[None]") -> None:
        error = outcome.exception()
        self.first_loads.end(model, error if isinstance(error, ServiceError) else None)
