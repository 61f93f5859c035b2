"""The manager with real threads: callers, loads, drains and requests at once."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from interlock.control.executor import ThreadExecutor
from interlock.control.inbox import Inbox
from interlock.control.load_watch import LoadWatch
from interlock.control.manager import Manager, Message
from interlock.control.modes import ExplicitMode, Mode, NoneMode
from interlock.domain.errors import InternalError, InvalidRequestError, ServiceError
from interlock.domain.ids import ModelName
from interlock.domain.readiness import Readiness
from interlock.runtime.clock import monotonic
from interlock.runtime.threads import spawn
from interlock.serving.table import ServingTable
from tests.support.control import FakeLoader, FakeRepository


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    """Let threads interrupt each other a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Service:
    """A manager that runs, on a fake repository and a fake loader."""

    def __init__(self, mode: Mode, *, load_threads: int = 4) -> None:
        self.repository = FakeRepository()
        self.loader = FakeLoader()
        self.table = ServingTable()
        inbox: Inbox[Message] = Inbox()
        self.manager = Manager(
            repository=self.repository,
            mode=mode,
            executor=ThreadExecutor(
                self.loader, inbox.put, load_threads=load_threads, watch=LoadWatch(monotonic)
            ),
            inbox=inbox,
            table=self.table,
            clock=monotonic,
            names=self.repository,
        )
        self.deaths: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator["Service"]:
        self.manager.start(on_death=self.deaths.append)
        try:
            yield self
        finally:
            self.manager.stop()
            assert self.manager.unload_all(monotonic() + 30)
            self.manager.close()
        assert self.deaths == []
        assert self.loader.alive == set()


def in_threads(*targets: "threading.Thread") -> None:
    for thread in targets:
        thread.join(60)
        assert not thread.is_alive()


class Client:
    """Enters, stays inside for a moment, leaves, and so on; writes down what it saw."""

    def __init__(self, service: Service, ended: threading.Event) -> None:
        self.service = service
        self.ended = ended
        self.errors: list[Exception] = []
        self.dead: list[str] = []
        self.requests = 0
        self.backwards: list[tuple[int, int]] = []

    def run(self) -> None:
        latest = 0
        while not self.ended.is_set():
            try:
                found = self.service.table.lease("m", "")
            except ServiceError as error:
                self.errors.append(error)
                continue
            if found.key not in self.service.loader.alive:
                self.dead.append(str(found.key))
            if found.key.generation < latest:
                self.backwards.append((latest, found.key.generation))
            latest = found.key.generation
            self.requests += 1
            self.ended.wait(0.001)  # inside the version, while others change it
            if found.key not in self.service.loader.alive:
                self.dead.append(str(found.key))
            found.leases.give_back()


def test_no_request_fails_and_none_enters_an_unloaded_version_while_versions_change() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "0"))
    ended = threading.Event()
    clients = [Client(service, ended) for _ in range(32)]
    stale = 0
    with service.running():
        service.manager.load("m", {})
        threads = [spawn(f"client-{n}", client.run) for n, client in enumerate(clients)]
        for change in range(1, 201):
            service.repository.put((1, str(change)))
            service.manager.load("m", {})
            stale += service.table.find("m", "").key.generation != change + 1
        ended.set()
        in_threads(*threads)

    assert [client.errors for client in clients] == [[]] * 32
    assert [client.dead for client in clients] == [[]] * 32
    assert [client.backwards for client in clients] == [[]] * 32
    assert min(client.requests for client in clients) > 0
    assert stale == 0  # from the moment Load has returned the new one answers
    assert len(service.loader.unloaded) == 201
    assert set(service.loader.inside_at_unload) == {0}


def test_many_callers_load_and_unload_one_model() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "a"))
    failures: list[Exception] = []

    def caller() -> None:
        for _ in range(50):
            try:
                service.manager.load("m", {})
                service.manager.unload("m", {})
            except ServiceError as error:
                failures.append(error)

    with service.running():
        in_threads(*(spawn(f"caller-{n}", caller) for n in range(16)))
        assert service.manager.strictly_ready()

    assert failures == []


def test_a_second_load_sees_what_is_there_when_its_turn_comes() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "old"))
    service.loader.hold()
    with service.running():
        first = spawn("first", lambda: service.manager.load("m", {}))
        assert service.loader.begun["m"].wait(30)
        second = spawn("second", lambda: service.manager.load("m", {}))
        service.repository.put((2, "new"))
        service.loader.let_go()
        in_threads(first, second)

        assert service.table.find("m", "").key.version == 2


def test_unload_during_a_load_waits_and_both_succeed() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "a"))
    service.loader.hold()
    order: list[str] = []

    def load() -> None:
        service.manager.load("m", {})
        order.append("loaded")

    def unload() -> None:
        service.manager.unload("m", {})
        order.append("unloaded")

    with service.running():
        loading = spawn("load", load)
        assert service.loader.begun["m"].wait(30)
        unloading = spawn("unload", unload)
        service.loader.let_go()
        in_threads(loading, unloading)
        assert service.table.entries["m"].ready == {}

    assert sorted(order) == ["loaded", "unloaded"]
    assert len(service.loader.loaded) == 1


def test_a_slow_load_holds_up_no_other_model() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "a"), model="slow")
    service.repository.put((1, "a"), model="quick")
    service.loader.hold("slow")
    with service.running():
        slow = spawn("slow", lambda: service.manager.load("slow", {}))
        assert service.loader.begun["slow"].wait(30)

        service.manager.load("quick", {})
        states = {entry.model: entry.state for entry in service.manager.index(ready_only=False)}
        service.loader.let_go("slow")
        in_threads(slow)

    assert states == {"slow": Readiness.LOADING, "quick": Readiness.READY}


def test_a_failed_reload_leaves_the_old_version_serving() -> None:
    service = Service(ExplicitMode())
    service.repository.put((1, "a"))
    with service.running():
        service.manager.load("m", {})
        service.repository.put((1, "b"))
        service.loader.failing[1] = InternalError("truncated")

        with pytest.raises(InvalidRequestError) as caught:
            service.manager.load("m", {})

        assert service.table.find("m", "1").key.generation == 1

    assert str(caught.value) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: truncated;\n"
    )


def test_the_start_loads_every_model_and_tells_when_it_is_done() -> None:
    service = Service(NoneMode())
    for number in range(50):
        service.repository.put((1, "a"), (2, "a"), model=f"m{number:02}")
    with service.running():
        assert service.manager.first_loads.wait(30)
        assert service.manager.first_loads.failures == {}
        assert len(service.manager.index(ready_only=True)) == 100


def test_a_stop_during_the_start_gives_up_what_has_not_begun() -> None:
    service = Service(NoneMode(), load_threads=1)
    for number in range(5):
        service.repository.put((1, "a"), model=f"m{number}")
    service.loader.hold("m0")
    with service.running():
        assert service.loader.begun["m0"].wait(30)
        service.manager.stop()
        service.loader.let_go("m0")
        assert service.manager.first_loads.wait(30)

    assert set(service.manager.first_loads.failures) >= {"m1", "m2", "m3", "m4"} - {
        ModelName(key.model) for key in service.loader.loaded
    }


def test_the_death_of_the_managers_thread_is_heard_of() -> None:
    service = Service(ExplicitMode())
    died = threading.Event()

    class BrokenTable(ServingTable):
        def show(self, entries: object) -> None:
            raise MemoryError

    service.manager._table = BrokenTable()
    service.manager.start(on_death=lambda _: died.set())
    service.manager.stop()

    assert died.wait(30)
