"""What becomes of an action, and what is reported."""

import queue
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.executor import ThreadExecutor
from interlock.control.lifecycle import Event
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
from interlock.domain.errors import InternalError, UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.serving.lease import LeaseCount
from interlock.serving.load_job import LoadJob, LoadPhase, OnPhase
from interlock.serving.served_model import ServedModel
from tests.support.control import MODEL, FakeLoader, key, served


class Office:
    """An executor with a fake loader, and the reports that have come in."""

    def __init__(
        self, *, load_threads: int = 2, retries: int = 0, loader: FakeLoader | None = None
    ) -> None:
        self.loader = loader or FakeLoader()
        self.reports: queue.Queue[Report] = queue.Queue()
        self.executor = ThreadExecutor(
            self.loader,
            self.reports.put,
            load_threads=load_threads,
            retries=retries,
        )

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

    assert [office.next(), office.next()] == [Drained(key(1)), Unloaded(key(1))]
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

    assert [office.next(), office.next()] == [Drained(key(1)), Unloaded(key(1))]
    assert office.loader.inside_at_unload == [0]


class Lingering(LeaseCount):
    """Leases of which one is given back just after the second look."""

    def __init__(self) -> None:
        super().__init__()
        self.take()
        self.looks = 0

    def wait_empty(self, timeout_s: float | None) -> bool:
        self.looks += 1
        return self.looks > 2


def test_a_drain_that_takes_long_says_how_many_are_left() -> None:
    office = Office()
    model = office.loaded(key(1))
    model.leases = Lingering()
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
    }


def test_what_was_never_shown_is_taken_apart() -> None:
    office = Office()
    model = office.loaded(key(1))

    office.executor.discard(key(1), model)

    assert office.next() == Unloaded(key(1))
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
