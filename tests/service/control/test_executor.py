"""What becomes of an action, and what is reported."""

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.executor import ThreadExecutor
from interlock.control.lifecycle import Event
from interlock.control.load_watch import LoadWatch
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
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.serving.lease import LeaseCount
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel
from tests.support.control import FREED, MODEL, FakeLoader, HandClock, IdleScheduler, key, served


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Office:
    """An executor with a fake loader, and the reports that have come in."""

    def __init__(
        self,
        *,
        load_threads: int = 2,
        retries: int = 0,
        loader: FakeLoader | None = None,
        timeout_s: float = 0.0,
        max_lost_threads: int = 8,
        drain_timeout_s: float = 0.0,
    ) -> None:
        self.loader = loader or FakeLoader()
        self.reports: queue.Queue[Report] = queue.Queue()
        self.clock = HandClock()
        # Its own thread never wakes up: a test looks.
        self.watch = LoadWatch(self.clock, timeout_s=timeout_s, sleep=lambda _: self._sleep())
        self.executor = ThreadExecutor(
            self.loader,
            self.reports.put,
            load_threads=load_threads,
            watch=self.watch,
            retries=retries,
            max_lost_threads=max_lost_threads,
            drain_timeout_s=drain_timeout_s,
            clock=self.clock,
        )

    def _sleep(self) -> None:
        threading.Event().wait(30)

    def hang(self, of: GenerationKey) -> None:
        """Load what then hangs, and return when it does."""
        self.loader.hold(of.model)
        self.load(of)
        assert self.loader.begun[of.model].wait(30)

    def look_after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.watch.look()

    def load(self, of: GenerationKey) -> None:
        self.executor.load(LoadJob(of, ModelConfig(of.model), Path("/models") / of.model))

    def loaded(self, of: GenerationKey) -> ServedModel:
        self.load(of)
        report = self.next()
        assert isinstance(report, Loaded)
        return report.served

    def next(self) -> Report:
        return self.reports.get(timeout=30)


def test_a_load_ends_in_what_it_built() -> None:
    office = Office()

    office.load(key(1))

    report = office.next()
    assert isinstance(report, Loaded)
    assert report.served.key == report.key == key(1)


def test_a_load_reports_the_phases_that_it_comes_to() -> None:
    office = Office()
    office.loader.phases = (LoadPhase.WARMING, LoadPhase.PROVING)

    office.load(key(1))

    assert office.next() == Progress(key(1), Event.WARM)
    assert office.next() == Progress(key(1), Event.PROVE)
    assert isinstance(office.next(), Loaded)


def test_a_load_that_is_refused_reports_why() -> None:
    office = Office()
    error = UnavailableError("no such file")
    office.loader.failing[1] = error

    office.load(key(1))

    assert office.next() == LoadFailed(key(1), error)


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("odd")], ids=repr)
def test_whatever_else_a_load_raises_is_logged_and_reported(error: BaseException) -> None:
    office = Office()
    office.loader.failing[1] = error
    with capture_logs() as lines:
        office.load(key(1))
        report = office.next()

    assert isinstance(report, LoadFailed)
    assert isinstance(report.error, InternalError)
    assert str(report.error) == f"{type(error).__name__}: odd"
    assert lines[0]["event"] == "load failed unexpectedly"


def test_loads_of_several_models_run_beside_each_other() -> None:
    office = Office(load_threads=2)
    for name in ("a", "b"):
        office.loader.hold(name)
        office.load(key(1, model=name))

    assert all(begun.wait(30) for begun in office.loader.begun.values())

    office.loader.let_go("a")
    office.loader.let_go("b")
    assert {office.next().key.model, office.next().key.model} == {"a", "b"}


