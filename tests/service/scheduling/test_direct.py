"""The direct scheduler: one request at a time, on the first instance that is free."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
from structlog.testing import capture_logs

from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    RequestCancelledError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.runtime.threads import Thread, spawn
from interlock.scheduling.direct import DirectScheduler
from interlock.telemetry.statistics import BatchStatistics, Duration, VersionStatistics
from tests.support.running import (
    PATIENCE_S,
    RecordingResponder,
    ScriptedRunner,
    answer,
    request,
)


@contextmanager
def scheduler(
    *runners: ScriptedRunner, statistics: VersionStatistics | None = None, hold: int = 0
) -> Iterator[DirectScheduler]:
    started = DirectScheduler(
        runners, statistics or VersionStatistics(), hold=hold, now_ns=lambda: 2_000
    )
    yield started
    started.stop()


class Gate:
    """A script that says when a request has begun and waits until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, request: InferRequest) -> InferResponse:
        self.begun.release()
        assert self._open.wait(PATIENCE_S)
        return InferResponse()

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE_S)

    def open(self) -> None:
        self._open.set()


def raises(error: Exception) -> Callable[[InferRequest], InferResponse]:
    def script(request: InferRequest) -> InferResponse:
        raise error

    return script


def refuse(_request: InferRequest) -> InferResponse:
    raise InvalidRequestError("no")


@contextmanager
def garbage_uncollected() -> Iterator[None]:
    """What goes while this lasts goes because nothing names it any more."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def enqueue_all(to: DirectScheduler, requests: Sequence[InferRequest]) -> None:
    for one in requests:
        to.enqueue(one)


def test_a_request_gets_the_response_of_its_instance() -> None:
    response = InferResponse()
    asked = request()

    with scheduler(ScriptedRunner(lambda _: response)) as running:
        running.enqueue(asked)

        assert answer(asked) is response


def test_requests_run_alone_and_in_the_order_of_their_arrival() -> None:
    runner = ScriptedRunner()
    requests = [request(name=str(number)) for number in range(5)]

    with scheduler(runner) as running:
        enqueue_all(running, requests)
        for one in requests:
            answer(one)

    assert runner.ran == ["0", "1", "2", "3", "4"]


def test_every_instance_takes_requests() -> None:
    gate = Gate()
    requests = [request(), request()]

    with scheduler(ScriptedRunner(gate, "a"), ScriptedRunner(gate, "b")) as running:
        enqueue_all(running, requests)
        gate.wait_begun()
        gate.wait_begun()
        gate.open()

        assert [type(answer(one)) for one in requests] == [InferResponse, InferResponse]


def test_pending_counts_what_no_instance_has_taken() -> None:
    gate = Gate()

    with scheduler(ScriptedRunner(gate)) as running:
        enqueue_all(running, [request(), request(), request()])
        gate.wait_begun()
        pending = running.pending
        gate.open()

    assert pending == 2


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_each_instance_has_a_thread_of_its_name_until_the_scheduler_stops() -> None:
    first = request()

    with scheduler(ScriptedRunner(name="m_0"), ScriptedRunner(name="m_1")) as running:
        running.enqueue(first)
        while_running = thread_names()
        answer(first)

    assert while_running >= {"instance m_0", "instance m_1"}
    assert thread_names().isdisjoint({"instance m_0", "instance m_1"})


def test_a_model_that_nobody_has_asked_has_no_thread() -> None:
    before = thread_names()

    with scheduler(ScriptedRunner(name="idle")):
        meanwhile = thread_names()

    assert meanwhile == before


class ScarceThreads:
    """Starts so many threads and then, as long as it lasts, none."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, name: str, target: Callable[[], None]) -> Thread:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return spawn(name, target)


def test_threads_that_were_started_are_there_for_the_first_request() -> None:
    threads = ScarceThreads(2)
    running = DirectScheduler(
        [ScriptedRunner(), ScriptedRunner()], VersionStatistics(), start=threads
    )

    running.start()

    assert threads.left == 0
    first = request()
    running.enqueue(first)
    assert isinstance(answer(first), InferResponse)
    running.stop()


