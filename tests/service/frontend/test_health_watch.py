"""Who watches hears of each change, and nobody waits for one who does not listen."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.message import Message

from interlock.domain.errors import ExhaustedError, UnavailableError
from interlock.frontend.health_watch import HealthWatch
from interlock.frontend.subscribers import MAX_SUBSCRIBERS
from interlock.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tests.support.boundary import TIMEOUT_S

Status = HealthCheckResponse.ServingStatus


class FakeContext:
    """The call of one subscriber: what it was sent, and how it ended."""

    def __init__(self, *, over: bool = False, blocked: bool = False) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self.ending: tuple[grpc.StatusCode, str] | None = None
        self.reading = threading.Event()
        self.sending = threading.Event()
        self.cancelled = threading.Event()
        self._over = over
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._callbacks: list[Callable[[], None]] = []
        if not blocked:
            self.reading.set()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self._callbacks.append(callback)
        return not self._over

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def cancel(self) -> None:
        self.cancelled.set()
        self.hang_up()
        self.reading.set()

    def hang_up(self) -> None:
        for callback in self._callbacks:
            callback()

    def send(self, message: Message | None) -> None:
        if message is None:
            assert self.ending is None, "a stream ends once"
            self.ending = (self._code, self._details)
            self.heard.put("END")
            return
        self.sending.set()
        assert self.reading.wait(TIMEOUT_S)
        assert isinstance(message, HealthCheckResponse)
        self.heard.put(Status.Name(message.status))

    def hears(self) -> str:
        return self.heard.get(timeout=TIMEOUT_S)


class Watching:
    """A watch whose rounds the test makes, and whose time and statuses it sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.statuses: dict[str, Status] = {}
        self.listeners: list[Callable[[], None]] = []
        self.watch = HealthWatch(
            status_of=self.status_of, subscribe=self.subscribe, clock=lambda: self.now
        )

    def status_of(self, name: str) -> Status:
        return self.statuses.get(name, Status.SERVICE_UNKNOWN)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return self.listeners.clear

    def joins(self, context: FakeContext, name: str = "") -> FakeContext:
        self.watch.open(self.watch.begin(HealthCheckRequest(service=name)), context, context.send)
        return context

    def becomes(self, status: Status, name: str = "") -> None:
        self.statuses[name] = status


@contextmanager
def watching() -> Iterator[Watching]:
    made = Watching()
    yield made
    made.watch.close(TIMEOUT_S)


def test_a_subscriber_hears_of_the_status_as_it_is_and_of_each_change() -> None:
    with watching() as world:
        world.becomes(Status.NOT_SERVING)
        client = world.joins(FakeContext())
        world.watch.step()
        assert client.hears() == "NOT_SERVING"

        world.becomes(Status.SERVING)
        world.watch.step()
        assert client.hears() == "SERVING"


def test_an_unknown_service_may_appear() -> None:
    with watching() as world:
        client = world.joins(FakeContext(), "model/m")
        world.watch.step()
        assert client.hears() == "SERVICE_UNKNOWN"

        world.becomes(Status.SERVING, "model/m")
        world.watch.step()
        assert client.hears() == "SERVING"


def test_nothing_is_said_while_nothing_changes() -> None:
    with watching() as world:
        client = world.joins(FakeContext())
        world.watch.step()
        assert client.hears() == "SERVICE_UNKNOWN"

        world.watch.step()
        world.becomes(Status.SERVING)
        world.watch.step()
        assert client.hears() == "SERVING"


def test_who_falls_behind_gets_what_is_and_not_what_was() -> None:
    with watching() as world:
        world.becomes(Status.SERVING)
        client = world.joins(FakeContext(blocked=True))
        world.watch.step()
        assert client.sending.wait(TIMEOUT_S)

        for status in (Status.NOT_SERVING, Status.SERVING, Status.NOT_SERVING):
            world.becomes(status)
            assert world.watch.step()
        client.reading.set()

        assert [client.hears(), client.hears()] == ["SERVING", "NOT_SERVING"]


def test_one_who_does_not_read_keeps_nobody_waiting() -> None:
    with watching() as world:
        world.joins(FakeContext(blocked=True)).sending.clear()
        world.watch.step()

        client = world.joins(FakeContext())
        world.watch.step()

        assert client.hears() == "SERVICE_UNKNOWN"
        world.now = 6.0
        world.watch.step()


def test_one_who_does_not_read_for_long_is_let_go() -> None:
    with watching() as world:
        client = world.joins(FakeContext(blocked=True))
        world.watch.step()
        assert client.sending.wait(TIMEOUT_S)
        world.now = 5.0
        world.watch.step()
        assert not client.cancelled.is_set()

        world.now = 5.1
        world.watch.step()

        assert client.cancelled.is_set()
        assert world.watch.count == 0


def test_who_hangs_up_is_forgotten() -> None:
    with watching() as world:
        client = world.joins(FakeContext())

        client.hang_up()

        assert world.watch.count == 0
        assert not world.watch.step()


def test_who_hung_up_before_it_was_taken_is_forgotten() -> None:
    with watching() as world:
        world.joins(FakeContext(over=True))

        assert world.watch.count == 0


def test_its_own_thread_looks_when_something_changes() -> None:
    world = Watching()
    world.watch.start()
    client = world.joins(FakeContext())
    assert client.hears() == "SERVICE_UNKNOWN"

    world.becomes(Status.SERVING)
    world.listeners[0]()

    assert client.hears() == "SERVING"
    world.watch.close(TIMEOUT_S)
    assert world.listeners == []


def test_the_last_change_is_told_before_the_stream_ends() -> None:
    world = Watching()
    world.becomes(Status.SERVING)
    world.watch.start()
    client = world.joins(FakeContext())
    assert client.hears() == "SERVING"
    world.becomes(Status.NOT_SERVING)

    world.watch.close(TIMEOUT_S)

    assert [client.hears(), client.hears()] == ["NOT_SERVING", "END"]
    assert client.ending == (grpc.StatusCode.UNAVAILABLE, "Server exiting")


def test_a_status_that_cannot_be_told_does_not_end_the_thread() -> None:
    world = Watching()
    world.watch.start()
    tried = threading.Event()

    def broken(_name: str) -> Status:
        tried.set()
        raise RuntimeError("no status")

    working, world.watch._status_of = world.watch._status_of, broken
    client = world.joins(FakeContext())
    assert tried.wait(TIMEOUT_S)
    world.watch._status_of = working
    world.listeners[0]()

    assert client.hears() == "SERVICE_UNKNOWN"
    world.watch.close(TIMEOUT_S)


def test_nobody_is_admitted_to_a_watch_that_has_closed() -> None:
    with watching() as world:
        world.watch.close(TIMEOUT_S)

        with pytest.raises(UnavailableError, match=r"^Server exiting$"):
            world.watch.admit()


def test_who_was_admitted_just_before_the_close_is_ended_at_once() -> None:
    with watching() as world:
        world.watch.close(TIMEOUT_S)

        client = world.joins(FakeContext())

        assert client.hears() == "END"
        assert client.ending == (grpc.StatusCode.UNAVAILABLE, "Server exiting")


def test_so_many_may_watch_and_no_more() -> None:
    with watching() as world:
        for _ in range(MAX_SUBSCRIBERS):
            world.watch.admit()
            world.joins(FakeContext())

        with pytest.raises(ExhaustedError, match=r"^4096 calls watch already: close one$"):
            world.watch.admit()
