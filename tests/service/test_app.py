import signal
import threading
import time
from collections.abc import Iterator

import pytest

from interlock.app import StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """What the server waits for, in place of pytest's own handlers for a while."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield StopSignal()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_first_signal_is_told_of_and_further_ones_are_not(
    stop: StopSignal, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
    stop.wait()

    assert stop.asked
    assert not stop.died
    assert capfd.readouterr().err == "Signal (15) received.\n"


def test_a_thread_that_died_ends_the_wait_too(stop: StopSignal) -> None:
    threading.Timer(0.01, stop.die, (RuntimeError("gone"),)).start()

    stop.wait()

    assert stop.died


def test_a_signal_that_woke_nobody_is_noticed_all_the_same(stop: StopSignal) -> None:
    """It came between the interpreter's look for signals and its sleep."""

    def come_unheard() -> None:
        stop.asked = True

    threading.Timer(0.05, come_unheard).start()
    began = time.monotonic()

    stop.wait()

    assert time.monotonic() - began < 10