def test_starting_without_a_single_thread_says_so_and_the_next_one_may_get_one() -> None:
    threads = ScarceThreads(0)
    running = DirectScheduler([ScriptedRunner(name="m_0")], VersionStatistics(), start=threads)

    with pytest.raises(UnavailableError, match="m_0: can't start new thread"):
        running.start()

    threads.left = 1
    running.start()
    assert threads.left == 0
    running.stop()


def test_a_request_for_which_there_is_no_thread_fails_and_the_next_one_may_get_one() -> None:
    threads = ScarceThreads(0)
    running = DirectScheduler([ScriptedRunner(name="m_0")], VersionStatistics(), start=threads)
    first, second = request(), request()

    with capture_logs() as logs:
        running.enqueue(first)
    threads.left = 1
    running.enqueue(second)
    outcomes = answer(first), answer(second)
    running.stop()

    assert isinstance(outcomes[0], UnavailableError)
    assert str(outcomes[0]) == "instance m_0: can't start new thread"
    assert isinstance(outcomes[1], InferResponse)
    assert [line["event"] for line in logs] == ["no thread"]


def test_instances_that_got_a_thread_do_the_work_of_those_that_got_none() -> None:
    runners = ScriptedRunner(name="m_0"), ScriptedRunner(name="m_1")
    running = DirectScheduler(runners, VersionStatistics(), start=ScarceThreads(1))
    requests = [request(), request()]

    enqueue_all(running, requests)
    outcomes = [answer(one) for one in requests]
    running.stop()

    assert all(isinstance(outcome, InferResponse) for outcome in outcomes)
    assert (len(runners[0].ran), len(runners[1].ran)) == (2, 0)


def test_what_is_held_fails_when_at_the_stop_there_is_no_thread_to_run_it() -> None:
    held = request()
    running = DirectScheduler(
        [ScriptedRunner()], VersionStatistics(), hold=5, start=ScarceThreads(0)
    )
    running.enqueue(held)

    running.stop()

    assert isinstance(answer(held), UnavailableError)


def test_a_request_that_nobody_waits_for_is_not_run() -> None:
    runner = ScriptedRunner()
    statistics = VersionStatistics()
    cancelled, next_one = request(name="cancelled"), request(name="next")
    assert cancelled.responder is not None
    cancelled.responder.fail(RequestCancelledError())
    cancelled.received_ns = 1_500

    with scheduler(runner, statistics=statistics) as running:
        enqueue_all(running, [cancelled, next_one])
        answer(next_one)

    assert runner.ran == ["next"]
    assert statistics.snapshot().inference_stats.fail == Duration(1, 500)


def test_the_numbers_are_there_before_the_answer_is() -> None:
    statistics = VersionStatistics()
    seen = []
    asked = request(batch_size=3)
    asked.responder = RecordingResponder(lambda: seen.append(statistics.snapshot()))
    asked.received_ns = 400

    with scheduler(ScriptedRunner(), statistics=statistics) as running:
        running.enqueue(asked)
        answer(asked)

    stats = seen[0].inference_stats
    assert seen[0].inference_count == 3
    assert stats.success == Duration(1, 1_600)
    assert stats.compute_input == Duration(1, 10)
    assert stats.compute_infer == Duration(1, 20)
    assert stats.compute_output == Duration(1, 30)
    assert seen[0].batch_stats == (
        BatchStatistics(3, Duration(1, 10), Duration(1, 20), Duration(1, 30)),
    )


def test_queue_time_ends_where_the_instance_begins() -> None:
    statistics = VersionStatistics()
    now = iter(range(100, 10_000, 100))
    running = DirectScheduler([ScriptedRunner()], statistics, now_ns=lambda: next(now))
    asked = request()

    running.enqueue(asked)
    answer(asked)
    running.stop()

    # Queued at 100; the scripted runner begins at 1,000.
    assert statistics.snapshot().inference_stats.queue == Duration(1, 900)


def test_an_outcome_that_is_an_error_fails_its_request_and_counts_the_execution() -> None:
    statistics = VersionStatistics()
    error = InvalidRequestError("no")
    asked = request()

    with scheduler(ScriptedRunner(lambda _: error), statistics=statistics) as running:
        running.enqueue(asked)

        assert answer(asked) is error

    now = statistics.snapshot()
    assert (now.inference_stats.fail.count, now.inference_stats.success.count) == (1, 0)
    assert (now.execution_count, now.inference_count) == (1, 0)


