"""Other instances take over from those that run: no request is lost, none runs twice."""

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from interlock.domain.errors import UnavailableError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.runtime.threads import Thread, spawn
from interlock.scheduling.base import BatchRunner
from interlock.scheduling.direct import DirectScheduler
from interlock.telemetry.statistics import VersionStatistics
from tests.support.running import PATIENCE_S, ScriptedRunner, answer, request


@contextmanager
def scheduler(*runners: ScriptedRunner) -> Iterator[DirectScheduler]:
    started = DirectScheduler(runners, VersionStatistics())
    yield started
    started.stop()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class Retired:
    """Who has run its last request."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._some = threading.Condition()

    def __call__(self, runner: BatchRunner) -> None:
        with self._some:
            self.names.append(runner.name)
            self._some.notify_all()

    def wait_for(self, *names: str) -> None:
        with self._some:
            assert self._some.wait_for(lambda: set(names) <= set(self.names), PATIENCE_S)


class Gate:
    """Holds every request that comes in until it is opened."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, _request: InferRequest) -> InferResponse:
        self.begun.release()
        assert self._open.wait(PATIENCE_S)
        return InferResponse()

    def open(self) -> None:
        self._open.set()


def change(of: DirectScheduler, runners: Sequence[ScriptedRunner], retired: Retired) -> None:
    of.prepare(runners, retired).apply()


def test_what_is_prepared_runs_nothing_yet() -> None:
    old, new = ScriptedRunner(name="old"), ScriptedRunner(name="new")
    retired = Retired()

    with scheduler(old) as running:
        prepared = running.prepare([new], retired)
        asked = request(name="a")
        running.enqueue(asked)
        answer(asked)
        prepared.discard()

    assert (old.ran, new.ran, retired.names) == (["a"], [], [])


def test_where_the_same_instances_go_on_nothing_is_moved_nor_started() -> None:
    runners = [ScriptedRunner(name="a"), ScriptedRunner(name="b")]
    running = DirectScheduler(runners, VersionStatistics(), start=Scarce(0))

    change(running, runners[::-1], retired := Retired())
    running.stop()

    assert retired.names == []


def test_new_instances_take_what_waits_and_the_old_one_ends_what_it_has_begun() -> None:
    gate, retired = Gate(), Retired()
    old, new = ScriptedRunner(gate, name="old"), ScriptedRunner(name="new")
    begun, *waiting = [request(name=name) for name in "abc"]

    with scheduler(old) as running:
        running.enqueue(begun)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        for one in waiting:
            running.enqueue(one)
        change(running, [new], retired)
        for one in waiting:
            answer(one)
        assert retired.names == []
        gate.open()
        answer(begun)
        retired.wait_for("old")

    assert (old.ran, new.ran) == (["a"], ["b", "c"])


def test_one_that_stays_goes_on_beside_the_new_ones() -> None:
    gate, retired = Gate(), Retired()
    first, second = ScriptedRunner(gate, name="first"), ScriptedRunner(gate, name="second")
    requests = [request(name=name) for name in "ab"]

    with scheduler(first) as running:
        change(running, [first, second], retired)
        for one in requests:
            running.enqueue(one)
        for _ in requests:
            assert gate.begun.acquire(timeout=PATIENCE_S)
        gate.open()
        for one in requests:
            answer(one)

    assert sorted(first.ran + second.ran) == ["a", "b"]
    assert len(first.ran) == 1
    assert retired.names == []


def test_an_idle_instance_that_goes_is_handed_back_at_once() -> None:
    retired = Retired()
    stays, goes = ScriptedRunner(name="stays"), ScriptedRunner(name="goes")

    with scheduler(stays, goes) as running:
        change(running, [stays], retired)
        retired.wait_for("goes")
        asked = request(name="a")
        running.enqueue(asked)
        answer(asked)

    assert (stays.ran, goes.ran, retired.names) == (["a"], [], ["goes"])


