import grpc
import pytest

from interlock.domain.errors import InvalidRequestError
from interlock.domain.response import InferResponse
from interlock.domain.tensor import InputTensor
from interlock.frontend.gate import DRAINING, Gate
from interlock.frontend.transport import OK, InFlight
from interlock.frontend.unary import UnaryExchange, UnaryService
from interlock.pb import grpc_service_pb2 as pb
from interlock.runtime.memory_budget import MemoryBudget
from interlock.settings import ProtocolCategory, RestrictedProtocols
from tests.support.calls import FakeCall, FakeIntake, FakeState, served_model

KEY = RestrictedProtocols((ProtocolCategory.INFERENCE,), "k", "v")


class World:
    """One ModelInfer call on a fake transport."""

    def __init__(
        self,
        *restricted: RestrictedProtocols,
        metadata: tuple[tuple[str, str], ...] = (),
        budget: MemoryBudget | None = None,
    ) -> None:
        self.served = served_model()
        self.state = FakeState()
        self.in_flight = InFlight()
        self.service = UnaryService(
            intake=FakeIntake(served=self.served),  # type: ignore[arg-type]  # has what is used
            gate=Gate(state=self.state, restricted=restricted),
            headers=None,
            in_flight=self.in_flight,
            budget=budget or MemoryBudget(1 << 20),
            access=None,
        )
        self.call = FakeCall(metadata=metadata)
        handler = self.service.open(self.call)
        assert isinstance(handler, UnaryExchange)
        self.exchange = handler


def test_an_answer_ends_the_call_and_gives_the_lease_back() -> None:
    world = World()
    world.exchange.on_message(b"id-1")
    assert world.served.leases.count == 1

    world.exchange.send(InferResponse())

    assert world.call.ending is not None
    code, _, message = world.call.ending
    assert code is OK
    assert message is not None
    assert pb.ModelInferResponse.FromString(message).id == "id-1"
    assert world.served.leases.count == 0


def test_a_request_is_in_flight_until_its_call_is_over() -> None:
    world = World()
    world.exchange.on_message(b"a")
    world.exchange.send(InferResponse())
    assert world.in_flight.count == 1

    world.exchange.on_end(cancelled=False)

    assert world.in_flight.count == 0


def test_a_call_that_is_over_before_its_message_was_never_in_flight() -> None:
    world = World()
    world.exchange.on_end(cancelled=True)

    assert world.in_flight.count == 0


def test_the_first_ending_wins() -> None:
    world = World()
    world.exchange.on_message(b"a")
    world.exchange.fail(InvalidRequestError("wrong"))
    world.exchange.send(InferResponse())
    world.exchange.on_end(cancelled=True)

    assert world.call.ending == (grpc.StatusCode.INVALID_ARGUMENT, "wrong", None)
    assert world.served.leases.count == 0


def test_a_cancelled_request_gives_its_lease_back_at_once() -> None:
    world = World()
    world.exchange.on_message(b"a")
    world.exchange.on_end(cancelled=True)

    assert world.exchange.ended
    assert world.served.leases.count == 0


@pytest.mark.parametrize(("running", "left"), [(False, 0), (True, 1)])
def test_a_cancelled_request_lets_its_inputs_go_unless_a_backend_has_them(
    running: bool, left: int
) -> None:
    """One that waits in a queue would keep its message alive until it is its turn."""
    world = World()
    world.exchange.on_message(b"a")
    request = world.exchange.request
    request.inputs = [InputTensor("x", "FP32", (1,), b"1234")]
    request.responder = world.exchange
    request.running = running

    world.exchange.on_end(cancelled=True)

    assert len(request.inputs) == left
    assert request.responder is None


def test_an_answered_request_does_not_name_who_asked() -> None:
    """The two would keep each other, and the message, until the garbage collector comes."""
    world = World()
    world.exchange.on_message(b"a")
    request = world.exchange.request
    request.responder = world.exchange

    world.exchange.send(InferResponse())

    assert request.responder is None


def test_a_call_that_ends_while_it_waits_for_room_leaves_the_queue() -> None:
    budget = MemoryBudget(10)
    budget.take(10)
    world = World(budget=budget)
    assert budget.waiting == 1

    world.exchange.on_end(cancelled=True)

    assert budget.waiting == 0
    assert world.call.receives == 0


def test_at_the_stop_a_call_without_its_message_is_ended_and_one_with_it_is_not() -> None:
    world = World()
    silent = FakeCall()
    world.service.open(silent)
    world.exchange.on_message(b"a")

    world.service.end_waiting()

    assert silent.ending == (grpc.StatusCode.UNAVAILABLE, DRAINING, None)
    assert world.call.ending is None


def test_a_call_that_opens_after_that_is_ended_too() -> None:
    world = World()
    world.service.end_waiting()
    late = FakeCall()
    world.service.open(late)

    assert late.ending == (grpc.StatusCode.UNAVAILABLE, DRAINING, None)
    assert late.receives == 0


def test_calls_that_are_over_are_not_waited_for() -> None:
    world = World()
    silent = world.service.open(FakeCall())
    world.exchange.on_message(b"a")
    silent.on_end(cancelled=True)

    assert world.service.waiting == set()


def test_a_half_close_without_a_message_is_refused() -> None:
    world = World()
    world.exchange.on_message(None)

    assert world.call.ending is not None
    assert world.call.ending[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_restricted_call_without_its_header_is_refused_before_its_message_is_read() -> None:
    world = World(KEY)

    assert world.call.ending == (
        grpc.StatusCode.UNAVAILABLE,
        "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
        None,
    )
    assert world.call.receives == 0


def test_a_restricted_call_with_its_header_goes_on() -> None:
    world = World(KEY, metadata=(("triton-grpc-protocol-k", "v"),))

    assert world.call.ending is None
    assert world.call.receives == 1


def test_a_draining_server_says_so_before_it_speaks_of_headers() -> None:
    world = World(KEY)
    world.state.accepting = False
    call = FakeCall()
    world.service.open(call)

    assert call.ending is not None
    assert call.ending[1] == DRAINING


def test_an_answer_that_cannot_be_encoded_ends_the_call_all_the_same() -> None:
    world = World()
    world.exchange.on_message(b"a")
    with pytest.raises(AttributeError):
        world.exchange.send(None)  # type: ignore[arg-type]  # what a broken backend might do

    assert world.call.ending is not None
    assert world.call.ending[0] is grpc.StatusCode.INTERNAL
    assert world.served.leases.count == 0