def test_a_service_error_out_of_a_backend_travels_as_it_is_and_is_not_logged() -> None:
    error = InternalError("onnx runtime error 2: no")
    asked = request()

    with capture_logs() as logs, scheduler(ScriptedRunner(raises(error))) as running:
        running.enqueue(asked)

        assert answer(asked) is error
    assert logs == []


def test_an_exception_out_of_a_backend_fails_the_request_and_is_logged_once() -> None:
    statistics = VersionStatistics()
    bad, good = request(), request()
    fail = raises(KeyError("weights"))
    runner = ScriptedRunner(lambda asked: fail(asked) if asked is bad else InferResponse())

    with capture_logs() as logs, scheduler(runner, statistics=statistics) as running:
        enqueue_all(running, [bad, good])
        outcome = answer(bad)

        assert isinstance(answer(good), InferResponse)
    assert isinstance(outcome, InternalError)
    assert str(outcome) == "instance 'm_0' failed: KeyError: 'weights'"
    assert [line["event"] for line in logs] == ["unexpected exception"]
    now = statistics.snapshot()
    assert (now.inference_stats.fail.count, now.execution_count) == (1, 2)


def test_a_reply_that_cannot_be_sent_fails_its_request_alone() -> None:
    def refuse() -> None:
        raise InvalidRequestError("class result not available")

    def break_down() -> None:
        raise RuntimeError("encoder")

    refused, broken, good = request(), request(), request()
    refused.responder = RecordingResponder(refuse)
    broken.responder = RecordingResponder(break_down)

    with capture_logs(), scheduler(ScriptedRunner()) as running:
        enqueue_all(running, [refused, broken, good])
        outcomes = [answer(refused), answer(broken)]

        assert isinstance(answer(good), InferResponse)
    assert [type(outcome) for outcome in outcomes] == [InvalidRequestError, InternalError]
    assert str(outcomes[1]) == "the reply of instance 'm_0' failed: RuntimeError: encoder"


def test_a_responder_that_cannot_even_fail_does_not_end_the_thread() -> None:
    class Broken(RecordingResponder):
        def fail(self, error: ServiceError) -> None:
            raise RuntimeError("gone")

    hopeless, good = request(), request()
    hopeless.responder = Broken()

    with capture_logs(), scheduler(ScriptedRunner(raises(KeyError()))) as running:
        enqueue_all(running, [hopeless, good])

        assert isinstance(answer(good), InternalError)


def test_a_request_says_that_it_runs_before_it_is_asked_whether_it_has_ended() -> None:
    """So that one of the two sees the other: who ends it takes its inputs unless it runs."""
    seen: list[tuple[str, bool]] = []
    asked = request()

    class Watching(RecordingResponder):
        @property
        def ended(self) -> bool:
            seen.append(("asked", asked.running))
            return False

        @ended.setter
        def ended(self, _value: bool) -> None: ...

    def run(running: InferRequest) -> InferResponse:
        seen.append(("runs", running.running))
        return InferResponse()

    asked.responder = Watching(lambda: seen.append(("answers", asked.running)))
    with scheduler(ScriptedRunner(run)) as running:
        running.enqueue(asked)
        answer(asked)

    assert seen[:3] == [("asked", True), ("runs", True), ("answers", False)]


def test_a_request_whose_responder_has_left_is_not_run() -> None:
    runner = ScriptedRunner()
    abandoned, good = request(name="abandoned"), request(name="good")
    abandoned.responder = None

    with scheduler(runner) as running:
        enqueue_all(running, [abandoned, good])
        answer(good)

    assert runner.ran == ["good"]


@pytest.mark.parametrize("script", [None, refuse], ids=["good", "bad"])
def test_an_idle_thread_does_not_keep_the_last_request_alive(
    script: Callable[[InferRequest], InferResponse] | None,
) -> None:
    """Nor does the traceback of its error, which only the garbage collector would undo."""
    gone = threading.Event()
    asked = request()

    with garbage_uncollected(), scheduler(ScriptedRunner(script)) as running:
        running.enqueue(asked)
        answer(asked)
        # The request itself cannot be watched; nothing but it holds its responder.
        assert isinstance(asked.responder, RecordingResponder)
        weakref.finalize(asked.responder, gone.set)
        asked.responder.outcome = None
        del asked

        assert gone.wait(PATIENCE_S)


