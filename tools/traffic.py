"""Clients that ask without pause in processes of their own, and what their answers say.

Every published file of the model adds its own constant, so an answer tells which file it
came from. No request may fail, and every answer must come from a file that was shown at
some moment between its sending and its receipt: nobody may be answered by a file of the
past once another client has had an answer of its successor.
"""

import multiprocessing
import signal
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from queue import SimpleQueue
from typing import Final, NamedTuple, Self

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from tests.support.wire import NUMPY_TYPES, SERVICE, UNLIMITED, given, infer_request

CALL_TIMEOUT_S: Final = 30.0
STARTED_WITHIN_S: Final = 60.0
ENDED_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 1.0
PROCESSES: Final = 2
NS_PER_MS: Final = 1e6
NEVER_NS: Final = 2**63 - 1
OUTPUT: Final = "y"

Numbers = npt.NDArray[np.int64]
Ask = Callable[[], bytes]
Way = Callable[[grpc.Channel, bytes], AbstractContextManager[Ask]]
"""Makes, from a channel and a request, what sends that request and returns its answer."""


class Answer(NamedTuple):
    """One request: when it was sent, when it was answered, and with which constant."""

    sent_ns: int
    received_ns: int
    constant: int


class Window(NamedTuple):
    """A time in which the file with this constant was the right one.

    It began to be published at `begin_ns`, and at `end_ns` its successor was known to have
    taken over.
    """

    constant: int
    begin_ns: int
    end_ns: int = NEVER_NS


@dataclass(slots=True)
class Log:
    """What one client lived through; arrays, since there are a million answers."""

    sent_ns: "array[int]" = field(default_factory=lambda: array("q"))
    received_ns: "array[int]" = field(default_factory=lambda: array("q"))
    constants: "array[int]" = field(default_factory=lambda: array("q"))
    failures: list[str] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        self.sent_ns.append(answer.sent_ns)
        self.received_ns.append(answer.received_ns)
        self.constants.append(answer.constant)


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers as columns, those of one client after those of the other."""

    sent_ns: Numbers
    received_ns: Numbers
    constants: Numbers

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Self:
        columns = np.array(answers, np.int64).reshape(-1, 3).T
        return cls(columns[0], columns[1], columns[2])

    @classmethod
    def in_logs(cls, logs: Sequence[Log]) -> Self:
        return cls(
            _joined([log.sent_ns for log in logs]),
            _joined([log.received_ns for log in logs]),
            _joined([log.constants for log in logs]),
        )

    def __len__(self) -> int:
        return len(self.sent_ns)

    def sent_between(self, begin_ns: int, end_ns: int) -> "Answers":
        return self._where((begin_ns <= self.sent_ns) & (self.sent_ns < end_ns))

    def with_constant(self, constant: int) -> "Answers":
        return self._where(self.constants == constant)

    def milliseconds(self) -> npt.NDArray[np.float64]:
        """Return how long each request took."""
        return (self.received_ns - self.sent_ns) / NS_PER_MS

    def _where(self, those: npt.NDArray[np.bool_]) -> "Answers":
        return Answers(self.sent_ns[those], self.received_ns[those], self.constants[those])


def _joined(columns: Sequence["array[int]"]) -> Numbers:
    return np.concatenate([np.frombuffer(column, np.int64) for column in columns] or [_NOTHING])


_NOTHING: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Violation:
    """So many answers that came from a file that was not the right one."""

    answers: int
    constant: int
    when: str

    def __str__(self) -> str:
        return f"{self.answers} answers with the constant {self.constant}, {self.when}"


def violations_in(answers: Answers, windows: Sequence[Window]) -> list[Violation]:
    """Compare each answer with what was right while it was on its way; one for each constant.

    `windows` are in the order of time, one for each time that a file took over.
    """
    windows = _narrowed(answers, windows)
    found = []
    for constant in map(int, np.unique(answers.constants)):
        mine = answers.with_constant(constant)
        own = [window for window in windows if window.constant == constant]
        wrong = np.ones(len(mine), bool)
        for window in own:
            wrong &= (mine.received_ns < window.begin_ns) | (mine.sent_ns > window.end_ns)
        if count := int(wrong.sum()):
            found.append(Violation(count, constant, _when(mine, wrong, own)))
    return found


def _narrowed(answers: Answers, windows: Sequence[Window]) -> list[Window]:
    """End each window when somebody has been answered by its successor."""
    narrowed = list(windows)
    for index, successor in enumerate(windows[1:]):
        of_successor = answers.with_constant(successor.constant)
        seen = of_successor.received_ns[of_successor.sent_ns >= successor.begin_ns]
        if len(seen):
            before = windows[index]
            narrowed[index] = before._replace(end_ns=min(before.end_ns, int(seen.min())))
    return narrowed


def _when(answers: Answers, wrong: npt.NDArray[np.bool_], own: Sequence[Window]) -> str:
    if not own:
        return "which no file has that may answer"
    received = int(answers.received_ns[wrong].min())
    if received < own[0].begin_ns:
        return "before its file was there"
    ended = max((window.end_ns for window in own if window.end_ns <= received), default=received)
    late_ns = int(answers.sent_ns[wrong].max()) - ended
    return f"sent up to {late_ns / NS_PER_MS:.3f} ms after its file had been replaced"


@contextmanager
def unary(channel: grpc.Channel, request: bytes) -> Iterator[Ask]:
    """Ask with one call for each request."""
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    yield lambda: call(request, timeout=CALL_TIMEOUT_S)


@contextmanager
def streaming(channel: grpc.Channel, request: bytes) -> Iterator[Ask]:
    """Ask on one stream that stays open; return the answer that is inside its response."""
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    responses = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(requests.get, None))

    def ask() -> bytes:
        requests.put(request)
        response = pb.ModelStreamInferResponse.FromString(next(responses))
        if response.error_message:
            raise StreamError(response.error_message)
        answer: bytes = response.infer_response.SerializeToString()
        return answer

    # A stream has no timeout of its own here: it is to live for the whole run.
    try:
        yield ask
    finally:
        requests.put(None)


class StreamError(Exception):
    """A request on a stream was refused; the stream goes on."""


def constant_in(message: bytes) -> int:
    response = pb.ModelInferResponse.FromString(message)
    return int(np.frombuffer(response.raw_output_contents[0], NUMPY_TYPES["FP32"])[0])


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and until when."""

    address: str
    model: str
    stop: Event


