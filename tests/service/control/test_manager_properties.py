"""The manager under random wishes, reports and failures: what holds after every step."""

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from structlog.testing import capture_logs

from interlock.control.agent_pool import Ending
from interlock.control.agent_story import is_legal, is_whole
from interlock.control.chronicle import AuditChronicle
from interlock.control.holds import HoldKind
from interlock.control.lifecycle import Event, Phase
from interlock.control.load_watch import OverTimeError
from interlock.control.planner import is_settled
from interlock.control.records import Unit
from interlock.control.reports import (
    Drained,
    LoadDropped,
    Loaded,
    LoadFailed,
    Progress,
    Report,
    Unloaded,
    UpdateFailed,
    UpdatePrepared,
)
from interlock.control.rollback import Past, target_of
from interlock.control.wishes import (
    Candidate,
    LoadWish,
    Polled,
    ReleaseWish,
    RetryWish,
    RollbackWish,
    UnloadAll,
    UnloadWish,
)
from interlock.domain.cause import Deed
from interlock.domain.config import SWAP_POLICY, ModelConfig
from interlock.domain.errors import InternalError, ServiceError
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.load_job import LoadJob
from interlock.serving.served_model import ServedModel
from interlock.telemetry.audit import AuditEvent
from interlock_agents.api import Action, AgentError, AgentModel
from tests.support.control import World, polled, served, update_of
from tests.support.preparing import NAMES, PREPARATION, Do, HandAgents, agree
from tests.support.running import config_of

CONFIGS = {
    (model, count): config_of(
        f'backend: "identity" instance_group {{ count: {count} kind: KIND_CPU }}', model=model
    )
    for model in ("m", "n")
    for count in (1, 2)
}

NO_THREAD = "has no thread"
ENDINGS = {"hangs": Ending.OVER_TIME, "is cut off": Ending.CUT_OFF, NO_THREAD: Ending.NO_THREAD}
FATES = ("agrees", "agrees", "publishes", "refuses", "is given up", "hangs", "is cut off")
models = st.sampled_from(["m", "n"])
contents = st.dictionaries(st.integers(1, 3), st.sampled_from("ab"), min_size=1)
picks = st.integers(0, 7)
WINDOW_S = 5.0
LEAVING = {one.value for one in (Deed.UNLOAD, Deed.POLL_UNLOAD, Deed.POLICY_UNLOAD)}


def swapping(model: str, *, room_first: bool) -> ModelConfig:
    policy = {SWAP_POLICY: "resource_preserving"} if room_first else {}
    return ModelConfig(model, parameters=policy)


def refuse(model: AgentModel) -> None:
    raise AgentError(f"{model.name} is not wanted")


def with_instances(model: str, versions: set[int], count: int) -> Polled:
    """Versions of one content each, which differ from each other in their instances alone."""
    config = CONFIGS[model, count]
    candidates = tuple(
        Candidate(Version(version), f"{count}", body="body") for version in sorted(versions)
    )
    return replace(polled(model=model), config=config, candidates=candidates)