def test_one_that_is_busy_through_two_changes_joins_the_last_crew() -> None:
    gate, retired = Gate(), Retired()
    busy, between, last = (
        ScriptedRunner(gate, name="busy"),
        ScriptedRunner(name="between"),
        ScriptedRunner(name="last"),
    )
    begun = request(name="a")

    with scheduler(busy) as running:
        running.enqueue(begun)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        change(running, [busy, between], retired)
        change(running, [busy, last], retired)
        retired.wait_for("between")
        change(running, [busy], retired)
        retired.wait_for("last")
        gate.open()
        answer(begun)
        asked = request(name="b")
        running.enqueue(asked)
        answer(asked)

    assert busy.ran == ["a", "b"]


def test_requests_keep_their_order_through_a_change() -> None:
    gate, retired = Gate(), Retired()
    old, new = ScriptedRunner(gate, name="old"), ScriptedRunner(name="new")
    begun = request(name="begun")
    requests = [request(name=str(number)) for number in range(100)]

    with scheduler(old) as running:
        running.enqueue(begun)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        for one in requests[:50]:
            running.enqueue(one)
        change(running, [new], retired)
        for one in requests[50:]:
            running.enqueue(one)
        for one in requests:
            answer(one)
        gate.open()

    assert new.ran == [str(number) for number in range(100)]


def test_what_is_put_into_a_former_queue_is_moved_on() -> None:
    """Whoever is overtaken between reading the queue and putting the request into it."""
    retired = Retired()
    old, new = ScriptedRunner(name="old"), ScriptedRunner(name="new")
    late = request(name="late")

    with scheduler(old) as running:
        former = running._queue
        change(running, [new], retired)
        retired.wait_for("old")
        former.put(late)
        running._catch_up(former)
        answer(late)

    assert new.ran == ["late"]


def test_after_the_stop_requests_are_refused_whatever_changed() -> None:
    running = DirectScheduler([ScriptedRunner(name="old")], VersionStatistics())
    change(running, [ScriptedRunner(name="new")], Retired())
    running.stop()
    late = request(name="late")

    running.enqueue(late)

    assert isinstance(answer(late), UnavailableError)


def test_what_is_put_into_a_former_queue_after_the_stop_is_refused() -> None:
    running = DirectScheduler([ScriptedRunner(name="old")], VersionStatistics())
    running.enqueue(begun := request(name="begun"))
    answer(begun)
    former = running._queue
    running.stop()
    late = request(name="late")

    former.put(late)
    running._catch_up(former)

    assert isinstance(answer(late), UnavailableError)


def test_what_waits_for_the_first_threads_runs_where_others_take_over() -> None:
    """A scheduler that holds requests back has no threads yet; the change starts them."""
    retired = Retired()
    old, new = ScriptedRunner(name="old"), ScriptedRunner(name="new")
    running = DirectScheduler([old], VersionStatistics(), hold=2)
    waits = request(name="waits")
    running.enqueue(waits)

    change(running, [new], retired)
    answer(waits)
    retired.wait_for("old")
    running.stop()

    assert old.ran + new.ran == ["waits"]


@pytest.mark.usefixtures("no_collector")
def test_what_goes_is_let_go_of_at_once() -> None:
    """The memory of an instance must not wait for the next change, nor for a collection."""
    gate, retired = Gate(), Retired()
    goes, stays = ScriptedRunner(gate, name="goes"), ScriptedRunner(name="stays")
    gone = threading.Event()
    weakref.finalize(goes, gone.set)
    running = DirectScheduler([goes], VersionStatistics())
    running.enqueue(begun := request(name="begun"))
    assert gate.begun.acquire(timeout=PATIENCE_S)

    change(running, [stays], retired)
    del goes
    gate.open()
    answer(begun)

    assert gone.wait(PATIENCE_S)
    running.stop()


