"""The reconciler: bring what is served in line with what is aspired.

One thread, one round at a time: hear what happened, plan for the models concerned, mark,
show, start, tell. The manager is the only writer of the records and of the serving table;
it never reads the disk and never waits for anything but its inbox. What callers do in their
own threads before a wish is ready is `reception`'s.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial

import structlog

from interlock.control import answers
from interlock.control.actions import (
    Action,
    Adjust,
    Apply,
    Discard,
    Dismiss,
    Drop,
    Forget,
    Load,
    Revoke,
    Show,
    StandBy,
    Withdraw,
)
from interlock.control.adjusting import Stage
from interlock.control.chronicle import Chronicle, NoChronicle, Told
from interlock.control.events import Events
from interlock.control.executor import Executor
from interlock.control.first_loads import FirstLoads
from interlock.control.generations import Record
from interlock.control.holds import Hold, HoldKind, identities
from interlock.control.inbox import Inbox
from interlock.control.index import (
    Listing,
    ModelView,
    Names,
    StagingBoard,
    index_entries,
    lacking,
    objections,
    strictly_ready,
)
from interlock.control.lifecycle import Event, Phase, Transition
from interlock.control.load_parameters import Parameter
from interlock.control.load_watch import OverTimeError
from interlock.control.modes import Mode
from interlock.control.polling import Repository
from interlock.control.preparing import Agents, NoAgents
from interlock.control.reception import Follow, Reception, Settle
from interlock.control.records import Unit
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Remarked,
    Report,
    Unloaded,
    Update,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import (
    End,
    LoadWish,
    Polled,
    ReleaseWish,
    RetryWish,
    ReviewWish,
    RollbackWish,
    Stop,
    Trouble,
    UnloadAll,
    UnloadWish,
    Wish,
    pass_on,
)
from interlock.domain.cause import A_POLICY, SERVER, Actor, Cause, Deed
from interlock.domain.description import RolledBack
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness
from interlock.domain.transition import VersionState
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, spawn
from interlock.serving.load_job import LoadJob
from interlock.serving.table import ServingTable

log = structlog.get_logger()

Message = Report | Wish
Listener = Callable[[], None]

_EVENTS: Mapping[type[Action], Event] = {
    Load: Event.LOAD,
    Show: Event.SHOW,
    StandBy: Event.STAND_BY,
    Withdraw: Event.WITHDRAW,
    Discard: Event.DISCARD,
    Drop: Event.DROP,
    Dismiss: Event.DISMISS,
    Apply: Event.ADJUST,
}
_REASONS: Mapping[Event, str] = {
    Event.LOAD: "its repository agents have let it pass",
    Event.WARM: "its warm-up begins",
    Event.PROVE: "its golden requests begin",
}


class Manager:
    """Loads, unloads and shows models; what the frontend knows as `ModelControl`.

    `step` belongs to one thread: the one that `start` makes, or a test. All the rest may
    be called from anywhere.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        mode: Mode,
        executor: Executor,
        inbox: Inbox[Message],
        table: ServingTable,
        clock: Clock,
        names: Names,
        staging: StagingBoard | None = None,
        rollback_window_s: float = 0.0,
        settle: Settle = iter,
        agents: Agents | None = None,
        chronicle: Chronicle | None = None,
    ) -> None:
        self._staging = staging or StagingBoard()
        self._staging.on_change(self._notify)
        self._executor = executor
        self._agents = agents or NoAgents()
        self._chronicle = chronicle or NoChronicle()
        self._inbox = inbox
        self._table = table
        self._clock = clock
        self._rollback_window_s = rollback_window_s
        self._reception = Reception(
            repository=repository,
            mode=mode,
            hand_over=inbox.put,
            view=self.view,
            clock=clock,
            settle=settle,
        )
        self._release = repository.release
        self._names = names
        self.events = Events()
        # The stepping thread's own.
        self._units: dict[ModelName, Unit] = {}
        self._due: dict[ModelName, float] = {}
        self._answers: list[tuple[Future[None], ServiceError | None]] = []
        self._moves: list[Transition] = []
        self._farewell: Future[None] | None = None
        self._stopping = False
        self._ended = False
        # Written by the stepping thread, by assignment; read by any.
        self._views: Mapping[ModelName, ModelView] = {}
        # Guards the assignment of the listeners; they are called without it.
        self._listeners_lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._thread: threading.Thread | None = None  # noqa: TID251 - the type only

    @property
    def first_loads(self) -> FirstLoads:
        """How the loads at start go."""
        return self._reception.first_loads

    def load(self, model: str, parameters: Mapping[str, Parameter], who: Actor = SERVER) -> None:
        """Load or reload a model and return when it serves; see `Reception.load`.

        A model that serves what is on disk is left alone.
        """
        self._reception.load(model, parameters, who)

    def unload(
        self, model: str, parameters: Mapping[str, Parameter], who: Actor = SERVER
    ) -> int | None:
        """Unload every version and return when none is READY; a model not known is fine.

        With `wait` return how many bytes that gave back.
        """
        return self._reception.unload(model, parameters, who)

    def roll_back(self, model: str, version: int | None, who: Actor = SERVER) -> RolledBack:
        """Serve again what served before, and hold that; see `Reception.roll_back`."""
        return self._reception.roll_back(model, version, who)

    def release(self, model: str, who: Actor = SERVER) -> None:
        """End the hold on a model; see `Reception.release`."""
        self._reception.release(model, who)

    def follow(self, follow: Follow) -> None:
        """Let loads by name go through whoever follows the repositories; before `start`."""
        self._reception.follow(follow)

    def retry(self, model: str, version: int | None, who: Actor = SERVER) -> None:
        """Try again now what failed of a model; see `Reception.retry`."""
        self._reception.retry(model, version, who)

    def peek(self, model: ModelName) -> Polled:
        """Return what a load would find now; reads the disk. Raise as `Repository.poll` does."""
        return self._reception.peek(model)

    def index(self, *, ready_only: bool) -> tuple[IndexEntry, ...]:
        """Return every known model and version, by name, then by version."""
        listing = Listing() if ready_only else self._names.names()
        return index_entries(
            self._views, listing, ready_only=ready_only, staging=self._staging.latest
        )

    def story(self, model: str, version: int) -> tuple[Transition, ...]:
        """Return the last moves of a version, oldest first, whatever the generation."""
        view = self._views.get(ModelName(model))
        return () if view is None else view.stories.get(Version(version), ())

    def view(self, model: str) -> ModelView | None:
        """Return what is known of a model now, `None` where that is nothing."""
        return self._views.get(ModelName(model))

    def staging(self) -> tuple[VersionState, ...]:
        """Return how far the contents are that arrive; the same object until that changes."""
        return self._staging.states

    def staging_of(self, model: str) -> Mapping[Version, str]:
        """Return how far the contents of one model are that arrive."""
        return self._staging.latest.get(ModelName(model), {})

    def remarks(self, model: str) -> tuple[str, ...]:
        """Return what the policy has against what serves of a model, each thing once."""
        view = self._views.get(ModelName(model))
        versions = () if view is None else view.versions
        told = (one.remark for one in versions if one.readiness is Readiness.READY and one.remark)
        return tuple(dict.fromkeys(told))

    def strictly_ready(self) -> bool:
        """Return whether every version that is known serves, or was unloaded on purpose."""
        return strictly_ready(self._views.values())

    def objections(self) -> Iterator[str]:
        """Yield why not every version that is known serves: see `index.objections`."""
        return objections(self._views.values())

    def lacking(self, required: Iterable[ModelName]) -> Iterator[tuple[ModelName, str]]:
        """Yield which of these models do not serve, each with the reason."""
        return lacking(required, self._views, self._names.known, self._staging.latest)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` (quick, never blocking) after every change; return how to end that."""
        with self._listeners_lock:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listeners_lock:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return end

    def start(self, on_death: OnDeath | None = None) -> None:
        """Start the manager's thread, and one that asks for the first loads.

        `first_loads` tells how they end.
        """
        self._thread = spawn("manager", self.run, on_death=on_death)
        spawn("first-loads", self.begin, on_death=on_death)

    def begin(self) -> None:
        """Ask for what the mode wants loaded at start."""
        self._reception.begin()
        self._notify()

    def stop(self) -> None:
        """Start nothing more. What has begun goes on; who waits for a turn is sent away."""
        self._reception.close()
        self._inbox.put(Stop())

    def unload_all(self, deadline: float) -> bool:
        """Unload everything, after `stop`; whether nothing was left at `deadline` (monotonic)."""
        wish = UnloadAll()
        self._inbox.put(wish)
        try:
            wish.outcome.result(max(0.0, deadline - self._clock()))
        except TimeoutError:
            left = [name for name, view in self._views.items() if view.is_alive]
            log.warning("models are left", models=sorted(left))
            return False
        return True

    def close(self) -> None:
        """End the manager's thread."""
        self._inbox.put(End())
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Step whenever there is something to hear, until `close`."""
        while not self._ended:
            due = self.due()
            self._inbox.wait(None if due is None else max(0.0, due - self._clock()))
            self.step()

    def due(self) -> float | None:
        """Return when to step though nothing has arrived (monotonic); the stepping thread's."""
        return None if self._stopping else min(self._due.values(), default=None)

    def step(self) -> tuple[Action, ...]:
        """Do one round and return the actions it started.

        Mark, show, start, in that order: a version is out of the table before its drain
        begins, and no action can be started twice. Who waits for an outcome is told last,
        so that the new version answers from the moment Load has returned.
        """
        units = self._hear()
        now = self._clock()
        actions = tuple(action for unit in units for action in unit.plan(now))
        started = [self._mark(action) for action in actions]
        self._show(units)
        for start in started:
            start()
        self._prepare(actions)
        for unit in units:
            for directory in unit.let_go():
                self._release(directory)
            while unit.given_up:
                self._executor.clear_away(unit.given_up.pop())
        if self._stopping:
            self._agents.drop_waiting()
            self._executor.drop_waiting()
        self._tell(units)
        self._note_due(units)
        return actions

    def _hear(self) -> tuple[Unit, ...]:
        """Take in what has arrived; return the units that something happened to."""
        touched: dict[ModelName, Unit] = {}
        for message in self._inbox.take():
            try:
                touched.update((unit.model, unit) for unit in self._take_in(message))
            except Exception:  # what one message breaks is no reason to be deaf to the others
                log.exception("message not taken in", message=message)
        now = self._clock()
        for unit in [self._units[name] for name, due in self._due.items() if due <= now]:
            if not self._stopping:
                unit.retry_due(now)
                touched[unit.model] = unit
        return tuple(touched.values())

    def _take_in(self, message: Message) -> Iterator[Unit]:
        match message:
            case LoadWish() | UnloadWish() | RollbackWish():
                yield from self._take_in_wish(message)
            case ReleaseWish():
                yield from self._take_in_release(message)
            case RetryWish():
                yield from self._take_in_retry(message)
            case Trouble():
                yield from self._take_in_trouble(message)
            case ReviewWish():
                yield from self._take_in_review(message)
            case Stop() | UnloadAll() | End():
                yield from self._take_in_end(message)
            case _:
                yield from self._take_in_report(message)

    def _take_in_end(self, message: Stop | UnloadAll | End) -> Iterator[Unit]:
        match message:
            case Stop():
                self._stopping = True
            case UnloadAll(outcome=outcome):
                self._farewell = outcome
                for unit in self._units.values():
                    unit.cause = Cause(Deed.STOP)
                    self._aspire_to_nothing(unit)
                    yield unit
            case End():
                self._ended = True

    def _take_in_wish(self, wish: LoadWish | UnloadWish | RollbackWish) -> Iterator[Unit]:
        if self._stopping:
            self._answers.append((wish.outcome, UnavailableError("Server is stopping")))
            return
        is_known = self._is_known(wish.model)
        unit = self._unit(wish.model)
        yield unit
        if not self._is_heard(unit, wish):
            self._answers.append((wish.outcome, None))
            unit.trouble = None  # the repository could be asked
            return
        before = unit.stance
        unit.cause = wish.cause
        _let_wait_for(unit, wish)
        self._aspire_to_nothing(unit)
        unit.pending = wish
        match wish:
            case LoadWish():
                unit.aspire(wish.polled, alone=wish.alone, force=wish.force)
                if wish.again:
                    unit.retry({key.version for key in unit.aspired})
            case RollbackWish(contents=contents):
                versions = tuple(content.version for content in contents)
                self._hold(unit, HoldKind.ROLLBACK, versions)
                unit.go_back(contents, before)
            case UnloadWish(hold=hold):
                unit.leave(wish.gone)
                # Anybody may ask for any name; what does not exist leaves no trace.
                if hold and is_known:
                    self._hold(unit, HoldKind.UNLOAD)

    def _is_known(self, model: ModelName) -> bool:
        """Whether a model is there, though perhaps nothing of it is complete yet."""
        return (
            model in self._units
            or model in self._staging.latest
            or model in self._names.known.models
        )

    def _unit(self, model: ModelName) -> Unit:
        unit = self._units.get(model)
        if unit is None:
            unit = self._units[model] = Unit(model, window_s=self._rollback_window_s)
        return unit

    def _is_heard(self, unit: Unit, wish: LoadWish | UnloadWish | RollbackWish) -> bool:
        """Take in what the repository has; whether no hold stands against the wish."""
        if isinstance(wish, LoadWish) and wish.follows:
            unit.followed = wish.polled
        elif isinstance(wish, UnloadWish) and not wish.hold:  # the repository has it no more
            unit.followed = None
        hold = unit.hold
        if hold is None:
            return True
        match wish:
            case LoadWish(follows=True, again=False, polled=polled):
                if hold.outlasts(polled):
                    return False
                self._end_hold(unit, "its content has changed")
            case LoadWish():
                self._end_hold(unit, "a load names it")
            case UnloadWish() if hold.kind is HoldKind.ROLLBACK:
                self._end_hold(unit, "it is unloaded")
        return True

    def _hold(self, unit: Unit, kind: HoldKind, versions: tuple[Version, ...] = ()) -> None:
        unit.hold = Hold(kind, versions, identities(unit.followed))
        log.warning(
            "model held, until this process ends at the latest",
            model=unit.model,
            reason=unit.hold.reason,
        )

    def _end_hold(self, unit: Unit, why: str) -> None:
        unit.hold = None
        log.info("model no longer held", model=unit.model, reason=why)

    def _take_in_release(self, release: ReleaseWish) -> Iterator[Unit]:
        self._answers.append((release.outcome, None))
        unit = self._units.get(release.model)
        if unit is not None and unit.hold is not None:
            self._end_hold(unit, "released on request")
            yield unit

    def _take_in_retry(self, wish: RetryWish) -> Iterator[Unit]:
        unit = self._units.get(wish.model)
        refusal: ServiceError | None = None
        if self._stopping:
            refusal = UnavailableError("Server is stopping")
        elif unit is None:
            refusal = answers.unknown(wish.model)
        if unit is None or refusal is not None:
            self._answers.append((wish.outcome, refusal))
            return
        yield unit
        unit.cause = wish.cause
        if wish.polled is not None:
            if unit.hold is not None:
                self._end_hold(unit, "a retry names it")
            unit.trouble = None
            unit.aspire(wish.polled, alone=True)
        known = {key.version for key in unit.aspired}
        versions = known if wish.version is None else known & {wish.version}
        unit.retry(versions)
        if under_way := unit.under_way(versions):
            unit.wait_for(under_way, wish.outcome)
        else:
            self._answers.append((wish.outcome, unit.why_no_retry(wish.version)))

    def _aspire_to_nothing(self, unit: Unit) -> None:
        """Let go of what was aspired; who waits for it hears that it will not come."""
        match unit.pending:
            case LoadWish(outcome=outcome):
                self._answers.append((outcome, answers.load_failed(unit.model, ())))
            case UnloadWish(outcome=outcome):
                self._answers.append((outcome, answers.unload_failed(unit.model, unit.ready())))
            case RollbackWish(outcome=outcome):
                self._answers.append((outcome, answers.rollback_overtaken(unit.model)))
        unit.pending = None
        unit.trouble = None
        unit.aspired = frozenset()
        unit.polled = None

    def _take_in_trouble(self, trouble: Trouble) -> Iterator[Unit]:
        self._answers.append((trouble.outcome, trouble.answer))
        if trouble.is_request:
            return
        unit = self._units.get(trouble.model)
        if unit is None:
            if trouble.is_unknown:
                # Anybody may ask for any name; what does not exist leaves no trace.
                return
            unit = self._unit(trouble.model)
        if unit.trouble is None or unit.trouble.error.reason != trouble.error.reason:
            self._chronicle.troubled(trouble)
        unit.trouble = trouble
        yield unit

    def _take_in_report(self, report: Report) -> Iterator[Unit]:
        if isinstance(report, (UpdatePrepared, UpdateFailed)):
            yield from self._take_in_update(report)
            return
        if isinstance(report, Remarked):
            yield from self._take_in_remark(report)
            return
        unit = self._units.get(report.key.model, Unit(report.key.model))
        record = unit.records.get(report.key)
        if record is None or record.is_past(report):
            self._put_aside(report)
            return
        self._hear_out(unit, record, report)
        yield unit

    def _take_in_remark(self, report: Remarked) -> Iterator[Unit]:
        unit = self._units.get(report.key.model)
        record = None if unit is None else unit.records.get(report.key)
        if unit is not None and record is not None:
            record.remark = report.text
            record.is_contested = report.is_contested
            yield unit

    def _take_in_review(self, wish: ReviewWish) -> Iterator[Unit]:
        unit = self._units.get(wish.model)
        if unit is None or self._stopping:
            self._answers.append((wish.outcome, None))
            return
        before, unit.cause = unit.cause, A_POLICY
        if any(unit.records[key].origin for key in wish.withdrawn & unit.records.keys()):
            self._reception.forget_override(wish.model)
        unit.ban(wish.withdrawn)
        is_taken = unit.renew(wish.renewed - wish.withdrawn)
        unit.retry(wish.retried)
        unit.readmit(wish.retried)
        refusal = None if is_taken else answers.review_not_begun(wish.model)
        self._answers.append((wish.outcome, refusal))
        has_begun = bool(is_taken or wish.withdrawn or wish.retried)
        if unit.pending is not None or not has_begun:
            unit.cause = before  # that goes on
        if has_begun:
            yield unit

    def _hear_out(self, unit: Unit, record: Record, report: Report) -> None:
        match report:
            case Progress(event=event):
                self._move(unit, record, event, _REASONS[event])
            case Loaded(served=served):
                record.served = served
                if record.phase is not Phase.PROVING:
                    self._move(unit, record, Event.PROVE, "loaded")
            case LoadFailed(error=error):
                record.moved = isinstance(error, FilesMovedError)
                record.hung = isinstance(error, OverTimeError)
                record.failures += 1
                record.refusal = error if record.phase is Phase.PREPARING else None
                self._move(unit, record, Event.FAIL, error.reason)
            case LoadDropped():
                self._move(unit, record, Event.DROP, "given up")
            case Drained():
                self._move(unit, record, Event.DRAINED, "nobody is inside")
            case Unloaded(freed=freed):
                unit.gave_back(report.key, freed.freed_bytes)
                self._move(unit, record, Event.UNLOADED, "unloaded", **asdict(freed))
        unit.fall_back()
        unit.restore()
        self._give_up_way_back(unit)

    def _put_aside(self, report: Report) -> None:
        """Nobody waits for it any more; what it brings is taken apart again."""
        log.debug("a report came too late", report=type(report).__name__, key=str(report.key))
        if isinstance(report, Loaded):
            self._executor.discard(report.key, report.served)

    def _give_up_way_back(self, unit: Unit) -> None:
        """Where a rollback has failed, go on as before it."""
        wish = unit.pending
        if not isinstance(wish, RollbackWish) or unit.is_reached:
            return
        if unit.is_settled:
            self._answers.append(
                (wish.outcome, answers.rollback_failed(unit.model, unit.failures()))
            )
            unit.pending = None
            self._end_hold(unit, "the way back failed")
            unit.resume()

    def _take_in_update(self, report: Update) -> Iterator[Unit]:
        """Take in what came of other instances, if they are still what is asked for."""
        unit = self._units.get(report.key.model)
        record = None if unit is None else unit.records.get(report.key)
        adjustment = None if record is None else record.adjustment
        if (
            unit is None
            or record is None
            or adjustment is None
            or adjustment.job is not report.job
            or record.phase is not Phase.READY
        ):
            if isinstance(report, UpdatePrepared):
                self._executor.clear_away(report.update)
            return
        if isinstance(report, UpdatePrepared):
            adjustment.stage = Stage.PREPARED
            adjustment.update = report.update
        else:
            moved = isinstance(report.error, FilesMovedError)
            adjustment.fail(report.error.reason, moved=moved)
            reason = f"instances as before: {report.error.reason}"
            self._move(unit, record, Event.KEEP, reason, cause=adjustment.cause)
        yield unit

    def _mark(self, action: Action) -> Callable[[], None]:
        """Write down that the action has begun; return what begins it."""
        unit = self._units[action.key.model]
        record = unit.records[action.key]
        if isinstance(action, (Adjust, Apply, Revoke)):
            return self._mark_in_place(unit, record, action)
        if isinstance(action, Forget):
            del unit.records[action.key]
            return _nothing
        reason = action.reason
        if isinstance(action, Load) and record.origin:
            reason = f"{reason}, with {record.origin}"
        event = _EVENTS[type(action)]
        has_agents = self._agents.see(record.job)
        if has_agents and event is Event.LOAD:
            event = Event.PREPARE
        self._move(unit, record, event, reason)
        start: Callable[[], None] = _nothing
        match action:
            case Load() if not has_agents:
                start = partial(self._executor.load, record.job)
            case Withdraw():
                start = partial(self._executor.withdraw, record.key, record.built)
            case Discard():
                start = partial(self._executor.discard, record.key, record.built)
        return start

    def _prepare(self, actions: Iterable[Action]) -> None:
        """Ask the agents of what is to be loaded, those of all versions of a model at once."""
        jobs: dict[ModelName, list[LoadJob]] = {}
        for action in actions:
            if isinstance(action, Load):
                job = self._units[action.key.model].records[action.key].job
                if self._agents.see(job):
                    jobs.setdefault(job.key.model, []).append(job)
        for together in jobs.values():
            self._agents.prepare(together)

    def _mark_in_place(
        self, unit: Unit, record: Record, action: Adjust | Apply | Revoke
    ) -> Callable[[], None]:
        adjustment = record.adjustment
        if adjustment is None:
            raise LookupError(f"nothing is to be changed of {record.key}")
        if isinstance(action, Adjust):
            adjustment.stage = Stage.UNDERWAY
            return partial(self._executor.adjust, adjustment.job, record.built)
        update = adjustment.update
        if isinstance(action, Apply):
            reason = f"{action.reason}: {record.adjusted()}"
            self._move(unit, record, Event.ADJUST, reason, cause=adjustment.cause)
        else:
            adjustment.fail("")
        return _nothing if update is None else partial(self._executor.clear_away, update)

    def _move(
        self,
        unit: Unit,
        record: Record,
        event: Event,
        reason: str,
        *,
        cause: Cause | None = None,
        **facts: object,
    ) -> None:
        """Take a step and tell of it; `cause` is why, where it is not why the model moves now."""
        moved = unit.move(record, event, reason, self._clock())
        self._moves.append(moved)
        cause = cause or (A_POLICY if record.is_banned else unit.cause)
        self._chronicle.moved(
            Told(moved, event, record.cause, cause, record.fingerprint, record.refusal)
        )
        if self._agents.see(record.job):
            self._agents.moved(moved)
        key = moved.key
        write = log.error if moved.after is Phase.FAILED else log.info
        headline = "version moved"
        if moved.before is Phase.UNLOADING:
            headline = f"successfully unloaded '{key.model}' version {key.version}"
        write(
            headline,
            model=key.model,
            version=key.version,
            generation=key.generation,
            reason=moved.reason,
            **{"from": moved.before.value, "to": moved.after.value},
            **facts,
        )

    def _show(self, units: Iterable[Unit]) -> None:
        """Publish what has changed: the serving table and the views, each by one assignment."""
        entries = dict(self._table.entries)
        views = dict(self._views)
        for unit in units:
            if unit.is_empty:
                del self._units[unit.model]
                entries.pop(unit.model, None)
                views.pop(unit.model, None)
                continue
            entries[unit.model] = unit.entry()
            views[unit.model] = unit.view()
        self._table.show(entries)
        self._views = views
        moves, self._moves = self._moves, []
        self.events.publish(moves, views)

    def _tell(self, units: Collection[Unit]) -> None:
        """Answer whoever waited for what has now ended, then call the listeners."""
        for unit in units:
            self._settle(unit)
            self._answers += [(one.outcome, unit.outcome_of(one.keys)) for one in unit.take_tried()]
        if self._farewell is not None and all(unit.is_over for unit in self._units.values()):
            self._answers.append((self._farewell, None))
            self._farewell = None
        told, self._answers = self._answers, []
        for outcome, error in told:
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)
        for unit in units:
            for leaving in unit.take_gone():
                leaving.gone.set_result(leaving.freed_bytes)
        if units:
            self._notify()

    def _settle(self, unit: Unit) -> None:
        if unit.pending is None or not unit.is_settled:
            return
        error: ServiceError | None = None
        if not unit.is_reached:
            refusal = None if unit.has_moved else unit.refusal()
            error = (
                answers.load_failed(
                    unit.model, unit.failures(), unchanged=unit.unchanged(), moved=unit.has_moved
                )
                if refusal is None
                else answers.failed_to_poll(unit.model, refusal)
            )
        self._answers.append((unit.pending.outcome, error))
        unit.pending = None

    def _note_due(self, units: Iterable[Unit]) -> None:
        for unit in units:
            due = unit.due()
            if due is None or unit.is_empty:
                self._due.pop(unit.model, None)
            else:
                self._due[unit.model] = due

    def _notify(self) -> None:
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                log.exception("a listener failed")


def _let_wait_for(unit: Unit, wish: Wish) -> None:
    """Let who waits for what the repository had hear what becomes of what it has now.

    It has moved on; that is no failure of what was asked for before.
    """
    before = unit.pending
    if not isinstance(before, LoadWish) or not isinstance(wish, LoadWish):
        return
    if before.follows and wish.follows:
        unit.pending = None
        wish.outcome.add_done_callback(partial(pass_on, before.outcome))


def _nothing() -> None:
    """What an action starts that is done once it is marked."""
