"""Threads for blocking work."""

import threading
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
