"""Which loads are told of, and which are written off; the clock is set by hand."""

import queue
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from interlock.control.load_watch import Attempt, LoadWatch, WriteOff, WrittenOffError
from interlock.domain.errors import UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.serving.load_job import LoadPhase
from tests.support.control import HandClock, key


class Desk:
    """A watch whose own thread sleeps from the first load to the end of the test.

    So that it is the test that looks, and nobody else.
    """

    def __init__(self, *, timeout_s: float = 0.0, notice_s: float = 30.0) -> None:
        self.clock = HandClock()
        self._asleep = threading.Event()
        self._over = threading.Event()
        self._attempts: list[Attempt] = []
        self.written_off: list[tuple[GenerationKey, str]] = []
        self.watch = LoadWatch(
            self.clock, timeout_s=timeout_s, notice_s=notice_s, sleep=lambda _: self._sleep()
        )

    def begin(self, of: GenerationKey) -> Attempt:
        def write_off(error: UnavailableError) -> None:
            self.written_off.append((of, str(error)))

        return self.watch_over(of, write_off)

    def watch_over(self, of: GenerationKey, write_off: WriteOff) -> Attempt:
        attempt = self.watch.begin(of, write_off)
        self._attempts.append(attempt)
        assert self._asleep.wait(30)
        return attempt

    def look_after(self, seconds: float) -> float | None:
        self.clock.now += seconds
        return self.watch.look()

    def close(self) -> None:
        """Let the thread wake up, and find that there is nothing to watch any more."""
        for attempt in self._attempts:
            self.watch.end(attempt)
        self._over.set()

    def _sleep(self) -> None:
        self._asleep.set()
        self._over.wait()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with closing(Desk(timeout_s=10.0)) as desk:
        yield desk


@pytest.fixture
def patient_desk() -> Iterator[Desk]:
    """One where nothing is written off."""
    with closing(Desk()) as desk:
        yield desk


def test_a_load_that_takes_too_long_is_written_off_once(desk: Desk) -> None:
    attempt = desk.begin(key(1))

    assert desk.look_after(9.5) == pytest.approx(0.5)
    assert desk.written_off == []

    assert desk.look_after(0.5) is None
    assert desk.look_after(10.0) is None
    assert [of for of, _ in desk.written_off] == [key(1)]
    assert not desk.watch.end(attempt)


def test_the_reason_says_after_how_long_and_in_which_phase(desk: Desk) -> None:
    attempt = desk.begin(key(1))
    desk.clock.now += 4.0
    desk.watch.enter(attempt, LoadPhase.WARMING)
    desk.look_after(6.25)

    assert desk.written_off[0][1] == (
        "load given up after 10.25 s, of which warming 6.25 s: "
        "it may take no longer than --model-load-timeout-secs=10"
    )


def test_a_load_that_has_not_been_built_yet_is_loading(desk: Desk) -> None:
    desk.begin(key(1))
    desk.look_after(10.0)

    assert "given up after 10 s, of which loading 10 s" in desk.written_off[0][1]


def test_a_load_that_ends_in_time_is_left_alone(desk: Desk) -> None:
    attempt = desk.begin(key(1))

    assert desk.watch.end(attempt)
    assert desk.look_after(20.0) is None
    assert desk.written_off == []


def test_a_load_that_was_written_off_hears_of_it_when_it_comes_to_its_next_phase(
    desk: Desk,
) -> None:
    attempt = desk.begin(key(1))
    desk.look_after(10.0)

    with pytest.raises(WrittenOffError):
        desk.watch.enter(attempt, LoadPhase.WARMING)


def test_each_load_has_its_own_time(desk: Desk) -> None:
    desk.begin(key(1))
    desk.clock.now += 6.0
    desk.begin(key(2))

    assert desk.look_after(4.0) == pytest.approx(6.0)
    assert [of for of, _ in desk.written_off] == [key(1)]


def test_a_load_that_takes_long_is_told_of_again_and_again(patient_desk: Desk) -> None:
    desk = patient_desk
    attempt = desk.begin(key(1))
    with capture_logs() as lines:
        assert desk.look_after(29.0) == pytest.approx(1.0)
        assert lines == []

        desk.look_after(1.0)
        desk.watch.enter(attempt, LoadPhase.PROVING)
        desk.look_after(30.0)
        desk.look_after(1.0)

    assert desk.written_off == []
    assert [(line["event"], line["phase"], line["seconds"]) for line in lines] == [
        ("still loading", "loading", 30),
        ("still loading", "proving", 60),
    ]
    assert lines[0]["log_level"] == "warning"
    assert (lines[0]["model"], lines[0]["version"], lines[0]["generation"]) == ("m", 1, 1)


def test_one_that_cannot_be_written_off_does_not_keep_the_others(desk: Desk) -> None:
    def broken(error: UnavailableError) -> None:
        raise ValueError(error)

    desk.watch_over(key(1), broken)
    desk.begin(key(2))
    with capture_logs() as lines:
        desk.look_after(10.0)

    assert [of for of, _ in desk.written_off] == [key(2)]
    assert [line["event"] for line in lines] == ["a load could not be written off"]


def test_a_thread_of_its_own_looks_whenever_something_is_due() -> None:
    clock = HandClock()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    watch = LoadWatch(clock, timeout_s=70.0, sleep=sleep)
    written_off: queue.Queue[UnavailableError] = queue.Queue()
    for number in (1, 2):
        slept.clear()
        watch.begin(key(number), written_off.put)

        assert "given up after 70 s" in str(written_off.get(timeout=30))
        # The thread of the first may still be there for the second, which it meets at once.
        assert [seconds for seconds in slept if seconds] == [30.0, 30.0, 10.0]
