import threading
import time

import grpc
import pytest

from interlock.domain.errors import InternalError, NotFoundError, UnavailableError
from interlock.domain.response import InferResponse
from interlock.frontend.gate import DRAINING, Gate
from interlock.frontend.stream import (
    OUTSTANDING_REQUESTS,
    WINDOW_REQUESTS,
    Stream,
    StreamExchange,
    StreamService,
)
from interlock.frontend.transport import OK, InFlight
from interlock.pb import grpc_service_pb2 as pb
from interlock.runtime.memory_budget import MemoryBudget
from tests.support.calls import FakeCall, FakeIntake, FakeState, served_model


class World:
    """One stream on a fake call, and the requests that came in on it."""

    def __init__(
        self,
        *,
        intake: FakeIntake | None = None,
        metadata: object = (),
        budget: MemoryBudget | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self.intake = intake or FakeIntake(served=served_model())
        self.state = FakeState()
        self.in_flight = InFlight()
        self.service = StreamService(
            intake=self.intake,  # type: ignore[arg-type]  # the fake has what a stream uses
            gate=Gate(state=self.state),
            headers=None,
            in_flight=self.in_flight,
            budget=budget or MemoryBudget(1 << 20),
            access=None,
            delay_s=delay_s,
        )
        self.call = FakeCall(metadata=metadata)  # type: ignore[arg-type]
        handler = self.service.open(self.call)
        assert isinstance(handler, Stream)
        self.stream = handler

    def request(self, id_: str) -> StreamExchange:
        self.stream.on_message(id_.encode())
        exchange = self.intake.exchanges[-1]
        assert isinstance(exchange, StreamExchange)
        return exchange

    @property
    def answers(self) -> list[pb.ModelStreamInferResponse]:
        return [pb.ModelStreamInferResponse.FromString(message) for message in self.call.sent]

    @property
    def ids(self) -> list[str]:
        return [answer.infer_response.id for answer in self.answers]

    @property
    def leases(self) -> int:
        assert self.intake.served is not None
        return self.intake.served.leases.count


def test_answers_leave_in_the_order_of_their_requests() -> None:
    world = World()
    first, second = world.request("first"), world.request("second")
    second.send(InferResponse())
    assert world.ids == []

    first.send(InferResponse())
    assert world.ids == ["first"]

    world.stream.on_sent()
    assert world.ids == ["first", "second"]


def test_only_one_message_is_being_sent_at_a_time() -> None:
    world = World()
    for exchange in [world.request("a"), world.request("b")]:
        exchange.send(InferResponse())

    assert world.ids == ["a"]


def test_the_stream_ends_after_the_half_close_and_the_last_answer() -> None:
    world = World()
    exchange = world.request("a")
    world.stream.on_message(None)
    assert world.call.ending is None

    exchange.send(InferResponse())
    world.stream.on_sent()

    assert world.call.ending == (OK, "", None)


def test_every_answer_says_that_it_is_the_final_one() -> None:
    world = World()
    world.request("a").send(InferResponse())

    parameters = world.answers[0].infer_response.parameters
    assert parameters["triton_final_response"].bool_param is True


def test_a_request_that_was_refused_is_answered_in_its_turn_with_its_id_alone() -> None:
    world = World()
    first, second = world.request("a"), world.request("b")
    second.refuse(NotFoundError("no such model"))
    assert world.answers == []

    first.send(InferResponse())
    world.stream.on_sent()

    assert world.answers[1] == pb.ModelStreamInferResponse(
        error_message="no such model", infer_response=pb.ModelInferResponse(id="b")
    )


def test_an_error_of_the_model_names_the_model_and_says_that_it_is_final() -> None:
    world = World()
    world.request("a").fail(InternalError("it broke"))

    answer = world.answers[0]
    assert answer.error_message == "it broke"
    assert answer.infer_response.model_name == "m"
    assert answer.infer_response.parameters["triton_final_response"].bool_param is True


def test_on_request_an_error_of_the_model_is_the_status_of_the_stream() -> None:
    world = World(metadata=(("triton_grpc_error", "true"),))
    world.request("a").fail(UnavailableError("full"))

    assert world.call.ending is not None
    assert world.call.ending[:2] == (grpc.StatusCode.UNAVAILABLE, "full")


def test_after_such_a_status_nothing_is_sent_nor_asked_for() -> None:
    """The core never lets go of what it refuses on a call that has its status."""
    world = World(metadata=(("triton_grpc_error", "true"),))
    before, failed, after = (world.request(name) for name in "abc")
    failed.fail(UnavailableError("full"))
    asked = world.call.receives

    before.send(InferResponse())
    after.fail(UnavailableError("full too"))
    world.stream.ask()

    assert world.call.ending == (grpc.StatusCode.UNAVAILABLE, "full", None)
    assert world.call.sent == []
    assert world.call.receives == asked


def test_such_a_status_waits_for_what_is_being_sent() -> None:
    world = World(metadata=(("triton_grpc_error", "true"),))
    sent, failed = world.request("a"), world.request("b")
    sent.send(InferResponse())
    failed.fail(UnavailableError("full"))
    endings = [world.call.ending]

    world.stream.on_sent()
    endings.append(world.call.ending)

    assert endings == [None, (grpc.StatusCode.UNAVAILABLE, "full", None)]


@pytest.mark.parametrize("value", ["TRUE", "1", "false"])
def test_only_the_exact_word_asks_for_a_status(value: str) -> None:
    world = World(metadata=(("triton_grpc_error", value),))
    world.request("a").fail(UnavailableError("full"))

    assert world.call.ending is None


def test_a_refusal_stays_on_the_stream_even_then() -> None:
    world = World(metadata=(("triton_grpc_error", "true"),))
    world.request("a").refuse(NotFoundError("none"))

    assert world.call.ending is None
    assert world.answers[0].error_message == "none"


def test_past_the_window_no_message_is_asked_for_until_an_answer_has_left() -> None:
    world = World()
    held_up = world.request("slow")
    for number in range(WINDOW_REQUESTS):
        world.request(str(number)).send(InferResponse())
    asked = world.call.receives
    world.request("one more").send(InferResponse())
    assert world.call.receives == asked

    held_up.send(InferResponse())
    for _ in range(3):
        world.stream.on_sent()

    assert world.call.receives == asked + 1


def test_so_many_requests_of_one_stream_and_no_more_may_wait_for_an_answer() -> None:
    world = World()
    for number in range(OUTSTANDING_REQUESTS - 1):
        world.request(str(number))
    asked = world.call.receives
    last = world.request("last")
    assert world.call.receives == asked
    assert last.ended is False

    for exchange in list(world.intake.exchanges):
        exchange.send(InferResponse())
    while len(world.call.sent) < OUTSTANDING_REQUESTS:
        world.stream.on_sent()

    assert world.call.receives == asked + 1


def test_the_next_message_waits_until_the_last_one_has_been_enqueued() -> None:
    world = World(intake=FakeIntake(served=served_model(), finish_taking=False))
    asked = world.call.receives
    exchange = world.request("large")
    assert world.call.receives == asked

    exchange.taken()

    assert world.call.receives == asked + 1


def test_the_end_of_the_call_ends_its_requests_and_gives_their_leases_back() -> None:
    world = World()
    waiting, answered = world.request("a"), world.request("b")
    answered.send(InferResponse())
    assert (world.in_flight.count, world.leases) == (2, 1)

    world.stream.on_end(cancelled=True)

    assert waiting.ended
    assert (world.in_flight.count, world.leases) == (0, 0)


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    world = World()
    exchange = world.request("a")
    world.stream.on_end(cancelled=True)

    exchange.send(InferResponse())
    exchange.fail(InternalError("late"))

    assert world.call.sent == []
    assert (world.in_flight.count, world.leases) == (0, 0)


def test_a_lease_is_not_taken_by_a_request_that_has_ended() -> None:
    world = World(intake=FakeIntake())
    exchange = world.request("a")
    world.stream.on_end(cancelled=True)

    assert exchange.bind(served_model()) is False


def test_an_idle_stream_is_ended_and_a_busy_one_is_not() -> None:
    busy, idle = World(), World()
    busy.request("a")

    assert busy.service.end_idle() == 0
    assert idle.service.end_idle() == 1
    assert busy.call.ending is None
    assert idle.call.ending == (grpc.StatusCode.UNAVAILABLE, DRAINING, None)


def test_a_busy_stream_is_asked_for_no_more_and_ends_once_it_is_idle() -> None:
    """A client that goes on sending would otherwise hold the server up until its time is over."""
    world = World()
    exchange = world.request("a")
    asked = world.call.receives
    world.service.end_idle()

    late = world.request("b")
    exchange.send(InferResponse())
    world.stream.on_sent()
    late.refuse(UnavailableError(DRAINING))
    endings = [world.call.ending]
    world.stream.on_sent()
    endings.append(world.call.ending)

    assert world.ids == ["a", "b"]
    assert endings == [None, (grpc.StatusCode.UNAVAILABLE, DRAINING, None)]
    assert world.call.receives == asked


def test_a_stream_that_opens_after_that_is_ended_too() -> None:
    world = World()
    world.service.end_idle()
    late = FakeCall()
    world.service.open(late)

    assert late.ending == (grpc.StatusCode.UNAVAILABLE, DRAINING, None)
    assert late.receives == 0


def test_a_message_that_comes_after_the_end_is_dropped() -> None:
    """One thread may read a stream while another hears of its end."""
    world = World()
    world.stream.on_end(cancelled=True)
    world.stream.on_message(b"late")

    assert world.intake.exchanges == []
    assert world.in_flight.count == 0


def test_a_stream_that_ends_while_it_waits_for_room_leaves_the_queue() -> None:
    budget = MemoryBudget(10)
    budget.take(10)
    world = World(budget=budget)
    assert budget.waiting == 1

    world.stream.on_end(cancelled=True)

    assert budget.waiting == 0


def test_every_answer_waits_where_a_delay_was_asked_for() -> None:
    delay_s = 0.05
    world = World(delay_s=delay_s)
    left = threading.Event()
    world.call.on_send = left.set
    began = time.monotonic()
    world.request("a").send(InferResponse())

    assert left.wait(20)
    assert time.monotonic() - began >= delay_s
    assert world.ids == ["a"]


def test_a_stream_that_has_ended_is_forgotten() -> None:
    world = World()
    world.stream.on_end(cancelled=False)

    assert world.service.end_idle() == 0


def test_a_new_stream_is_refused_while_the_server_drains() -> None:
    world = World()
    world.state.accepting = False
    call = FakeCall()
    world.service.open(call)

    assert call.ending is not None
    assert call.ending[1] == DRAINING
    assert call.receives == 0
