"""Turn what callers want into wishes: check it, wait for the model's turn, poll, hand over.

Runs in the callers' threads, so that a slow disk or a long line holds up nobody else. How a
wish ends is the manager's business.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

import structlog

from interlock.control import answers
from interlock.control.asking import wish_of
from interlock.control.first_loads import FirstLoads
from interlock.control.holds import Hold, HoldKind
from interlock.control.index import ModelView
from interlock.control.lifecycle import Phase
from interlock.control.load_parameters import (
    LoadOptions,
    Parameter,
    read_load_parameters,
    read_unload_parameters,
)
from interlock.control.modes import Mode
from interlock.control.overrides import Overrides
from interlock.control.polling import PLAIN, Look, Repository
from interlock.control.rollback import Content, target_of
from interlock.control.turns import Turns
from interlock.control.wishes import (
    LoadWish,
    Polled,
    ReleaseWish,
    RetryWish,
    RollbackWish,
    Trouble,
    UnloadWish,
)
from interlock.domain.cause import A_LOAD, SERVER, Actor, Cause, Deed, load_deed
from interlock.domain.description import RolledBack
from interlock.domain.errors import InvalidRequestError, ServiceError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.layout import check_model_name
from interlock.repository.snapshot import RepositorySnapshot
from interlock.runtime.clock import Clock

log = structlog.get_logger()

_LOADED: Final = frozenset({Phase.STANDBY, Phase.READY})

Settle = Callable[[Iterable[ModelName]], Iterator[ModelName]]
"""Hands on what is to be loaded at start, each model when its files lie still."""

ModelWish = LoadWish | UnloadWish | RollbackWish | ReleaseWish | RetryWish | Trouble


class Follow(Protocol):
    """Whoever follows the repositories, as far as others may want something of him."""

    def ask(
        self, model: ModelName, *, force: bool = False, cause: Cause = A_LOAD
    ) -> "Future[None]":
        """Look at a model as soon as its files lie still, and load what is there.

        Return what is told when that has ended; with `force` what serves is loaded anew.
        """
        ...

    def withdraw(self, model: ModelName) -> None:
        """Send away whoever has asked for a model and waits for its files."""
        ...


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
        self._follow: Follow | None = None
        self._settle = settle
        self._turns = Turns()
        self.first_loads = FirstLoads()

    def load(self, model: str, parameters: Mapping[str, Parameter], who: Actor = SERVER) -> None:
        """Return when the model serves what is on disk, or what came with the request.

        Without `wait`, return when the load has begun. Raise InvalidRequestError for the
        request's own faults and where a version failed, UnavailableError where the mode
        refuses and where `timeout_ms` has passed, InternalError where the repository has
        nothing to load.
        """
        options = read_load_parameters(parameters)
        check_model_name(model)
        self._mode.check_control()
        if self._follow is not None:
            answers.check_followed_load(options)
        name = ModelName(model)
        deadline = self._clock() + options.timeout_ms / 1000 if options.timeout_ms else None
        if self._follow is not None:
            # Nobody has to wait for the turn of a load that waits for its files.
            cause = Cause(Deed.LOAD, who)
            outcome, has_begun = self._follow.ask(name, force=options.force, cause=cause), True
        elif self._turns.enter(name, self._left_s(deadline)):
            wish = self._wish_for(name, options, who)
            outcome, has_begun = self._ask(wish), isinstance(wish, LoadWish)
        else:
            raise answers.load_not_begun(name, options.timeout_ms)
        if has_begun and not options.wait:
            return
        try:
            outcome.result(self._left_s(deadline))
        except TimeoutError:
            raise answers.load_not_ended(name, options.timeout_ms) from None

    def unload(
        self, model: str, parameters: Mapping[str, Parameter], who: Actor = SERVER
    ) -> int | None:
        """Return when no version of the model is READY; with `wait`, when nothing is left of it.

        Then return how many bytes that gave back. Where the mode wants what the repository
        has, the model is held.
        """
        options = read_unload_parameters(parameters)
        self._mode.check_control()
        name = ModelName(model)
        self._overtake(name)
        self._overrides.forget(name)
        wish = UnloadWish(name, hold=self._mode.wants_all, cause=Cause(Deed.UNLOAD, who))
        self._ask(wish).result()
        return wish.gone.result() if options.wait else None

    def roll_back(self, model: str, version: int | None, who: Actor = SERVER) -> RolledBack:
        """Return when the model serves what it served before its last change, and is held there.

        With a `version`, that one as it served last. Raise InvalidRequestError where there is
        nothing to go back to, it is not there any more, or it fails.
        """
        check_model_name(model)
        name = ModelName(model)
        self._overtake(name)
        try:
            target, was_warm = self._way_back(name, version)
        except BaseException:
            self._turns.leave(name)
            raise
        self._ask(RollbackWish(name, target, Cause(Deed.ROLLBACK, who))).result()
        versions = tuple(content.version for content in target)
        return RolledBack(versions, was_warm, Hold(HoldKind.ROLLBACK, versions).reason)

    def release(self, model: str, who: Actor = SERVER) -> None:
        """End the hold on a model; where somebody follows the repository, serve what it has.

        Raise InvalidRequestError where the model is not held.
        """
        name = ModelName(model)
        view = self._view(name)
        if view is None or view.hold is None:
            raise InvalidRequestError(f"failed to release model '{name}': it is not held")
        self._turns.enter(name)
        self._ask(ReleaseWish(name)).result()
        if self._follow is not None:
            self._follow.ask(name, cause=Cause(Deed.RELEASE, who)).result()

    def forget_override(self, model: ModelName) -> None:
        """Let the next load of a model take the configuration that the repository has."""
        self._overrides.forget(model)

    def follow(self, follow: Follow) -> None:
        """Let loads by name go through whoever follows the repositories."""
        self._follow = follow

    def retry(self, model: str, version: int | None, who: Actor = SERVER) -> None:
        """Try again now what failed of a model, or of this version; return when it serves.

        Where nobody follows the repositories, with what is there now. Raise NotFoundError for
        what nobody knows, InvalidRequestError where nothing has failed, or fails again, and
        what `load` raises where the repository has nothing to load.
        """
        name = ModelName(model)
        number = None if version is None else Version(version)
        cause = Cause(Deed.RETRY, who)
        view = self._view(name)
        if view is None:
            raise answers.unknown(name)
        if self._mode.follows:
            wish = RetryWish(name, number, cause=cause)
            self._hand_over(wish)
            wish.outcome.result()
            return
        _check_failed(view, number)
        self._turns.enter(name)
        found = self._poll(name, cause=cause)
        if isinstance(found, LoadWish) and view.alone:
            self._ask(RetryWish(name, number, found.polled, cause)).result()
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
            outcome = self._ask(self._poll(model, alone=True, cause=Cause(Deed.START)))
            outcome.add_done_callback(partial(self._first_load_ended, model))
        self.first_loads.all_named()

    def close(self) -> None:
        """Send away whoever waits for a turn, and whoever comes."""
        self._turns.close()

    def _left_s(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - self._clock())

    def _wish_for(self, model: ModelName, options: LoadOptions, who: Actor) -> LoadWish | Trouble:
        look = Look(config=options.config, versions=options.versions, files=options.files)
        alone = self._mode.wants_all
        deed = load_deed(has_config=options.config is not None, has_files=bool(options.files))
        wish = self._poll(
            model, look, force=options.force, alone=alone, again=True, cause=Cause(deed, who)
        )
        if isinstance(wish, LoadWish):
            wish.outcome.add_done_callback(partial(self._keep, wish.polled, look))
        return wish

    def _keep(self, polled: Polled, look: Look, outcome: "Future[None]") -> None:
        """Let what the load put in the place of the files stick, now that it serves."""
        if outcome.exception() is None:
            self._overrides.keep(polled, look)

    def _overtake(self, model: ModelName) -> None:
        """Wait for the turn, though not for loads that wait for their files: those end."""
        self._turns.enter(model)
        if self._follow is not None:
            self._follow.withdraw(model)

    def _way_back(self, model: ModelName, version: int | None) -> tuple[tuple[Content, ...], bool]:
        """Return what to go back to, and whether all of it is loaded. Raise as `roll_back`."""
        view = self._view(model) or ModelView(model, ())
        if version is None and view.hold is not None and view.hold.kind is HoldKind.ROLLBACK:
            raise answers.rolled_back_already(model, view.hold.reason)
        target = target_of(model, view.past, None if version is None else Version(version))
        loaded = {one.state.key for one in view.generations if one.state.phase in _LOADED}
        cold = [content for content in target if content.key not in loaded]
        for content in cold:
            self._check_there(model, content)
        return target, not cold

    def _check_there(self, model: ModelName, content: Content) -> None:
        """Raise where the files are not those that served."""
        job = content.job
        if not self._repository.is_unchanged(job.model_directory, content.version, job.fingerprint):
            raise InvalidRequestError(
                f"failed to roll back model '{model}': what version {content.version} served is no "
                f"longer loaded, and its files in {job.model_directory} have changed since or are "
                "gone; --rollback-window-secs keeps what was replaced loaded for a while"
            )

    def _ask(self, wish: ModelWish) -> "Future[None]":
        """Hand a wish over; the turn of its model ends with it."""
        wish.outcome.add_done_callback(lambda _: self._turns.leave(wish.model))
        self._hand_over(wish)
        return wish.outcome

    def _poll(
        self,
        model: ModelName,
        look: Look = PLAIN,
        *,
        force: bool = False,
        alone: bool = False,
        again: bool = False,
        cause: Cause,
    ) -> LoadWish | Trouble:
        return wish_of(
            model,
            lambda: self._overrides.poll(model, look),
            has_files=bool(look.files),
            force=force,
            alone=alone,
            again=again,
            cause=cause,
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