def test_a_load_that_has_not_begun_can_be_given_up() -> None:
    office = Office(load_threads=1)
    office.loader.hold(MODEL)
    office.load(key(1))
    office.load(key(2))
    assert office.loader.begun[MODEL].wait(30)

    office.executor.drop_waiting()
    assert office.next() == LoadDropped(key(2))

    office.loader.let_go(MODEL)
    assert office.next().key == key(1)


def test_what_nobody_is_inside_drains_at_once() -> None:
    office = Office()
    model = office.loaded(key(1))

    office.executor.withdraw(key(1), model)

    assert [office.next(), office.next()] == [Drained(key(1)), Unloaded(key(1), FREED)]
    assert office.loader.unloaded == [key(1)]


def test_nothing_is_unloaded_while_somebody_is_inside() -> None:
    office = Office()
    model = office.loaded(key(1))
    assert model.leases.take()

    office.executor.withdraw(key(1), model)
    assert not model.leases.take()
    assert office.reports.empty()
    assert office.loader.unloaded == []
    model.leases.give_back()

    assert [office.next(), office.next()] == [Drained(key(1)), Unloaded(key(1), FREED)]
    assert office.loader.inside_at_unload == [0]


class Lingering(LeaseCount):
    """Leases of which one is given back just after some looks, at whose times the clock shows."""

    def __init__(self, clock: HandClock, *, looks: int) -> None:
        super().__init__()
        self.take()
        self.clock = clock
        self.left = looks

    def wait_empty(self, timeout_s: float | None) -> bool:
        self.clock.now += timeout_s or 0.0
        self.left -= 1
        return self.left < 0


