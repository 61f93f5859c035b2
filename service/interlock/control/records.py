"""Every version that the server knows, generation by generation, and what became of it.

The manager is the only writer, from its own thread. What other threads may see of it is
the immutable `ModelView` and the serving table's `ModelEntry`, both made here.
"""

from collections.abc import Collection, Iterator, Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from interlock.control import answers
from interlock.control.actions import Action
from interlock.control.adjusting import Adjustment, Stage, can_adjust
from interlock.control.generations import Record
from interlock.control.holds import Hold
from interlock.control.index import UNLOADED, ModelView, VersionView
from interlock.control.lifecycle import (
    ON_THE_WAY,
    OVER,
    Event,
    Phase,
    Transition,
    advance,
    readiness_of,
)
from interlock.control.planner import Window, is_reached, is_settled, plan
from interlock.control.quarantine import next_try, note
from interlock.control.rollback import Content, Past
from interlock.control.wishes import (
    Candidate,
    LoadWish,
    Polled,
    RollbackWish,
    Trouble,
    UnloadWish,
)
from interlock.domain.cause import A_LOAD, A_RETRY, Cause
from interlock.domain.errors import ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob
from interlock.serving.table import ModelEntry

STORY_LENGTH: Final = 64
"""How many transitions are kept of each version."""


@dataclass(slots=True)
class Leaving:
    """What was there when an unload was asked for, and who waits until it is gone."""

    keys: frozenset[GenerationKey]
    gone: "Future[int]"
    freed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trying:
    """What is tried again on request, and who waits to hear how that ended."""

    keys: frozenset[GenerationKey]
    outcome: "Future[None]"


@dataclass(frozen=True, slots=True)
class Stance:
    """What was asked for of a model, and what held it."""

    polled: Polled | None
    alone: bool
    hold: Hold | None


