"""Threads for blocking work."""

import threading
import time
from collections.abc import Callable
from functools import partial

from interlock.control.workers import Workers


def nothing() -> None:
    return


class Gate:
    """A task that tells when it has begun, and waits to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.ended = threading.Event()
        self.thread = ""

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self.begun.set()
        assert self.open.wait(30)
        self.ended.set()


def alive(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


def wait_until_gone(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(name):
            thread.join(30)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_does_so_many_tasks_at_once_and_the_rest_after_them() -> None:
    workers = Workers("at-once", 2)
    first, second, third = Gate(), Gate(), Gate()
    for gate in (first, second, third):
        workers.submit(gate, dropped=nothing)
    assert first.begun.wait(30)
    assert second.begun.wait(30)
    assert not third.begun.is_set()

    first.open.set()

    assert third.begun.wait(30)
    assert third.thread == first.thread
    second.open.set()
    third.open.set()
    wait_until_gone("at-once")


def test_threads_have_numbered_names_and_end_when_there_is_nothing_to_do() -> None:
    workers = Workers("named", 2)
    gate = Gate()
    workers.submit(gate, dropped=nothing)
    assert gate.begun.wait(30)
    assert alive("named") == ["named-0"]

    gate.open.set()
    wait_until_gone("named")

    again = Gate()
    again.open.set()
    workers.submit(again, dropped=nothing)
    assert again.ended.wait(30)
    wait_until_gone("named")


def test_what_waits_can_be_given_up_and_what_runs_goes_on() -> None:
    workers = Workers("given-up", 1)
    running = Gate()
    told: list[int] = []
    tasks: list[Callable[[], None]] = [running, Gate(), Gate()]
    for number, task in enumerate(tasks):
        workers.submit(task, dropped=partial(told.append, number))
    assert running.begun.wait(30)

    workers.drop_waiting()
    running.open.set()

    assert running.ended.wait(30)
    assert told == [1, 2]
    wait_until_gone("given-up")


def test_another_thread_takes_the_place_of_one_that_hangs() -> None:
    workers = Workers("hung", 1)
    hung, next_one = Gate(), Gate()
    workers.submit(hung, dropped=nothing)
    workers.submit(next_one, dropped=nothing)
    assert hung.begun.wait(30)

    assert workers.write_off(hung)

    assert next_one.begun.wait(30)
    assert workers.lost == 1
    next_one.open.set()
    assert next_one.ended.wait(30)
    hung.open.set()
    wait_until_gone("hung")


def test_a_thread_that_comes_back_late_ends_and_leaves_the_place_to_its_successor() -> None:
    workers = Workers("late", 1)
    hung, next_one, last = Gate(), Gate(), Gate()
    for gate in (hung, next_one, last):
        workers.submit(gate, dropped=nothing)
    assert hung.begun.wait(30)
    workers.write_off(hung)
    assert next_one.begun.wait(30)

    hung.open.set()
    wait_until(lambda: workers.lost == 0)

    assert not last.begun.is_set()
    next_one.open.set()
    assert last.begun.wait(30)
    last.open.set()
    wait_until_gone("late")


def test_a_task_that_has_ended_cannot_be_written_off() -> None:
    workers = Workers("over", 1)
    gate = Gate()
    gate.open.set()
    workers.submit(gate, dropped=nothing)
    assert gate.ended.wait(30)
    wait_until_gone("over")

    assert workers.write_off(gate)
    assert workers.lost == 0


def test_no_more_threads_are_lost_than_may_be() -> None:
    workers = Workers("cap", 1, max_lost=1)
    first, second, third = Gate(), Gate(), Gate()
    told: list[str] = []
    workers.submit(first, dropped=nothing)
    workers.submit(second, dropped=nothing)
    workers.submit(third, dropped=lambda: told.append("third"))
    assert first.begun.wait(30)
    assert workers.write_off(first)
    assert second.begun.wait(30)

    assert not workers.write_off(second)
    workers.submit(Gate(), dropped=lambda: told.append("fourth"))

    assert workers.is_blocked
    assert workers.lost == 2
    assert told == ["third", "fourth"]
    second.open.set()  # it works on where it is
    wait_until(lambda: not workers.is_blocked)
    third.open.set()
    workers.submit(third, dropped=nothing)
    assert third.ended.wait(30)
    first.open.set()
    wait_until_gone("cap")


def test_with_places_left_the_rest_goes_on_where_one_is_blocked() -> None:
    workers = Workers("half", 2, max_lost=0)
    hung, other, waiting = Gate(), Gate(), Gate()
    for gate in (hung, other, waiting):
        workers.submit(gate, dropped=nothing)
    assert hung.begun.wait(30)

    assert not workers.write_off(hung)
    assert not workers.is_blocked
    other.open.set()

    assert waiting.begun.wait(30)
    waiting.open.set()
    hung.open.set()
    wait_until_gone("half")