class Refusing(IdleScheduler):
    """Remembers what it was told to refuse with."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def refuse(self, error: ServiceError) -> None:
        self.refused.append(str(error))


def test_a_drain_that_takes_long_says_how_many_are_left() -> None:
    office = Office()
    model = office.loaded(key(1))
    model.leases = Lingering(office.clock, looks=2)
    with capture_logs() as lines:
        office.executor.withdraw(key(1), model)
        assert office.next() == Drained(key(1))

    assert lines[0] == {
        "event": "still draining",
        "log_level": "warning",
        "model": "m",
        "version": 1,
        "generation": 1,
        "left": 1,
        "seconds": 10.0,
    }


def test_after_the_drain_timeout_what_waits_is_refused_and_what_runs_is_waited_for() -> None:
    office = Office(drain_timeout_s=15)
    clock = office.clock
    model = office.loaded(key(1))
    model.scheduler = scheduler = Refusing()
    model.leases = Lingering(clock, looks=4)
    with capture_logs() as lines:
        office.executor.withdraw(key(1), model)
        assert office.next() == Drained(key(1))

    (told,) = scheduler.refused
    assert told == (
        "version 1 of model 'm' was taken down, and the request had not begun to run within its "
        "drain timeout of 15 s; send it again"
    )
    assert [line["event"] for line in lines] == [
        "still draining",
        "drain timeout has passed: refused what was waiting, what runs is let finish",
        "still draining",
    ]
    assert lines[1]["left"] == 1
    assert clock.now == 100.0 + 10 + 5 + 10 + 10


def test_what_was_never_shown_is_taken_apart() -> None:
    office = Office()
    model = office.loaded(key(1))

    office.executor.discard(key(1), model)

    assert office.next() == Unloaded(key(1), FREED)
    assert not model.leases.take()


def test_an_unload_that_breaks_is_logged_and_over_all_the_same() -> None:
    office = Office()
    with capture_logs() as lines:
        office.executor.discard(key(9), served(key(9)))  # the loader never built it
        report = office.next()

    assert report == Unloaded(key(9))
    assert [line["event"] for line in lines] == ["unload failed"]


class MoodyLoader(FakeLoader):
    """A loader that fails a number of times, and then no more."""

    def __init__(self, failures: int) -> None:
        super().__init__(phases=(LoadPhase.WARMING, LoadPhase.PROVING))
        self.failures = failures
        self.attempts = 0

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        self.attempts += 1
        self.failing = {}
        if self.attempts <= self.failures:
            self.failing = {job.key.version: InternalError(f"attempt {self.attempts}")}
        return super().load(job, on_phase)


def test_a_load_that_fails_is_tried_again_and_reports_each_phase_once() -> None:
    office = Office(retries=2, loader=MoodyLoader(2))

    office.load(key(1))

    assert office.next() == Progress(key(1), Event.WARM)
    assert office.next() == Progress(key(1), Event.PROVE)
    assert isinstance(office.next(), Loaded)


def test_a_load_fails_with_its_last_reason_when_it_was_tried_often_enough() -> None:
    loader = MoodyLoader(9)
    office = Office(retries=2, loader=loader)

    office.load(key(1))

    reports = [office.next() for _ in range(3)]
    assert isinstance(reports[-1], LoadFailed)
    assert str(reports[-1].error) == "attempt 3"
    assert loader.attempts == 3


def test_a_load_is_not_tried_again_when_the_server_stops() -> None:
    loader = MoodyLoader(9)
    office = Office(retries=9, loader=loader)
    loader.hold()
    office.load(key(1))
    loader.begun[MODEL].wait(30)

    office.executor.drop_waiting()
    loader.let_go()

    while not isinstance(office.next(), LoadFailed):
        pass
    assert loader.attempts == 1


def test_a_load_that_hangs_is_written_off_with_its_reason() -> None:
    office = Office(timeout_s=5)
    office.hang(key(1))
    with capture_logs() as lines:
        office.look_after(5)

    report = office.next()
    assert isinstance(report, LoadFailed)
    assert report.key == key(1)
    assert report.error.reason == (
        "Unavailable: load given up after 5 s, of which loading 5 s: it may take no longer than "
        "--model-load-timeout-secs=5"
    )
    assert [line["event"] for line in lines] == ["load written off"]
    assert lines[0]["thread"] == "replaced"
    assert office.executor.lost_threads == 1
    office.loader.let_go()


def test_a_load_that_hangs_does_not_hold_up_the_others() -> None:
    office = Office(load_threads=1, timeout_s=5)
    office.hang(key(1))
    office.load(key(1, model="other"))

    office.look_after(5)

    ended = {report.key.model: type(report) for report in (office.next(), office.next())}
    assert ended == {"m": LoadFailed, "other": Loaded}
    office.loader.let_go()


def test_what_a_written_off_load_builds_after_all_is_taken_apart_and_not_reported() -> None:
    office = Office(timeout_s=5)
    office.hang(key(1))
    office.look_after(5)
    assert isinstance(office.next(), LoadFailed)

    with capture_logs() as lines:
        office.loader.let_go()
        wait_until(lambda: office.executor.lost_threads == 0)

    assert office.loader.unloaded == [key(1)]
    assert office.loader.alive == set()
    assert office.reports.empty()
    assert [line["event"] for line in lines] == ["a load that was written off has ended after all"]
    assert lines[0]["outcome"] == "loaded, thrown away"
    assert lines[0]["seconds"] == 5


def test_a_written_off_load_that_fails_after_all_is_told_of_and_not_tried_again() -> None:
    office = Office(timeout_s=5, retries=3)
    office.loader.failing[1] = InternalError("the disk is gone")
    office.hang(key(1))
    office.look_after(5)
    assert isinstance(office.next(), LoadFailed)

    with capture_logs() as lines:
        office.loader.let_go()
        wait_until(lambda: office.executor.lost_threads == 0)

    assert office.reports.empty()
    assert [line.get("outcome") for line in lines] == ["Internal: the disk is gone"]


class Sleepwalker(FakeLoader):
    """Comes to its warm-up only after it was held."""

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        served = super().load(job, lambda _: None)
        try:
            on_phase(LoadPhase.WARMING)
        except BaseException:
            self.unload(served)
            raise
        return served


def test_a_written_off_load_goes_no_further_than_to_its_next_phase() -> None:
    office = Office(timeout_s=5, loader=Sleepwalker())
    office.hang(key(1))
    office.look_after(5)
    assert isinstance(office.next(), LoadFailed)

    with capture_logs() as lines:
        office.loader.let_go()
        wait_until(lambda: office.executor.lost_threads == 0)

    assert office.loader.unloaded == [key(1)]
    assert office.reports.empty()
    assert [line.get("outcome") for line in lines] == ["Unavailable: the load was written off"]


class Commanded(FakeLoader):
    """Each attempt waits to be told how it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: queue.Queue[None] = queue.Queue()
        self.fates: queue.Queue[ServiceError | None] = queue.Queue()

    def load(self, job: LoadJob, on_phase: OnPhase) -> ServedModel:
        self.attempts.put(None)
        if fate := self.fates.get(timeout=30):
            raise fate
        return super().load(job, on_phase)


