"""A chain under random failures: every agent's story is one of the legal ones."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import event, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from structlog.testing import capture_logs

from interlock.control.agent_pool import Ending
from interlock.control.agent_story import (
    IllegalActionError,
    is_forward,
    is_legal,
    is_over,
    is_whole,
)
from interlock.domain.errors import ServiceError
from interlock_agents.api import Action, AgentError, AgentModel, MemoryFile
from tests.support.agents import Act, PoolFake, Stage, in_memory

SECRET = b"weights in clear"

TROUBLES = {"refuse": AgentError("no"), "break": ZeroDivisionError(), "exit": SystemExit(1)}
_SERVED = (Action.LOAD, Action.LOAD_COMPLETE, Action.UNLOAD, Action.UNLOAD_COMPLETE)
_PATHS: Mapping[Action | None, tuple[Action, ...]] = {
    None: (),
    Action.LOAD_FAIL: (Action.LOAD, Action.LOAD_FAIL),
    **{action: _SERVED[: _SERVED.index(action) + 1] for action in _SERVED},
}

agents = st.integers(0, 3)
fates: st.SearchStrategy[list[Ending]] = st.one_of(
    st.just([]),
    st.just([]),
    st.lists(
        st.sampled_from(
            [Ending.RETURNED, Ending.RETURNED, Ending.OVER_TIME, Ending.CUT_OFF, Ending.NO_THREAD]
        ),
        max_size=4,
    ),
)
harmless = st.sampled_from(["publish", "scratch", "look", "memory"])
troubles = st.sampled_from([*TROUBLES])
places = st.tuples(st.sampled_from("abcd"), st.sampled_from(Action))


class Chains(RuleBasedStateMachine):
    """One chain from its beginning to its end; what hangs may come back at any time."""

    @initialize(
        size=st.integers(1, 4),
        deeds=st.dictionaries(places, harmless, min_size=3),
        wrongs=st.dictionaries(places, troubles, max_size=2),
        lacks_threads=st.booleans(),
    )
    def begin(
        self,
        size: int,
        deeds: dict[tuple[str, Action], str],
        wrongs: dict[tuple[str, Action], str],
        *,
        lacks_threads: bool,
    ) -> None:
        self.script = deeds | wrongs
        self.lacks_threads = lacks_threads
        self.fates: list[Ending] = []
        self.memory: list[MemoryFile] = []
        self.pool = PoolFake(self.fate)
        self.stage = Stage(*[self.does(name) for name in "abcd"[:size]], pool=self.pool)
        self.last: Action | None = None
        self.was_unheard = False

    def does(self, name: str) -> Act:
        return lambda action, model: self.do(self.script.get((name, action), ""), model)

    def do(self, deed: str, model: AgentModel) -> None:
        """What an agent does, whenever it does it."""
        if deed in TROUBLES:
            raise TROUBLES[deed]
        match deed:
            case "publish" | "memory":
                location = in_memory(model, weights=SECRET)
                self.memory += location.memory_files()
                if deed == "publish":
                    model.publish(location)
            case "scratch":
                assert model.scratch() == model.scratch()
            case "look":
                assert all(file.read() == SECRET for file in model.location.files().values())

    def fate(self) -> Ending:
        fate = self.fates.pop() if self.fates else Ending.RETURNED
        self.was_unheard |= fate is Ending.NO_THREAD
        return fate

    @precondition(lambda self: self.legal())
    @rule(pick=st.integers(0, 1), fates=fates)
    def go_on(self, pick: int, fates: list[Ending]) -> None:
        action = self.legal()[pick % len(self.legal())]
        before = len(self.stage.diary)
        self.expect(fates)
        self.last = action
        with capture_logs():
            try:
                self.call(action)
            except ServiceError:
                # Nothing but LOAD can fail, and then all has been told.
                assert action is Action.LOAD
                self.last = Action.LOAD_FAIL
        assert self.stage.chain.last is self.last
        event(f"{len(self.stage.players)} agents, {self.last}")
        self.check_order(self.stage.diary[before:])

    @rule(action=st.sampled_from(Action))
    def tell_out_of_order(self, action: Action) -> None:
        if action in self.legal():
            return
        before = [*self.stage.diary]

        with pytest.raises(IllegalActionError, match="Unexpected lifecycle"):
            self.call(action)

        assert self.stage.diary == before
        assert self.stage.chain.last is self.last

    def legal(self) -> list[Action]:
        return [action for action in Action if is_legal([*_PATHS[self.last], action])]

    def call(self, action: Action) -> None:
        calls: Mapping[Action, Callable[[], object]] = {
            Action.LOAD: self.stage.chain.load,
            Action.LOAD_COMPLETE: self.stage.chain.complete,
            Action.LOAD_FAIL: self.stage.chain.fail,
            Action.UNLOAD: self.stage.chain.unload,
            Action.UNLOAD_COMPLETE: self.stage.chain.unloaded,
        }
        calls[action]()

    def expect(self, fates: list[Ending]) -> None:
        """Of the next calls."""
        self.fates = [fate for fate in fates if self.lacks_threads or fate is not Ending.NO_THREAD]

    @precondition(lambda self: self.last is not None)
    @rule(fates=fates)
    def close(self, fates: list[Ending]) -> None:
        before = len(self.stage.diary)
        self.expect(fates)
        with capture_logs():
            self.stage.chain.close()
        self.last = self.stage.chain.last
        assert self.last is None or is_over(self.last)
        self.check_order(self.stage.diary[before:])

    @precondition(lambda self: self.last is None)
    @rule(is_meant=st.integers(0, 4))
    def cancel(self, is_meant: int) -> None:
        if is_meant == 4:
            self.stage.chain.cancel()

    @precondition(lambda self: self.pool.hanging)
    @rule(pick=agents)
    def one_that_hangs_comes_back(self, pick: int) -> None:
        with capture_logs():
            self.pool.let_go(pick % len(self.pool.hanging))

    def check_order(self, heard: list[tuple[str, Action]]) -> None:
        """Those that heard an action heard it in its order, unless for lack of a thread."""
        for action in Action:
            names = [name for name, other in heard if other is action]
            assert self.was_unheard or names == sorted(names, reverse=not is_forward(action))

    @invariant()
    def every_story_is_legal(self) -> None:
        for player in self.stage.players:
            assert is_legal(player.story)
            assert player.made <= 1
            assert all(player.story.count(action) <= 1 for action in Action)

    @invariant()
    def agents_are_started_in_order(self) -> None:
        started = [bool(player.story) for player in self.stage.players]
        if not self.pool.hanging and not self.was_unheard:
            assert started == sorted(started, reverse=True)

    @invariant()
    def what_is_told_is_heard(self) -> None:
        """By all that were started, unless they hang."""
        if self.last is None or self.pool.hanging or self.was_unheard:
            return
        for player in self.stage.players:
            assert not player.story or player.story[-1] is self.last
        if is_over(self.last):
            assert all(not story or is_whole(story) for story in self.stage.stories)

    @invariant()
    def nothing_in_clear_is_left(self) -> None:
        if self.last in {None, Action.LOAD}:
            return
        for file in self.memory:
            assert file.is_closed or not any(file.read())

    @invariant()
    def nothing_is_left_once_it_is_over(self) -> None:
        if self.last is None or not is_over(self.last):
            return
        assert not self.stage.scratch.there
        if not self.pool.hanging:
            assert all(file.is_closed for file in self.memory)

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        with capture_logs():
            self.stage.chain.close()
            while self.pool.hanging:
                self.pool.let_go()
        self.last = self.stage.chain.last
        self.every_story_is_legal()
        self.what_is_told_is_heard()
        self.nothing_is_left_once_it_is_over()
        for file in self.memory:
            file.close()


TestChains = Chains.TestCase
TestChains.settings = settings(max_examples=300, stateful_step_count=15, deadline=None)
