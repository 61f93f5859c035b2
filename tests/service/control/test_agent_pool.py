"""Calls of agents: waited for as long as they may take, and no longer."""

import threading
from collections.abc import Callable, Iterator

import pytest

from interlock.control.agent_pool import AgentPool, CutOff, Ending, next_notice
from interlock.runtime.threads import Thread, spawn
from tests.support.wire import eventually

PATIENCE_S = 30.0
SHORT_S = 0.01


class Gate:
    """A call that waits to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.open.wait(PATIENCE_S)
        self.ended.set()


class Waiting:
    """Runs a call of a pool in a thread, as a chain does, and keeps how it ended."""

    def __init__(
        self, pool: AgentPool, call: Callable[[], None], cut_off: CutOff | None = None
    ) -> None:
        self._ending: Ending | None = None
        self._thread: Thread = spawn("waiting", lambda: self._run(pool, call, cut_off))

    def _run(self, pool: AgentPool, call: Callable[[], None], cut_off: CutOff | None) -> None:
        self._ending = pool.run(call, cut_off)

    @property
    def ending(self) -> Ending | None:
        self._thread.join(PATIENCE_S)
        return self._ending

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_a_call_runs_in_a_thread_of_the_pool() -> None:
    names: list[str] = []

    ending = AgentPool(timeout_s=PATIENCE_S).run(
        lambda: names.append(threading.current_thread().name)
    )

    assert ending is Ending.RETURNED
    assert names == ["agent-0"]


def test_a_call_that_takes_too_long_is_not_waited_for(gate: Gate) -> None:
    pool = AgentPool(timeout_s=SHORT_S)

    assert pool.run(gate) is Ending.OVER_TIME

    assert pool.lost == 1
    gate.open.set()
    assert gate.ended.wait(PATIENCE_S)
    eventually(lambda: pool.lost == 0)


def test_without_a_limit_it_is_waited_for(gate: Gate) -> None:
    waiting = Waiting(AgentPool(), gate)
    assert gate.begun.wait(PATIENCE_S)
    assert not waiting.is_over

    gate.open.set()

    assert waiting.ending is Ending.RETURNED


def test_another_thread_takes_the_place_of_the_one_that_hangs(gate: Gate) -> None:
    pool = AgentPool(timeout_s=SHORT_S, threads=1)
    assert pool.run(gate) is Ending.OVER_TIME

    done = threading.Event()
    assert pool.run(done.set) in {Ending.RETURNED, Ending.OVER_TIME}

    assert done.wait(PATIENCE_S)


def test_waiting_for_a_thread_is_not_held_against_a_call(gate: Gate) -> None:
    pool = AgentPool(timeout_s=PATIENCE_S, threads=1)
    first = Waiting(pool, gate)
    assert gate.begun.wait(PATIENCE_S)
    second = Waiting(pool, lambda: None)

    gate.open.set()

    assert first.ending is second.ending is Ending.RETURNED


def test_one_model_does_not_wait_for_another() -> None:
    pool = AgentPool(timeout_s=PATIENCE_S)
    gates = [Gate() for _ in range(5)]
    waiting = [Waiting(pool, gate) for gate in gates]

    assert all(gate.begun.wait(PATIENCE_S) for gate in gates)

    for gate in gates:
        gate.open.set()
    assert {one.ending for one in waiting} == {Ending.RETURNED}


def test_a_call_that_is_cut_off_is_not_waited_for(gate: Gate) -> None:
    pool, cut_off = AgentPool(), CutOff()
    waiting = Waiting(pool, gate, cut_off)
    assert gate.begun.wait(PATIENCE_S)

    cut_off.cut()

    assert waiting.ending is Ending.CUT_OFF
    assert not gate.ended.is_set()


def test_a_call_that_was_cut_off_before_is_not_waited_for(gate: Gate) -> None:
    cut_off = CutOff()
    cut_off.cut()

    assert AgentPool().run(gate, cut_off) is Ending.CUT_OFF


def test_what_is_cut_off_while_it_waits_for_a_thread_comes_back_at_once(gate: Gate) -> None:
    pool, cut_off = AgentPool(threads=1), CutOff()
    hog = Waiting(pool, gate)
    assert gate.begun.wait(PATIENCE_S)
    waiting = Waiting(pool, lambda: None, cut_off)

    cut_off.cut()

    assert waiting.ending is Ending.CUT_OFF
    gate.open.set()
    assert hog.ending is Ending.RETURNED


def test_a_cut_of_what_is_over_does_nothing() -> None:
    cut_off = CutOff()
    assert AgentPool().run(lambda: None, cut_off) is Ending.RETURNED

    cut_off.cut()

    assert cut_off.is_cut


def test_says_when_too_many_hang(gate: Gate) -> None:
    pool = AgentPool(timeout_s=SHORT_S, threads=1, max_lost=0)
    assert pool.run(gate) is Ending.OVER_TIME

    assert pool.run(lambda: None) is Ending.NO_THREAD

    assert pool.lost == 1
    gate.open.set()
    eventually(lambda: pool.lost == 0)
    assert pool.run(lambda: None) in {Ending.RETURNED, Ending.OVER_TIME}


def test_what_takes_long_is_told_of_while_it_is_waited_for(gate: Gate) -> None:
    told: list[float] = []

    def tell(seconds: float) -> None:
        told.append(seconds)
        if len(told) == 3:
            gate.open.set()

    assert AgentPool(notice_s=SHORT_S).run(gate, None, tell) is Ending.RETURNED

    assert told == sorted(told)
    assert all(seconds >= SHORT_S * 2**number for number, seconds in enumerate(told))


def test_what_takes_long_and_then_too_long_is_told_of_and_given_up(gate: Gate) -> None:
    told: list[float] = []
    # It has taken 12 seconds the first time that somebody looks, and 99 the next.
    times = iter((0.0, 12.0, 99.0))
    pool = AgentPool(timeout_s=20.0, notice_s=SHORT_S, clock=lambda: next(times))

    assert pool.run(gate, None, told.append) is Ending.OVER_TIME

    assert told == [12.0]


@pytest.mark.parametrize(
    ("seconds", "due"), [(30.0, 60.0), (59.9, 60.0), (60.0, 120.0), (500.0, 960.0), (3.0, 30.0)]
)
def test_a_call_is_told_of_again_when_it_has_taken_twice_as_long(
    seconds: float, due: float
) -> None:
    assert next_notice(30.0, seconds) == due


def test_a_call_that_raises_after_all_is_over() -> None:
    def call() -> None:
        raise SystemExit

    assert AgentPool().run(call) is Ending.RETURNED