@dataclass(slots=True, eq=False)
class Unit:
    """What must change together: one model, as long as there are no ensembles.

    `pending` is the wish that waits to hear how it ended. `alone` says that each version
    stands for itself, and `polled` is then what was asked for. `followed` is what the
    repository had when whoever follows it last said so, `before` what a rollback left.

    What is replaced stands by for `window_s`, unless it must go before its successor is
    built: `room_first`. Then `gave_way` is what has gone so, as long as nothing serves;
    `restores` says that it comes back, since its successor has failed.
    `recent` stand by since the present wish. `cause` is why the model changed last.
    """

    model: ModelName
    aspired: frozenset[GenerationKey] = frozenset()
    records: dict[GenerationKey, Record] = field(default_factory=dict)
    stories: dict[Version, tuple[Transition, ...]] = field(default_factory=dict)
    pending: LoadWish | UnloadWish | RollbackWish | None = None
    trouble: Trouble | None = None
    leaving: list[Leaving] = field(default_factory=list)
    trying: list[Trying] = field(default_factory=list)
    alone: bool = False
    polled: Polled | None = None
    followed: Polled | None = None
    hold: Hold | None = None
    before: Stance | None = None
    past: Past = field(default_factory=Past)
    window_s: float = 0.0
    room_first: bool = False
    gave_way: tuple[Content, ...] = ()
    restores: bool = False
    recent: set[GenerationKey] = field(default_factory=set)
    given_up: list[InstanceUpdate] = field(default_factory=list)
    cause: Cause = A_LOAD
    _has_changed: bool = False
    _generations: dict[Version, int] = field(default_factory=dict)
    _directories: set[Path] = field(default_factory=set)

    @property
    def actual(self) -> dict[GenerationKey, Phase]:
        """Return the phases as the planner takes them: see `Record.planned_phase`."""
        return {key: record.planned_phase for key, record in self.records.items()}

    @property
    def stance(self) -> Stance:
        """What is asked for now; a rollback counts only when it has come true."""
        if isinstance(self.pending, RollbackWish) and self.before is not None:
            return self.before
        return Stance(self.polled, self.alone, self.hold)

    @property
    def adjusting(self) -> dict[GenerationKey, Stage]:
        """Return which of what serves is to get other instances, and how far that is."""
        return {
            key: record.adjustment.stage
            for key, record in self.records.items()
            if record.phase is Phase.READY and record.adjustment is not None
        }

    @property
    def is_reached(self) -> bool:
        """Whether all that is aspired has been built; see the planner's."""
        return is_reached(self.aspired, self.actual, self.adjusting)

    @property
    def is_settled(self) -> bool:
        """Whether it is known how the wish ended; see the planner's."""
        return is_settled(self.aspired, self.actual, self.adjusting)

    @property
    def is_over(self) -> bool:
        """Whether nothing of the model holds anything any more."""
        return all(record.phase in OVER for record in self.records.values())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember of the model."""
        return not self.records and self.trouble is None and self.hold is None

    def plan(self, now: float) -> tuple[Action, ...]:
        """Return what to do next for the model."""
        return plan(
            self.aspired,
            self.actual,
            alone=self.alone or self.restores,
            adjusting=self.adjusting,
            window=self.window(now),
            room_first=self.room_first,
            banned={
                key: f"withdrawn: {record.remark}"
                for key, record in self.records.items()
                if record.is_banned
            },
        )

    def window(self, now: float) -> Window | None:
        """Return what stands by, `None` where nothing ever does."""
        if not self.window_s or self.room_first:
            return None
        over = {key for key, until in self._standbys() if until <= now}
        unkept = {key for key, record in self.records.items() if record.is_renewed}
        return Window(frozenset(self.recent), frozenset(over), frozenset(unkept))

    def ready(self) -> list[Version]:
        """Return the versions that serve, ascending."""
        return sorted(key.version for key, phase in self.actual.items() if phase is Phase.READY)

    def failures(self) -> list[tuple[Version, str]]:
        """Return which of the aspired versions failed, and why."""
        return [
            (key.version, self.records[key].reason)
            for key in sorted(self.aspired)
            if self.records[key].phase is Phase.FAILED
        ]

    def unchanged(self) -> list[tuple[Version, str]]:
        """Return which of the aspired versions serve as before, and why."""
        return [
            (key.version, reason)
            for key in sorted(self.aspired)
            if (reason := self.records[key].why_unchanged)
        ]

    @property
    def has_moved(self) -> bool:
        """Whether files changed under the load of an aspired version."""
        records = [self.records[key] for key in self.aspired]
        return any(
            record.moved or (record.adjustment is not None and record.adjustment.moved)
            for record in records
        )

    def refusal(self) -> ServiceError | None:
        """Return why agents kept an aspired version from being loaded; `None` if none did."""
        for key in sorted(self.aspired):
            record = self.records[key]
            if record.phase is Phase.FAILED and record.refusal is not None:
                return record.refusal
        return None

    def aspire(self, polled: Polled, *, alone: bool = False, force: bool = False) -> None:
        """Aspire to exactly these versions.

        A generation with the same content that is loaded, or is on its way to be, is kept,
        unless `force` is set, and one that failed where each stands alone; for anything else
        a new generation begins.
        """
        self.begin_change()
        self.alone = alone
        self.polled = polled
        self.room_first = polled.config.swaps_room_first
        self.aspired = frozenset(
            self._begin(candidate) if force else self._key_of(candidate)
            for candidate in polled.candidates
        )
        self.fall_back()

    def fall_back(self) -> None:
        """Aspire to a fallback for each version that failed and does not serve, to no other.

        What is tried again has failed for as long as it has not been built.
        """
        if not self.alone or self.polled is None:
            return
        keys = {key.version: key for key in self.aspired}
        spare = {candidate.version for candidate in self.polled.fallbacks}
        chosen = {key for key in self.aspired if key.version not in spare}
        lacking = sum(
            self._is_lost(keys[one.version])
            for one in self.polled.candidates
            if one.version in keys
        )
        for candidate in self.polled.fallbacks:
            if not lacking:
                break
            key = keys.get(candidate.version) or self._key_of(candidate)
            chosen.add(key)
            lacking -= not self._is_lost(key)
        self.aspired = frozenset(chosen)

    def due(self) -> float | None:
        """Return when there is something to do though nothing happens, monotonic."""
        times = [until for _, until in self._standbys()]
        if self.pending is None:
            tries = (self._next_try(self.records[key]) for key in self.aspired)
            times += [time for time in tries if time is not None]
        return min(times, default=None)

    def retry_due(self, now: float) -> None:
        """Try again what has been in quarantine for long enough, unless a wish is under way."""
        if self.pending is None:
            times = {key.version: self._next_try(self.records[key]) for key in self.aspired}
            due = {version for version, time in times.items() if time is not None and time <= now}
            if due:
                self.cause = A_RETRY
            self.retry(due)

    def retry(self, versions: AbstractSet[Version]) -> None:
        """Begin a new generation of the same content of those of the versions that failed.

        What serves as before, since its instances could not be changed, gets them after all.
        """
        for key in self.aspired:
            if key.version in versions and self.records[key].why_unchanged:
                self.records[key].change_again()
        if self.polled is None:
            return
        found = self.polled.found
        for key in sorted(self.aspired):
            record = self.records[key]
            if self._is_waiting(record) and key.version in versions & found.keys():
                self.begin_change()
                again = self._try_again(record, found[key.version])
                self.aspired = self.aspired - {key} | {again}

    def renew(self, keys: AbstractSet[GenerationKey]) -> bool:
        """Begin a new generation of what serves, beside it; whether nothing else is under way.

        Not of what the repository has no more: nobody could see that any more.
        """
        versions = {key.version for key in keys}
        if self.pending is not None or self.under_way(versions):
            return False
        for key in sorted(keys):
            record = self.records.get(key)
            if record is not None and record.phase is Phase.READY and self._is_there(record):
                self._take_place(record)
        return True

    def readmit(self, versions: AbstractSet[Version]) -> None:
        """Try again what went by the policy, where nothing else does that by itself."""
        heirs = [self.records[key] for key in sorted(self.aspired) if key.version in versions]
        for heir in heirs:
            if heir.is_banned_heir and heir.phase is Phase.FAILED and not self.alone:
                self._take_place(heir)

    def ban(self, keys: AbstractSet[GenerationKey]) -> None:
        """Let what serves, or stands by and is not asked for, go at once.

        In the place of what was asked for a new generation begins, which fails as its policy
        wants it to; so that nothing loads it again before that, or its content, is another. One
        that its agents had let pass, and that failed after them, has another try: with the room
        that there is then.
        """
        for key in sorted(keys & self.records.keys()):
            record = self.records[key]
            if record.phase is Phase.READY:
                record.is_banned = True
                if key in self.aspired:
                    self._take_place(record)
                elif any(heir.has_failed_late for heir in self._heirs(record)):
                    self._take_place(record)
                    self.room_first = True
                for heir in self._heirs(record):
                    heir.is_banned_heir = True
            elif record.phase is Phase.STANDBY and key not in self.aspired:
                record.is_banned = True

    def under_way(self, versions: AbstractSet[Version]) -> set[GenerationKey]:
        """Return which aspired generations of the versions are on their way."""
        return {
            key for key in self.aspired if key.version in versions and self.records[key].is_open
        }

    def why_no_retry(self, version: Version | None) -> ServiceError:
        """Return the answer where there is nothing to try again."""
        if version is not None and version not in {key.version for key in self.records}:
            return answers.unknown(self.model, version)
        if self.trouble is not None:
            return self.trouble.answer
        return answers.nothing_to_retry(self.model, version)

    def outcome_of(self, keys: Collection[GenerationKey]) -> ServiceError | None:
        """Return what became of generations that were tried; `None` where all serve."""
        records = [record for key in sorted(keys) if (record := self.records.get(key))]
        failures = [
            (record.key.version, record.reason)
            for record in records
            if record.phase is Phase.FAILED
        ]
        unchanged = [
            (record.key.version, record.why_unchanged) for record in records if record.why_unchanged
        ]
        if failures or unchanged:
            return answers.load_failed(self.model, failures, unchanged=unchanged)
        serve = sum(record.phase is Phase.READY for record in records)
        return None if serve == len(keys) else answers.retry_overtaken(self.model)

    def wait_for(self, keys: Collection[GenerationKey], outcome: "Future[None]") -> None:
        """Remember who waits until it is known what became of these."""
        self.trying.append(Trying(frozenset(keys), outcome))

    def take_tried(self) -> list[Trying]:
        """Return those whose wait is over, each once."""
        open_keys = {
            key
            for key, record in self.records.items()
            if record.is_open or record.phase is Phase.PROVING
        }
        over = [one for one in self.trying if not one.keys & open_keys]
        self.trying = [one for one in self.trying if one.keys & open_keys]
        return over

    def go_back(self, contents: tuple[Content, ...], before: Stance) -> None:
        """Aspire to what has served before; `before` is what was asked for until now."""
        self.begin_change()
        self.before = before
        self.alone = False
        self.polled = None
        self.room_first = any(content.job.config.swaps_room_first for content in contents)
        self.aspired = frozenset(map(self._key_of_content, contents))

    def resume(self) -> None:
        """Aspire to what was asked for before the way back, which did not lead there.

        Where versions stand together that is what serves: nobody asked for another try of the
        rest.
        """
        before, self.before = self.before, None
        if before is not None:
            self.hold = before.hold
        if before is not None and before.polled is not None and before.alone:
            self.aspire(before.polled, alone=True)
        elif ready := {
            key
            for key, record in self.records.items()
            if record.phase is Phase.READY and not record.is_banned
        }:
            for key in ready:
                self._let_be(self.records[key])
            self.aspired = frozenset(ready)

    def restore(self) -> None:
        """Aspire to what made room, where what it made room for failed and nothing serves."""
        if not self.room_first or self.restores or not self._has_failed():
            return
        hopes = {Phase.READY, Phase.PROVING} if self.alone else {Phase.READY}
        if not hopes.isdisjoint(self.actual.values()):
            return
        if lost := [content for content in self.gave_way if self._may_return(content)]:
            # What failed stays aspired, for its reason; what was built goes, all or nothing.
            failed = {key for key in self.aspired if self.records[key].phase is Phase.FAILED}
            self.aspired = frozenset(failed | {self._begin_again(content) for content in lost})
            self.restores = True

    def begin_change(self) -> None:
        """Hear that something else is wished for from here on."""
        self.recent.clear()
        self.restores = False
        self._has_changed = False

    def move(self, record: Record, event: Event, reason: str, now: float) -> Transition:
        """Take one step of the lifecycle; the only place where a phase is assigned."""
        before = record.phase
        record.phase = advance(before, event)
        if record.phase in OVER:
            record.reason = reason if record.phase is Phase.FAILED else UNLOADED
            record.served = None
        if before is not record.phase and Phase.READY in {before, record.phase}:
            self._remember(record)
        elif event is Event.ADJUST:
            self.past = self.past.became(record.content)
        if record.phase is Phase.READY:
            record.is_banned_heir = False
        if record.phase is Phase.STANDBY:
            self._let_be(record)
            record.standby_until = now + self.window_s
            self.recent.add(record.key)
        transition = Transition(record.key, before, record.phase, reason, now)
        record.last_move = transition
        if self._is_waiting(record):
            remark = note(record.failures, by_itself=self._next_try(record) is not None)
            transition = replace(transition, reason=f"{reason}; {remark}")
            record.last_move = transition
        told = self.stories.get(record.key.version, ())
        self.stories[record.key.version] = (*told[1 - STORY_LENGTH :], transition)
        return transition

    def leave(self, gone: "Future[int]") -> None:
        """Aspire to nothing any more; remember who waits until what is there now is gone."""
        self.begin_change()
        self.gave_way = ()
        self.leaving.append(Leaving(frozenset(self.records), gone))

    def gave_back(self, key: GenerationKey, freed_bytes: int) -> None:
        """Count what a generation gave back, for those who wait for that."""
        for one in self.leaving:
            if key in one.keys:
                one.freed_bytes += freed_bytes

    def take_gone(self) -> list[Leaving]:
        """Return those whose wait is over, each once."""
        alive = {key for key, record in self.records.items() if record.phase not in OVER}
        over = [one for one in self.leaving if not one.keys & alive]
        self.leaving = [one for one in self.leaving if one.keys & alive]
        return over

    def let_go(self) -> set[Path]:
        """Return the model directories that nothing of the model uses any more, each once."""
        used = {
            record.job.model_directory
            for record in self.records.values()
            if record.phase not in OVER
        }
        # It may have to come back.
        used |= {content.directory for content in self.gave_way}
        free, self._directories = self._directories - used, self._directories & used
        return free

    def view(self) -> ModelView:
        """Return what clients may see of the model now."""
        trouble = self.trouble
        return ModelView(
            model=self.model,
            versions=tuple(
                VersionView(
                    version,
                    readiness_of(record.phase),
                    self._reason(record),
                    record.remark,
                    is_withdrawn=record.is_banned_heir,
                )
                for version, record in self._shown()
            ),
            trouble="" if trouble is None else trouble.error.reason,
            unready=trouble is not None and trouble.unready,
            alone=self.alone,
            stories=dict(self.stories),
            generations=tuple(
                record.view(self._next_try(record)) for _, record in sorted(self.records.items())
            ),
            hold=self.hold,
            past=self.past,
            window=Window(frozenset(self.recent)) if self.window_s else None,
        )

    def entry(self) -> ModelEntry:
        """Return the model's line in the serving table."""
        ready = {
            int(record.key.version): record.built
            for record in self.records.values()
            if record.phase is Phase.READY
        }
        return ModelEntry(
            ready=ready,
            known=frozenset(int(key.version) for key in self.records),
            latest=ready[max(ready)] if ready else None,
        )

    def _next_try(self, record: Record) -> float | None:
        """Return when it is tried again by itself, `None` for never.

        What hung is not: each try may cost a thread, and there are not many. Nor is what
        could only be tried at the cost of what serves.
        """
        if record.hung or record.last_move is None or not self._is_waiting(record):
            return None
        if self.polled is None or record.key.version not in self.polled.found:
            return None
        if self.room_first and self.ready():
            return None
        return next_try(record.last_move.moment, record.failures)

    def _is_waiting(self, record: Record) -> bool:
        """Whether a generation is in quarantine."""
        return self.alone and record.phase is Phase.FAILED and record.key in self.aspired

    def _is_lost(self, key: GenerationKey) -> bool:
        """Whether a version failed and nothing older of it serves."""
        record = self.records[key]
        has_failed = record.failures > 0 and record.phase in ON_THE_WAY | {Phase.FAILED}
        return has_failed and not any(
            record.phase is Phase.READY for record in self._generations_of(key.version)
        )

    def _key_of(self, candidate: Candidate) -> GenerationKey:
        return self._kept(candidate) or self._begin(candidate)

    def _is_there(self, record: Record) -> bool:
        """Whether the repository had this content when it was last asked."""
        found = None if self.polled is None else self.polled.found.get(record.key.version)
        return self.polled is None or (
            found is not None and found.fingerprint == record.fingerprint
        )

    def _heirs(self, record: Record) -> list[Record]:
        """Return the generations of the same content that are aspired to."""
        return [
            one
            for one in self._generations_of(record.key.version)
            if one.key in self.aspired and one.fingerprint == record.fingerprint
        ]

    def _take_place(self, record: Record) -> GenerationKey:
        """Aspire to a new generation of the same content in the place of what is aspired to."""
        version = record.key.version
        self._let_be(record)
        self.room_first = False
        record.is_renewed = True
        if self.polled is not None and self._is_there(record):
            again = self._begin(self.polled.found[version])
        else:
            again = self._begin_again(record.content)
        others = {key for key in self.aspired if key.version != version}
        self.aspired = frozenset(others | {again})
        return again

    def _try_again(self, record: Record, candidate: Candidate) -> GenerationKey:
        """Begin a new generation of a content that has failed."""
        again = self._begin(candidate)
        self.records[again].failures = record.failures
        return again

    def _kept(self, candidate: Candidate) -> GenerationKey | None:
        for record in self._generations_of(candidate.version):
            if record.fingerprint == candidate.fingerprint and (
                record.may_stay or self._is_quarantined(record)
            ):
                self._let_be(record)
                return record.key
        return self._changed_in_place(candidate)

    def _changed_in_place(self, candidate: Candidate) -> GenerationKey | None:
        """Return what serves where that can become what is asked for; ask for it."""
        polled = self.polled
        for record in self._generations_of(candidate.version):
            if (
                polled is not None
                and record.phase is Phase.READY
                and record.may_stay
                and can_adjust(record.body, record.job.config, candidate, polled)
            ):
                self._adjust(record, candidate, polled)
                return record.key
        return None

    def _adjust(self, record: Record, candidate: Candidate, polled: Polled) -> None:
        going_on = record.adjustment
        if going_on is not None and going_on.goes_on_for(candidate, alone=self.alone):
            return
        self._let_be(record)
        job = LoadJob(record.key, polled.config, polled.directory, candidate.observed)
        self._directories.add(polled.directory)
        if polled.config == record.job.config:
            record.become(job, candidate.fingerprint, polled.origin)
            self.past = self.past.became(record.content)
        else:
            record.adjustment = Adjustment(job, candidate.fingerprint, polled.origin, self.cause)

    def _let_be(self, record: Record) -> None:
        """Leave the instances as they are, whatever was asked for before."""
        if record.adjustment is not None and record.adjustment.update is not None:
            self.given_up.append(record.adjustment.update)
        record.adjustment = None

    def _is_quarantined(self, record: Record) -> bool:
        return self.alone and record.phase is Phase.FAILED and not record.moved

    def _begin(self, candidate: Candidate) -> GenerationKey:
        polled = self.polled
        if polled is None:
            raise LookupError(f"nothing of {self.model} has been polled")
        job = LoadJob(
            key=self._next_key(candidate.version),
            config=polled.config,
            model_directory=polled.directory,
            fingerprint=candidate.observed,
            preparation=polled.preparation,
            is_awaited=self._is_asked(),
        )
        return self._add(Record(job, candidate.fingerprint, polled.origin, body=candidate.body))

    def _begin_again(self, content: Content) -> GenerationKey:
        job = replace(content.job, key=self._next_key(content.version), is_awaited=self._is_asked())
        return self._add(Record(job, content.fingerprint, content.origin, body=content.body))

    def _is_asked(self) -> bool:
        """Whether clients ask for what serves of the model."""
        return any(
            record.phase is Phase.READY and record.built.statistics.was_asked
            for record in self.records.values()
        )

    def _next_key(self, version: Version) -> GenerationKey:
        number = self._generations.get(version, 0) + 1
        self._generations[version] = number
        return GenerationKey(self.model, version, Generation(number))

    def _add(self, record: Record) -> GenerationKey:
        self._directories.add(record.job.model_directory)
        record.cause = self.cause
        before = self._generations_of(record.key.version)
        same = (one for one in before if one.fingerprint == record.fingerprint)
        record.is_banned_heir = any(one.is_banned_heir for one in same)
        self.records[record.key] = record
        return record.key

    def _key_of_content(self, content: Content) -> GenerationKey:
        """Return what of a content is loaded, or a new generation of it."""
        record = self.records.get(content.key)
        if record is not None and record.may_stay:
            self._let_be(record)
            return record.key
        as_candidate = Candidate(content.version, content.fingerprint)
        return self._kept(as_candidate) or self._begin_again(content)

    def _has_failed(self) -> bool:
        """Whether something aspired has failed, and nothing of it is on its way any more."""
        phases = {self.records[key].phase for key in self.aspired}
        return Phase.FAILED in phases and ON_THE_WAY.isdisjoint(phases)

    def _may_return(self, content: Content) -> bool:
        """Whether a content can still be there, and has not failed to come back."""
        for record in self._generations_of(content.version):
            if record.phase is Phase.FAILED:
                is_same = record.fingerprint == content.fingerprint
                if is_same or record.job.model_directory == content.directory:
                    return False
        return True

    def _remember(self, record: Record) -> None:
        """Write down what serves, and what did before the present wish."""
        if not self._has_changed:
            self._has_changed = True
            self.past = self.past.at_a_change()
        if record.phase is Phase.READY:
            self.past = self.past.shown(record.content)
            self.gave_way = ()
        else:
            self.past = self.past.gone(record.key)
            if self.room_first and self.aspired:
                self.gave_way = (*self.gave_way, record.content)

    def _standbys(self) -> Iterator[tuple[GenerationKey, float]]:
        """Yield what stands by and nobody asks for, and until when."""
        for key, record in self.records.items():
            until = record.standby_until
            if record.phase is Phase.STANDBY and until is not None and key not in self.aspired:
                yield key, until

    def _generations_of(self, version: Version) -> list[Record]:
        """Return the records of one version, newest first."""
        found = [record for key, record in self.records.items() if key.version == version]
        return sorted(found, key=lambda record: record.key, reverse=True)

    def _shown(self) -> Iterator[tuple[Version, Record]]:
        """Yield the generation that speaks for each version: the READY one, else the newest."""
        for version in sorted({key.version for key in self.records}):
            records = self._generations_of(version)
            ready = [record for record in records if record.phase is Phase.READY]
            yield version, (ready or records)[0]

    def _reason(self, record: Record) -> str:
        """Return the reason in the index; what serves says what the policy has against it."""
        if record.phase is not Phase.READY:
            return record.reason
        return "; ".join(text for text in (self._shortcoming(record), record.remark) if text)

    def _shortcoming(self, record: Record) -> str:
        """Return why something else than what serves does not."""
        if record.why_unchanged:
            return record.why_unchanged
        newest = self._generations_of(record.key.version)[0]
        if newest.phase is Phase.FAILED:
            return newest.reason
        if self.trouble is not None:
            return self.trouble.error.reason
        return self._why_spare(record.key)

    def _why_spare(self, key: GenerationKey) -> str:
        """Return in whose place a fallback serves, "" for what is none."""
        if self.polled is None or key not in self.aspired:
            return ""
        if key.version not in {candidate.version for candidate in self.polled.fallbacks}:
            return ""
        lost = sorted(
            other.version
            for other in self.aspired
            if other.version > key.version and self._is_lost(other)
        )
        listed = ", ".join(map(str, lost))
        return f"serves in the place of version {listed}, which failed" if lost else ""