def test_stopping_lets_what_is_queued_finish() -> None:
    gate = Gate()
    requests = [request(), request()]
    running = DirectScheduler([ScriptedRunner(gate)], VersionStatistics())
    enqueue_all(running, requests)
    gate.wait_begun()
    gate.open()

    running.stop()

    assert all(isinstance(answer(one), InferResponse) for one in requests)


def test_stopping_with_an_error_fails_what_is_queued() -> None:
    gate = Gate()
    statistics = VersionStatistics()
    begun, queued = request(), request()
    running = DirectScheduler([ScriptedRunner(gate)], statistics)
    enqueue_all(running, [begun, queued])
    gate.wait_begun()

    def error() -> Exception:
        gate.open()
        return UnavailableError("the time is up")

    running.stop(error=error)

    assert isinstance(answer(begun), InferResponse)
    assert str(answer(queued)) == "the time is up"
    assert statistics.snapshot().inference_stats.fail.count == 1


def test_a_stopped_scheduler_refuses() -> None:
    running = DirectScheduler([ScriptedRunner()], VersionStatistics())
    running.stop()
    late = request()

    running.enqueue(late)

    outcome = answer(late)
    assert isinstance(outcome, UnavailableError)
    assert str(outcome) == (
        "Server is stopping, scheduler for model has stopped accepting new inference requests"
    )


def test_the_debug_hold_runs_nothing_before_enough_requests_wait_and_is_then_off() -> None:
    runner = ScriptedRunner()
    first, second, third = request(name="1"), request(name="2"), request(name="3")

    with scheduler(runner, hold=2) as running:
        running.enqueue(first)
        held, ran_while_held = running.pending, list(runner.ran)
        running.enqueue(second)
        answer(first)
        answer(second)
        running.enqueue(third)
        answer(third)

    assert (held, ran_while_held) == (1, [])
    assert runner.ran == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(None, InferResponse, id="to finish"),
        pytest.param(lambda: UnavailableError("over"), UnavailableError, id="with an error"),
    ],
)
def test_stopping_ends_what_is_held(
    error: Callable[[], Exception] | None, expected: type[object]
) -> None:
    held = request()
    running = DirectScheduler([ScriptedRunner()], VersionStatistics(), hold=5)
    running.enqueue(held)

    running.stop(error=error)

    assert type(answer(held)) is expected


def test_no_request_is_lost_between_enqueueing_and_stopping() -> None:
    for _ in range(30):
        running = DirectScheduler([ScriptedRunner(), ScriptedRunner()], VersionStatistics())
        requests = [request() for _ in range(20)]
        sender = spawn("sender", partial(enqueue_all, running, requests))

        running.stop()

        sender.join()
        for one in requests:
            assert isinstance(answer(one), (InferResponse, UnavailableError))


def test_refusing_fails_what_waits_and_what_comes_and_lets_what_runs_finish() -> None:
    gate = Gate()
    begun, queued, late = request(), request(), request()
    with scheduler(ScriptedRunner(gate)) as running:
        enqueue_all(running, [begun, queued])
        gate.wait_begun()

        running.refuse(UnavailableError("taken down"))
        running.enqueue(late)

        assert [str(answer(one)) for one in (queued, late)] == ["taken down", "taken down"]
        gate.open()
        assert isinstance(answer(begun), InferResponse)


def test_refusing_ends_what_is_held() -> None:
    held = request()
    with scheduler(ScriptedRunner(), hold=5) as running:
        running.enqueue(held)

        running.refuse(UnavailableError("taken down"))

        assert str(answer(held)) == "taken down"


def test_refusing_does_not_take_the_end_of_a_thread_for_a_request() -> None:
    for _ in range(30):
        running = DirectScheduler([ScriptedRunner(), ScriptedRunner()], VersionStatistics())
        refusing = spawn("refusing", partial(running.refuse, UnavailableError("taken down")))

        running.stop()

        refusing.join()
