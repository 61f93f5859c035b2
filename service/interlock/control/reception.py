"""Turn what callers want into wishes: check it, wait for the model's turn, poll, hand over.

Runs in the callers' threads, so that a slow disk or a long line holds up nobody else. How a
wish ends is the manager's business.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial

import structlog

from interlock.control import answers
from interlock.control.asking import wish_of
from interlock.control.first_loads import FirstLoads
from interlock.control.index import ModelView
from interlock.control.load_parameters import (
    LoadOptions,
    Parameter,
    read_load_parameters,
    read_unload_parameters,
)
from interlock.control.modes import Mode
from interlock.control.overrides import Overrides
from interlock.control.polling import PLAIN, Look, Repository
from interlock.control.turns import Turns
from interlock.control.wishes import LoadWish, Polled, RetryWish, Trouble, UnloadWish
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.layout import check_model_name
from interlock.repository.snapshot import RepositorySnapshot
from interlock.runtime.clock import Clock

log = structlog.get_logger()

Settle = Callable[[Iterable[ModelName]], Iterator[ModelName]]
"""Hands on what is to be loaded at start, each model when its files lie still."""

ModelWish = LoadWish | UnloadWish | RetryWish | Trouble


class Reception:
    """Where loads and unloads are asked for. Any thread may call; `load` and `unload` wait."""

    def __init__(
        self,
        *,
        repository: Repository,
        mode: Mode,
        hand_over: Callable[[ModelWish], None],
        view: Callable[[str], ModelView | None],
        clock: Clock,
        settle: Settle = iter,
    ) -> None:
        self._repository = repository
        self._overrides = Overrides(repository)
        self._mode = mode
        self._hand_over = hand_over
        self._view = view
        self._clock = clock
        self._settle = settle
        self._turns = Turns()
        self.first_loads = FirstLoads()

    def load(self, model: str, parameters: Mapping[str, Parameter]) -> None:
        """Return when the model serves what is on disk, or what came with the request.

        Without `wait`, return when the load has begun. Raise InvalidRequestError for the
        request's own faults and where a version failed, UnavailableError where the mode
        refuses and where `timeout_ms` has passed, InternalError where the repository has
        nothing to load.
        """
        options = read_load_parameters(parameters)
        check_model_name(model)
        self._mode.check_control()
        name = ModelName(model)
        deadline = self._clock() + options.timeout_ms / 1000 if options.timeout_ms else None
        if not self._turns.enter(name, self._left_s(deadline)):
            raise answers.load_not_begun(name, options.timeout_ms)
        wish = self._wish_for(name, options)
        self._ask(wish)
        if isinstance(wish, LoadWish) and not options.wait:
            return
        try:
            wish.outcome.result(self._left_s(deadline))
        except TimeoutError:
            raise answers.load_not_ended(name, options.timeout_ms) from None

    def unload(self, model: str, parameters: Mapping[str, Parameter]) -> None:
        """Return when no version of the model is READY; with `wait`, when nothing is left of it."""
        options = read_unload_parameters(parameters)
        self._mode.check_control()
        name = ModelName(model)
        self._turns.enter(name)
        self._overrides.forget(name)
        wish = UnloadWish(name)
        self._ask(wish).result()
        if options.wait:
            wish.gone.result()

    def retry(self, model: str, version: int | None) -> None:
        """Try again now what failed of a model, or of this version; return when it serves.

        Where nobody follows the repositories, with what is there now. Raise NotFoundError for
        what nobody knows, InvalidRequestError where nothing has failed, or fails again, and
        what `load` raises where the repository has nothing to load.
        """
        name = ModelName(model)
        number = None if version is None else Version(version)
        view = self._view(name)
        if view is None:
            raise answers.unknown(name)
        if self._mode.follows:
            wish = RetryWish(name, number)
            self._hand_over(wish)
            wish.outcome.result()
            return
        _check_failed(view, number)
        self._turns.enter(name)
        found = self._poll(name)
        if isinstance(found, LoadWish) and view.alone:
            self._ask(RetryWish(name, number, found.polled)).result()
        else:
            self._ask(found).result()

    def peek(self, model: ModelName) -> Polled:
        """Return what a plain load would find now, changing nothing."""
        return self._overrides.peek(model)

    def begin(self) -> None:
        """Ask for what the mode wants loaded at start; `first_loads` tells how that ends."""
        for model in self._settle(self._mode.first_models(self._first_snapshot)):
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

    def _left_s(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - self._clock())

    def _wish_for(self, model: ModelName, options: LoadOptions) -> LoadWish | Trouble:
        look = Look(config=options.config, versions=options.versions, files=options.files)
        wish = self._poll(model, look, force=options.force)
        if isinstance(wish, LoadWish):
            wish.outcome.add_done_callback(partial(self._keep, wish.polled, look))
        return wish

    def _keep(self, polled: Polled, look: Look, outcome: "Future[None]") -> None:
        """Let what the load put in the place of the files stick, now that it serves."""
        if outcome.exception() is None:
            self._overrides.keep(polled, look)

    def _ask(self, wish: ModelWish) -> "Future[None]":
        """Hand a wish over; the turn of its model ends with it."""
        wish.outcome.add_done_callback(lambda _: self._turns.leave(wish.model))
        self._hand_over(wish)
        return wish.outcome

    def _poll(
        self, model: ModelName, look: Look = PLAIN, *, force: bool = False, alone: bool = False
    ) -> LoadWish | Trouble:
        return wish_of(
            model,
            lambda: self._overrides.poll(model, look),
            has_files=bool(look.files),
            force=force,
            alone=alone,
        )

    def _first_snapshot(self) -> RepositorySnapshot:
        snapshot = self._repository.snapshot()
        for place, problem in snapshot.problems.items():
            if "/" in place:
                self.first_loads.end(place, UnavailableError(problem))
        return snapshot

    def _first_load_ended(self, model: ModelName, outcome: "Future[None]") -> None:
        error = outcome.exception()
        self.first_loads.end(model, error if isinstance(error, ServiceError) else None)


def _check_failed(view: ModelView, version: Version | None) -> None:
    """Refuse a retry of what has not failed."""
    if version is not None and version not in {one.version for one in view.versions}:
        raise answers.unknown(view.model, version)
    wanted = view.failed if version is None else view.failed & {version}
    if not wanted and not (view.trouble and version is None):
        raise answers.nothing_to_retry(view.model, version)