def ask_in_a_loop(way: Way, target: Target, log: Log, ready: threading.Barrier) -> None:
    """One client: a channel of its own, one request after the other."""
    zero = given("x", np.zeros(1, "<f4"))
    request = infer_request(target.model, zero, outputs=[OUTPUT]).SerializeToString()
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target.address, options) as channel:
        grpc.channel_ready_future(channel).result(CALL_TIMEOUT_S)
        ready.wait()
        while not target.stop.is_set():
            with way(channel, request) as ask:
                _ask_until_it_ends(ask, target.stop, log)


def _ask_until_it_ends(ask: Ask, stop: Event, log: Log) -> None:
    """Ask until told to stop, or until the call that carries the requests is over."""
    while not stop.is_set():
        sent = time.monotonic_ns()
        try:
            message = ask()
        except StreamError as error:
            log.failures.append(f"on a stream: {error}")
        except StopIteration:
            log.failures.append("a stream ended")
            return
        except grpc.RpcError as error:
            log.failures.append(f"{error.code().name}: {error.details()}")
            return
        else:
            log.add(Answer(sent, time.monotonic_ns(), constant_in(message)))


def run_clients(ways: Sequence[Way], target: Target, ready: Event, pipe: "Queue[Log]") -> None:
    """One process of clients; sends what they lived through when it is over.

    Ends as well when whoever started it is no more, and leaves Ctrl-C to them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs = [Log() for _ in ways]
    barrier = threading.Barrier(len(ways) + 1)
    workers = [
        threading.Thread(target=ask_in_a_loop, args=(way, target, log, barrier))
        for way, log in zip(ways, logs, strict=True)
    ]
    for worker in workers:
        worker.start()
    barrier.wait(STARTED_WITHIN_S)
    ready.set()
    is_wanted = _wait_until_stopped(target.stop)
    for worker in workers:
        worker.join()
    if is_wanted:
        for log in logs:
            pipe.put(log)


def _wait_until_stopped(stop: Event) -> bool:
    """Return when nobody is to ask any more: whether there is still somebody who wants to know."""
    parent = multiprocessing.parent_process()
    while not stop.wait(LOOK_EVERY_S):
        if parent is not None and not parent.is_alive():
            stop.set()
    return parent is None or parent.is_alive()


class Traffic:
    """Clients that ask for a model while the `with` block runs; afterwards `logs` is there."""

    def __init__(self, address: str, model: str, *, unary_clients: int, streams: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._pipe = context.Event(), context.Queue()
        target = Target(address, model, self._stop)
        ways: list[Way] = [unary] * unary_clients + [streaming] * streams
        shares = [ways[index::PROCESSES] for index in range(min(PROCESSES, len(ways)))]
        self._signs = [context.Event() for _ in shares]
        self._workers = [
            context.Process(target=run_clients, args=(share, target, sign, self._pipe))
            for share, sign in zip(shares, self._signs, strict=True)
        ]
        self._clients = len(ways)
        self.logs: list[Log] = []

    @property
    def answers(self) -> Answers:
        return Answers.in_logs(self.logs)

    @property
    def failures(self) -> list[str]:
        return [failure for log in self.logs for failure in log.failures]

    def longest_gap_ms(self, begin_ns: int, end_ns: int) -> float:
        """Return the longest time that a client was without an answer between two moments."""
        return max((_longest_gap(log, begin_ns, end_ns) for log in self.logs), default=0.0)

    def __enter__(self) -> Self:
        try:
            for worker in self._workers:
                worker.start()
            self._wait_for_the_start()
        except BaseException:
            self._end_them()
            raise
        return self

    def _wait_for_the_start(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not all(sign.wait(0.1) for sign in self._signs):
            if time.monotonic() > deadline or not all(one.is_alive() for one in self._workers):
                raise TimeoutError("the clients did not start")

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        try:
            if error == (None, None, None):
                self.logs = [
                    self._pipe.get(timeout=ENDED_WITHIN_S) for _client in range(self._clients)
                ]
        finally:
            self._end_them()

    def _end_them(self) -> None:
        """Leave no process behind; those that have said everything end by themselves."""
        self._stop.set()
        for worker in self._workers:
            if worker.pid is not None:
                worker.join(ENDED_WITHIN_S if self.logs else 0)
                worker.kill()
                worker.join()


def _longest_gap(log: Log, begin_ns: int, end_ns: int) -> float:
    received = np.frombuffer(log.received_ns, np.int64)
    within = received[(begin_ns <= received) & (received <= end_ns)]
    moments = np.concatenate([[begin_ns], within, [end_ns]])
    return float(np.diff(moments).max() / NS_PER_MS)


def percentiles(milliseconds: npt.ArrayLike) -> tuple[float, float, float]:
    """The median, the 99th and the 100th."""
    values = np.asarray(milliseconds)
    if not len(values):
        return (0.0, 0.0, 0.0)
    median, high, top = np.percentile(values, [50, 99, 100])
    return float(median), float(high), float(top)