@pytest.mark.usefixtures("no_collector")
def test_a_stopped_scheduler_is_let_go_of_at_once() -> None:
    running = DirectScheduler([ScriptedRunner(name="old")], VersionStatistics())
    running.enqueue(begun := request(name="begun"))
    answer(begun)
    change(running, [ScriptedRunner(name="new")], Retired())
    gone = threading.Event()
    weakref.finalize(running, gone.set)
    running.stop()
    del running

    assert gone.wait(PATIENCE_S)


class Scarce:
    """A system that gives so many threads and no more, until `left` is raised."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, name: str, target: Callable[[], None]) -> Thread:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return spawn(name, target)


def test_a_change_for_which_there_are_no_threads_leaves_all_as_it_was() -> None:
    old, new = ScriptedRunner(name="old"), [ScriptedRunner(name=f"new{i}") for i in range(2)]
    system = Scarce(2)
    running = DirectScheduler([old], VersionStatistics(), start=system)

    with pytest.raises(UnavailableError, match="instance new1: can't start new thread"):
        running.prepare(new, Retired())

    asked = request(name="a")
    running.enqueue(asked)
    answer(asked)
    running.stop()
    assert (old.ran, new[0].ran) == (["a"], [])


def test_an_instance_that_had_no_thread_gets_one_with_the_change() -> None:
    """It must not be left alone with the requests, nor be closed for having had none."""
    retired = Retired()
    has, lacks = ScriptedRunner(name="has"), ScriptedRunner(name="lacks")
    system = Scarce(1)
    running = DirectScheduler([has, lacks], VersionStatistics(), start=system)
    first, second = request(name="first"), request(name="second")
    running.enqueue(first)
    answer(first)
    system.left = 1

    change(running, [lacks], retired)
    running.enqueue(second)
    answer(second)
    retired.wait_for("has")
    running.stop()

    assert (has.ran, lacks.ran, retired.names) == (["first"], ["second"], ["has"])


class Crews:
    """Makes instances that count what they run, and tell when they run after they were retired."""

    def __init__(self) -> None:
        self.retired = Retired()
        self.ran: Counter[str] = Counter()
        self.too_late: list[str] = []
        self.made: list[ScriptedRunner] = []

    def crew(self, count: int, kept: Sequence[ScriptedRunner] = ()) -> list[ScriptedRunner]:
        return [*kept, *(self._runner() for _ in range(count - len(kept)))]

    def _runner(self) -> ScriptedRunner:
        name = f"m_{len(self.made)}"

        def script(of: InferRequest) -> InferResponse:
            self.ran[of.id] += 1
            if name in self.retired.names:
                self.too_late.append(name)
            return InferResponse()

        self.made.append(ScriptedRunner(script, name=name))
        return self.made[-1]


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), fresh=st.booleans())
def test_no_request_is_lost_whatever_the_counts_go_through(
    counts: list[int], *, fresh: bool
) -> None:
    """Some stay, or none does; each request runs once, on one that has not gone yet."""
    crews = Crews()
    crew = crews.crew(1)
    running = DirectScheduler(crew, VersionStatistics())
    requests = [[request(name=f"{client}.{number}") for number in range(60)] for client in "ab"]
    clients = [spawn("client", partial(send, running, mine)) for mine in requests]

    for count in counts:
        crew = crews.crew(count, [] if fresh else crew[-count:])
        change(running, crew, crews.retired)
    for client in clients:
        client.join()
    outcomes = [answer(one) for mine in requests for one in mine]
    running.stop()

    assert all(isinstance(outcome, InferResponse) for outcome in outcomes)
    assert set(crews.ran.values()) == {1}
    assert crews.too_late == []
    assert sorted(crews.retired.names) == sorted(one.name for one in crews.made if one not in crew)


def send(to: DirectScheduler, requests: Sequence[InferRequest]) -> None:
    for one in requests:
        to.enqueue(one)