def test_each_attempt_has_the_whole_time() -> None:
    loader = Commanded()
    office = Office(timeout_s=5, retries=1, loader=loader)
    office.load(key(1))
    loader.attempts.get(timeout=30)
    office.look_after(4)
    loader.fates.put(InternalError("not yet"))
    loader.attempts.get(timeout=30)

    office.look_after(4)

    assert office.reports.empty()
    loader.fates.put(None)
    assert isinstance(office.next(), Loaded)


def test_without_threads_left_a_load_fails_and_says_what_to_do() -> None:
    office = Office(load_threads=1, timeout_s=5, max_lost_threads=0)
    office.hang(key(1))
    office.load(key(1, model="waits"))
    office.look_after(5)
    office.load(key(1, model="comes"))

    reports = [office.next() for _ in range(3)]
    assert {report.key.model for report in reports} == {"m", "waits", "comes"}
    assert all(isinstance(report, LoadFailed) for report in reports)
    refused = [report for report in reports if report.key.model != "m"]
    for report in refused:
        assert isinstance(report, LoadFailed)
        assert report.error.reason == (
            "Unavailable: no thread is left to load it: 1 loads were written off and have not "
            "ended since; restart the server"
        )
    office.loader.let_go()


def job(of: GenerationKey) -> LoadJob:
    return LoadJob(of, ModelConfig(of.model), Path("/models") / of.model)


def test_a_change_in_place_ends_in_what_was_prepared() -> None:
    office = Office()
    model = office.loaded(key(1))
    wanted = job(key(1))

    office.executor.adjust(wanted, model)

    report = office.next()
    assert isinstance(report, UpdatePrepared)
    assert report.job is wanted
    assert report.update.served.config is wanted.config


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(InternalError("no room"), "Internal: no room", id="on purpose"),
        pytest.param(ValueError("a bug"), "Internal: ValueError: a bug", id="unexpected"),
        pytest.param(SystemExit(1), "Internal: SystemExit: 1", id="a model that ends the process"),
    ],
)
def test_a_change_in_place_that_fails_says_why(error: BaseException, reason: str) -> None:
    office = Office()
    model = office.loaded(key(1))
    office.loader.failing[1] = error

    with capture_logs():
        office.executor.adjust(job(key(1)), model)
        report = office.next()

    assert isinstance(report, UpdateFailed)
    assert (report.key, report.error.reason) == (key(1), reason)


def test_a_change_in_place_that_has_not_begun_is_given_up_at_the_end() -> None:
    office = Office(load_threads=1)
    model = office.loaded(key(1))
    office.loader.hold("busy")
    office.load(key(1, model="busy"))
    assert office.loader.begun["busy"].wait(30)
    office.executor.adjust(job(key(1)), model)

    office.executor.drop_waiting()

    report = office.next()
    assert isinstance(report, UpdateFailed)
    assert report.error.reason == "Unavailable: Server is stopping"
    office.loader.let_go("busy")
    assert isinstance(office.next(), Loaded)