class Reconciling(RuleBasedStateMachine):
    """Messages arrive in any order, several may wait for one step."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.audited: list[AuditEvent] = []
        self.serves_by_the_log: set[tuple[str, int | None, int | None]] = set()
        self.chronicle = AuditChronicle(
            self.audited.append, digest_of=lambda _key, _print: "", verdict_of=lambda _key: None
        )
        self.world = self.made_world()
        self.manager = self.world.manager
        self.alive: set[GenerationKey] = set()
        self.leased: list[ServedModel] = []
        self.updates: list[InstanceUpdate] = []
        self.wishes: list[LoadWish | UnloadWish | RollbackWish | ReleaseWish | RetryWish] = []
        self.written_off: set[GenerationKey] = set()
        self.came_to: dict[GenerationKey, Event] = {}
        self.shown_before: Mapping[ModelName, set[GenerationKey]] = {}

    def made_world(self) -> World:
        return World(window_s=WINDOW_S, chronicle=self.chronicle)

    def found(self, *content: tuple[int, str], model: str) -> Polled:
        """Return what a poll finds."""
        return polled(*content, model=model)

    @rule(model=models, content=contents, room_first=st.booleans())
    def wish(self, model: str, content: Mapping[int, str], room_first: bool) -> None:
        found = self.found(*content.items(), model=model)
        self._put(LoadWish(replace(found, config=swapping(model, room_first=room_first))))

    @rule(
        model=models,
        content=contents,
        fallback=contents,
        follows=st.booleans(),
        again=st.booleans(),
        room_first=st.booleans(),
    )
    def wish_for_each_alone(
        self,
        model: str,
        content: Mapping[int, str],
        fallback: Mapping[int, str],
        follows: bool,
        again: bool,
        room_first: bool,
    ) -> None:
        rest = [(version, of) for version, of in fallback.items() if version not in content]
        found = self.found(*content.items(), model=model)
        fallbacks = polled(*sorted(rest, reverse=True), model=model).candidates
        config = swapping(model, room_first=room_first)
        found = replace(found, fallbacks=fallbacks, config=config)
        self._put(LoadWish(found, alone=True, follows=follows, again=again))

    @rule(model=models, hold=st.booleans())
    def wish_for_nothing(self, model: str, hold: bool) -> None:
        self._put(UnloadWish(ModelName(model), hold=hold))

    @rule(model=models, version=st.sampled_from([None, None, Version(1), Version(2)]))
    def roll_back(self, model: str, version: Version | None) -> None:
        view = self.manager.view(model)
        try:
            target = target_of(ModelName(model), view.past if view else Past(), version)
        except ServiceError:
            return
        self._put(RollbackWish(ModelName(model), target))

    @rule(model=models, versions=st.sets(st.integers(1, 3), min_size=1), count=st.integers(1, 2))
    def wish_for_other_instances(
        self, model: str, versions: set[int], count: int, *, alone: bool = False
    ) -> None:
        wish = LoadWish(with_instances(model, versions, count), alone=alone)
        self.wishes.append(wish)
        self.world.inbox.put(wish)

    @rule(model=models, versions=st.sets(st.integers(1, 3), min_size=1), count=st.integers(1, 2))
    def wish_for_other_instances_alone(self, model: str, versions: set[int], count: int) -> None:
        self.wish_for_other_instances(model, versions, count, alone=True)

    @precondition(lambda self: self.world.executor.adjusting)
    @rule(pick=picks, is_good=st.booleans())
    def a_change_in_place_ends(self, pick: int, *, is_good: bool) -> None:
        adjusting = self.world.executor.adjusting
        job, version = adjusting.pop(pick % len(adjusting))
        if is_good:
            update = update_of(version, job)
            self.updates.append(update)
            self.world.inbox.put(UpdatePrepared(job, update))
        else:
            self.world.inbox.put(UpdateFailed(job, InternalError("no room")))

    @rule(model=models)
    def release(self, model: str) -> None:
        self._put(ReleaseWish(ModelName(model)))

    @precondition(lambda self: self._held() and not self.world.inbox.wait(0))
    @rule(pick=picks)
    def what_the_repository_had_does_not_end_a_hold(self, pick: int) -> None:
        units = self._held()
        unit = units[pick % len(units)]
        assert unit.hold is not None
        before = (unit.aspired, unit.hold)
        content = unit.hold.content or {Version(1): "a"}
        if unit.hold.kind is HoldKind.ROLLBACK and not unit.hold.content:
            return
        found = polled(*content.items(), model=unit.model)
        self._put(LoadWish(found, alone=True, follows=True))
        self.step()
        assert (unit.aspired, unit.hold) == before

    @rule(model=models, version=st.sampled_from([None, 1, 2, 3]))
    def wish_for_another_try(self, model: str, version: int | None) -> None:
        number = None if version is None else Version(version)
        wish = RetryWish(ModelName(model), number)
        self.wishes.append(wish)
        self.world.inbox.put(wish)

    @rule(seconds=st.sampled_from([1.0, 15.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @precondition(lambda self: self._going_on())
    @rule(pick=picks)
    def a_load_goes_on(self, pick: int) -> None:
        key = self._pick(self._going_on(), pick)
        self.world.inbox.put(Progress(key, self._going_on()[key]))
        self.came_to[key] = self._going_on()[key]

    @precondition(lambda self: self.world.executor.loading)
    @rule(pick=picks, fate=st.sampled_from(["built", "built", "failed", "dropped"]))
    def a_load_ends(self, pick: int, fate: str) -> None:
        key = self._pick(self.world.executor.loading, pick)
        job = self.world.executor.loading.pop(key)
        if fate == "built":
            self.alive.add(key)
            self.world.inbox.put(Loaded(key, served(key, job.config)))
        elif fate == "failed":
            self.world.inbox.put(LoadFailed(key, InternalError("broken")))
        elif key not in self.came_to:
            self.world.inbox.put(LoadDropped(key))
        else:  # what has begun is not dropped
            self.world.inbox.put(LoadFailed(key, InternalError("wrong answer")))

    @precondition(lambda self: self.world.executor.loading)
    @rule(pick=picks)
    def a_load_is_written_off(self, pick: int) -> None:
        key = self._pick(self.world.executor.loading, pick)
        del self.world.executor.loading[key]
        self.written_off.add(key)
        self.world.inbox.put(LoadFailed(key, OverTimeError("load given up after 5 s")))

    @precondition(lambda self: self.written_off)
    @rule(pick=picks, report=st.sampled_from(["warm", "prove", "failed", "dropped"]))
    def a_written_off_load_is_heard_of(self, pick: int, report: str) -> None:
        key = self._pick(self.written_off, pick)
        reports: Mapping[str, Report] = {
            "warm": Progress(key, Event.WARM),
            "prove": Progress(key, Event.PROVE),
            "failed": LoadFailed(key, InternalError("broken after all")),
            "dropped": LoadDropped(key),
        }
        self.world.inbox.put(reports[report])

    @precondition(lambda self: self.written_off)
    @rule(pick=picks)
    def a_written_off_load_is_built_after_all(self, pick: int) -> None:
        key = self._pick(self.written_off, pick)
        self.written_off.remove(key)
        self.alive.add(key)
        self.world.inbox.put(Loaded(key, served(key)))

    @precondition(lambda self: self._empty_and_draining())
    @rule(pick=picks)
    def a_drain_ends(self, pick: int) -> None:
        key = self._pick(self._empty_and_draining(), pick)
        self.world.executor.unloading[key] = self.world.executor.draining.pop(key)
        self.world.inbox.put(Drained(key))

    @precondition(lambda self: self.world.executor.unloading)
    @rule(pick=picks)
    def an_unload_ends(self, pick: int) -> None:
        key = self._pick(self.world.executor.unloading, pick)
        assert not any(model.key == key for model in self.leased)
        del self.world.executor.unloading[key]
        self.alive.remove(key)
        self.world.inbox.put(Unloaded(key))

    @rule(target=leases, model=models, version=st.sampled_from(["", "1", "2", "3"]))
    def a_request_arrives(self, model: str, version: str) -> ServedModel | None:
        try:
            found = self.world.table.lease(model, version)
        except ServiceError:
            return None
        self.leased.append(found)
        return found

    @rule(lease=consumes(leases))
    def a_request_ends(self, lease: ServedModel | None) -> None:
        if lease is not None:
            self.leased.remove(lease)
            lease.leases.give_back()

    @precondition(lambda self: self.world.executor.loading)
    @rule()
    def all_loads_end_well(self) -> None:
        """Without it few walks come far enough to have something to go back to."""
        while self.world.executor.loading:
            self.a_load_ends(0, "built")
        self.step()

    @rule()
    def step(self) -> None:
        with capture_logs() as lines:
            self.manager.step()
        assert [line for line in lines if line["event"] == "message not taken in"] == []
        self._nothing_good_was_lost()
        self._nothing_stands_by_for_too_long()

    @invariant()
    def at_most_one_generation_of_a_version_is_shown(self) -> None:
        shown = [key.version_key for key in self.world.shown]
        assert len(shown) == len(set(shown))

    @invariant()
    def what_is_shown_is_what_is_ready(self) -> None:
        ready = {
            key
            for unit in self.manager._units.values()
            for key, phase in unit.actual.items()
            if phase is Phase.READY
        }
        assert self.world.shown == ready

    @invariant()
    def who_adds_up_the_lines_of_the_audit_log_knows_what_serves(self) -> None:
        for event in self.audited:
            key = (event.model, event.version, event.generation)
            if event.what in LEAVING:
                self.serves_by_the_log.remove(key)
            elif event.outcome == "ok":
                self.serves_by_the_log.add(key)
        self.audited.clear()
        shown = {(key.model, key.version, key.generation) for key in self.world.shown}
        assert self.serves_by_the_log == shown

    @invariant()
    def nothing_drains_while_it_is_shown(self) -> None:
        assert not self.world.shown & self.world.executor.draining.keys()
        assert not self.world.shown & self.world.executor.unloading.keys()

    @invariant()
    def every_leased_version_is_loaded(self) -> None:
        assert {model.key for model in self.leased} <= self.alive

    @invariant()
    def the_plan_on_its_own_result_is_empty(self) -> None:
        due = self.manager.due()
        now = self.world.clock.now
        if not self.world.inbox.wait(0) and (due is None or due > now):
            for unit in self.manager._units.values():
                assert unit.plan(now) == ()

    @invariant()
    def what_stands_by_is_loaded_and_was_there_before_the_last_change_only(self) -> None:
        for unit in self.manager._units.values():
            standing = {
                record.key for record in unit.records.values() if record.phase is Phase.STANDBY
            }
            assert standing <= self.alive
            assert not standing & self.world.shown
            assert len({key.version_key for key in standing}) == len(standing)

    @invariant()
    def what_is_shown_has_the_configuration_of_its_record(self) -> None:
        for unit in self.manager._units.values():
            for record in unit.records.values():
                # What agents leave behind is not known before they have been at work.
                if record.phase is Phase.READY and record.job.preparation is None:
                    assert record.built.config.message == record.job.config.message

    @invariant()
    def what_failed_alone_is_not_tried_again_with_the_same_content(self) -> None:
        for unit in self.manager._units.values():
            if unit.alone:
                failed = {
                    (record.key.version, record.fingerprint): record.key
                    for record in unit.records.values()
                    if record.phase is Phase.FAILED and record.key in unit.aspired
                }
                assert not any(
                    failed.get((record.key.version, record.fingerprint), record.key) < record.key
                    for record in unit.records.values()
                )

    @invariant()
    def what_made_room_is_back_or_cannot_be_there_any_more(self) -> None:
        for unit in self.manager._units.values():
            if unit.room_first and unit.aspired and is_settled(unit.aspired, unit.actual):
                failed = {key.version for key in unit.records if unit.actual[key] is Phase.FAILED}
                assert unit.ready() or {one.version for one in unit.gave_way} <= failed

    @invariant()
    def what_hung_is_not_tried_again_by_itself(self) -> None:
        for unit in self.manager._units.values():
            for record in unit.view().generations:
                if record.state.key in self.written_off:
                    assert record.state.next_try is None

    @invariant()
    def a_hold_keeps_what_it_names_and_nothing_else(self) -> None:
        for unit in self._held():
            hold = unit.hold
            assert hold is not None
            if hold.kind is HoldKind.UNLOAD:
                assert not unit.ready() or unit.pending is not None
            elif unit.pending is None:
                assert tuple(unit.ready()) == hold.versions

    @invariant()
    def only_what_failed_or_stands_by_is_due(self) -> None:
        if self.manager.due() is not None and not self.world.inbox.wait(0):
            assert any(
                record.phase is Phase.STANDBY or (record.phase is Phase.FAILED and unit.alone)
                for unit in self.manager._units.values()
                for record in unit.records.values()
            )

    def teardown(self) -> None:
        for model in self.leased:
            model.leases.give_back()
        self.leased = []
        farewell = UnloadAll()
        self.world.inbox.put(farewell)
        while self.world.inbox.wait(0):
            self.manager.step()
            self._end_everything()
        assert farewell.outcome.done()
        assert all(wish.outcome.done() for wish in self.wishes)
        assert self.alive == set()
        assert len(self.world.executor.cleared) == len(self.updates)
        assert set(map(id, self.world.executor.cleared)) == set(map(id, self.updates))
        assert self.world.shown == set()

    def _end_everything(self) -> None:
        while self.world.executor.loading:
            self.a_load_ends(0, "built")
        while self.world.executor.adjusting:
            self.a_change_in_place_ends(0, is_good=True)
        while self.world.executor.draining:
            self.a_drain_ends(0)
        while self.world.executor.unloading:
            self.an_unload_ends(0)

    def _nothing_good_was_lost(self) -> None:
        """What served and serves no longer made room for what is aspired.

        For all of it together, or for its own successor, or for those that serve beside it.
        """
        shown: dict[ModelName, set[GenerationKey]] = {}
        for key in self.world.shown:
            shown.setdefault(key.model, set()).add(key)
        for model, before in self.shown_before.items():
            now = shown.get(model, set())
            unit = self.manager._units[model]
            for lost in before - now:
                if unit.room_first:
                    continue  # that is what it asks for
                if not unit.alone:
                    assert unit.aspired == now
                elif unit.aspired:
                    successors = {
                        key for key in unit.aspired if key.version_key == lost.version_key
                    }
                    assert successors <= now
                    assert {key.version for key in now} & {key.version for key in unit.aspired}
        self.shown_before = shown

    def _nothing_stands_by_for_too_long(self) -> None:
        for unit in self.manager._units.values():
            for record in unit.records.values():
                if record.phase is Phase.STANDBY and record.key not in unit.aspired:
                    assert record.standby_until is not None
                    assert record.standby_until > self.world.clock.now

    def _put(self, wish: LoadWish | UnloadWish | RollbackWish | ReleaseWish) -> None:
        self.wishes.append(wish)
        self.world.inbox.put(wish)

    def _held(self) -> list[Unit]:
        return [unit for _, unit in sorted(self.manager._units.items()) if unit.hold is not None]

    def _going_on(self) -> Mapping[GenerationKey, Event]:
        """Which loads may come to a next phase, and to which."""
        steps = {None: Event.WARM, Event.WARM: Event.PROVE}
        loading = self.world.executor.loading
        return {
            key: steps[came_to] for key in loading if (came_to := self.came_to.get(key)) in steps
        }

    def _empty_and_draining(self) -> Mapping[GenerationKey, ServedModel]:
        draining = self.world.executor.draining
        return {key: model for key, model in draining.items() if model.leases.count == 0}

    def _pick(self, among: Collection[GenerationKey], pick: int) -> GenerationKey:
        keys = sorted(among)
        return keys[pick % len(keys)]


Reconciling.TestCase.settings = settings(max_examples=40, stateful_step_count=60)
TestReconciling = Reconciling.TestCase


class ReconcilingWhatServes(Reconciling):
    """All of it serves already: what changes is its instances, among the rest that happens."""

    @initialize()
    def everything_serves(self) -> None:
        for model in ("m", "n"):
            self.wish_for_other_instances(model, {1, 2, 3}, 1)
        self.step()
        while self.world.executor.loading:
            self.a_load_ends(0, "built")
        self.step()
        assert len(self.world.shown) == 6

    @rule(model=models, count=st.integers(1, 2))
    def the_instances_of_all_change(self, model: str, count: int) -> None:
        self.wish_for_other_instances(model, {1, 2, 3}, count)
        self.step()

    @precondition(lambda self: self.world.executor.adjusting)
    @rule()
    def every_change_in_place_ends_well(self) -> None:
        while self.world.executor.adjusting:
            self.a_change_in_place_ends(0, is_good=True)
        self.step()


ReconcilingWhatServes.TestCase.settings = Reconciling.TestCase.settings
TestReconcilingWhatServes = ReconcilingWhatServes.TestCase


class ReconcilingWithAgents(Reconciling):
    """Some models have repository agents, which take their time, refuse, hang and come back."""

    # Nothing of what has agents is changed in place, and holds are others' business.
    wish_for_other_instances = None  # type: ignore[assignment]
    wish_for_other_instances_alone = None  # type: ignore[assignment]
    what_the_repository_had_does_not_end_a_hold = None  # type: ignore[assignment]
    release = None  # type: ignore[assignment]

    def made_world(self) -> World:
        self.root = Path(tempfile.mkdtemp(prefix="agents-"))
        (self.root / "scratch").mkdir()
        for model in ("m", "n"):
            (self.root / model / "1").mkdir(parents=True)
            (self.root / model / "config.pbtxt").write_text('backend: "identity"')
        self.agents = HandAgents(
            self.root / "scratch",
            load=self._load,
            report=self._report,
            clock=lambda: self.world.clock.now,
        )
        return World(window_s=WINDOW_S, agents=self.agents, chronicle=self.chronicle)

    def found(self, *content: tuple[int, str], model: str) -> Polled:
        """Return what a poll finds: of most contents that there are agents."""
        found = polled(*content, model=model)
        if {fingerprint for _, fingerprint in content} == {"b"}:
            return found
        return replace(found, directory=self.root / model, preparation=PREPARATION)

    @initialize(versions=st.sets(st.integers(1, 3), min_size=1))
    def something_is_wished_for(self, versions: set[int]) -> None:
        for model in ("m", "n"):
            self.wish(model, dict.fromkeys(versions, "a"), room_first=False)
        self.step()

    @precondition(lambda self: self.agents.preparing.waiting)
    @rule(pick=picks, first=st.sampled_from([*FATES, NO_THREAD]), second=st.sampled_from(FATES))
    def agents_are_at_work(self, pick: int, first: str, second: str) -> None:
        waiting = self.agents.preparing.waiting
        do = {name: self._do(fate) for name, fate in zip(NAMES, (first, second), strict=True)}
        endings = (ENDINGS.get(fate, Ending.RETURNED) for fate in (first, second))
        self.agents.work(pick % len(waiting), do, *endings)

    @rule(model=models, content=contents, publishes=st.booleans())
    def something_else_serves(
        self, model: str, content: Mapping[int, str], *, publishes: bool
    ) -> None:
        """Without it few walks come to what happens to agents after they have agreed."""
        self.wish(model, content, room_first=False)
        self.step()
        while self.agents.preparing.waiting:
            self.agents.work(0, {NAMES[-1]: self.agents.publish} if publishes else {})
        self.step()
        while self.world.executor.loading:
            self.a_load_ends(0, "built")
        self.step()

    @precondition(lambda self: self.agents.telling.waiting)
    @rule(pick=picks, hangs=st.booleans())
    def agents_hear_what_has_become_of_it(self, pick: int, *, hangs: bool) -> None:
        waiting = self.agents.telling.waiting
        ending = Ending.OVER_TIME if hangs else Ending.RETURNED
        self.agents.hear(pick % len(waiting), ending)

    @precondition(lambda self: self.agents.pool.hanging)
    @rule(pick=picks)
    def an_agent_that_hung_comes_back(self, pick: int) -> None:
        self.agents.come_back(pick % len(self.agents.pool.hanging))

    @invariant()
    def every_story_is_legal(self) -> None:
        assert all(is_legal(told.story) for told in self.agents.told)

    @invariant()
    def agents_of_what_serves_have_let_it_pass_and_heard_of_no_end(self) -> None:
        for unit in self.manager._units.values():
            for record in unit.records.values():
                if record.job.preparation is not None and record.phase is Phase.READY:
                    stories = [told.story for told in self.agents.of(record.key)]
                    assert len(stories) == len(NAMES)
                    assert all(
                        story in ([Action.LOAD], [Action.LOAD, Action.LOAD_COMPLETE])
                        for story in stories
                    )

    @invariant()
    def nothing_is_loaded_that_waits_for_its_agents(self) -> None:
        if self.world.inbox.wait(0):
            return
        for unit in self.manager._units.values():
            for record in unit.records.values():
                if record.phase is Phase.PREPARING:
                    assert record.key not in self.world.executor.loading

    def teardown(self) -> None:
        super().teardown()
        self._end_agents()
        assert self.agents.wait_over(self.world.clock.now)
        assert all(is_whole(told.story) for told in self.agents.told)
        assert all(file.is_closed for file in self.agents.memory)
        assert {path.name for path in self.agents.scratch.open().iterdir()} == {".lock"}
        self.agents.scratch.close()
        shutil.rmtree(self.root)

    def _end_everything(self) -> None:
        self._end_agents()
        super()._end_everything()

    def _end_agents(self) -> None:
        while self.agents.preparing.waiting or self.agents.telling.waiting:
            while self.agents.preparing.waiting:
                self.agents.work(0, {})
            while self.agents.telling.waiting:
                self.agents.hear(0)
        while self.agents.pool.hanging:
            self.agents.come_back(0)

    def _load(self, job: LoadJob) -> None:
        self.world.executor.load(job)

    def _report(self, report: Report) -> None:
        self.world.inbox.put(report)

    def _do(self, fate: str) -> Do:
        match fate:
            case "publishes":
                return self.agents.publish
            case "refuses":
                return refuse
            case "is given up":
                return self._give_up
            case _:
                return agree

    def _give_up(self, model: AgentModel) -> None:
        """Nobody wants the model any more while an agent is at work."""
        self._put(UnloadWish(ModelName(model.name)))
        self.step()
        model.check()


ReconcilingWithAgents.TestCase.settings = settings(max_examples=20, stateful_step_count=60)
TestReconcilingWithAgents = ReconcilingWithAgents.TestCase
