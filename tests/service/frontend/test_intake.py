"""From the socket to the scheduler and back, on each transport."""

import gc
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from interlock.backends.base import BatchResult
from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.response import InferResponse
from interlock.frontend.gate import Gate
from interlock.frontend.intake import Intake
from interlock.frontend.stream import StreamService
from interlock.frontend.transport import InFlight
from interlock.frontend.unary import UnaryService
from interlock.pb import grpc_service_pb2 as pb
from interlock.runtime.memory_budget import MemoryBudget
from interlock.scheduling.direct import DirectScheduler
from interlock.serving.served_model import ServedModel
from interlock.serving.table import ModelEntry, ServingTable
from interlock.telemetry.statistics import VersionStatistics
from tests.support.calls import FakeState
from tests.support.carried import TIMEOUT_S, carried, stream_of, unary_of

pytestmark = pytest.mark.parametrize("kind", ["queue", "public"])


class Answering:
    """An instance that refuses requests with the id "bad" and answers the others."""

    name = "m_0"

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        if requests[0].id == "bad":
            raise InvalidRequestError("bad")
        return BatchResult([InferResponse()], 1, 2, 3, 4)


class World:
    """One model behind a real server."""

    def __init__(self, decode: ThreadPoolExecutor) -> None:
        config = ModelConfig(
            name="m",
            inputs=(TensorConfig("x", "FP32", (-1,)),),
            outputs=(TensorConfig("y", "FP32", (-1,)),),
        )
        statistics = VersionStatistics()
        self.served = ServedModel(
            key=GenerationKey(ModelName("m"), Version(1), Generation(1)),
            config=config,
            rules=RequestRules.of(config),
            scheduler=DirectScheduler([Answering()], statistics),
            statistics=statistics,
        )
        table = ServingTable()
        table.show({"m": ModelEntry({1: self.served}, frozenset({1}), self.served)})
        state = FakeState()
        gate = Gate(state=state)
        intake = Intake(table=table, state=state, gate=gate, decode=decode, handover=None)
        self.in_flight = InFlight()
        self.budget = MemoryBudget(1 << 30)
        self.unary = UnaryService(
            intake=intake,
            gate=gate,
            headers=None,
            in_flight=self.in_flight,
            budget=self.budget,
            access=None,
        )
        self.stream = StreamService(
            intake=intake,
            gate=gate,
            headers=None,
            in_flight=self.in_flight,
            budget=self.budget,
            access=None,
        )


@contextmanager
def serving(kind: str) -> Iterator[tuple[World, grpc.Channel]]:
    with ThreadPoolExecutor(1) as decode:
        world = World(decode)
        try:
            with carried(kind, unary=world.unary, stream=world.stream) as (channel, _):
                yield world, channel
        finally:
            world.served.scheduler.stop()


def request(id_: str, *, model: str = "m", shape: int = 1024) -> bytes:
    message = pb.ModelInferRequest(model_name=model, id=id_, raw_input_contents=[bytes(4096)])
    message.inputs.add(name="x", datatype="FP32", shape=[shape])
    data: bytes = message.SerializeToString()
    return data


def living() -> int:
    return sum(type(one) is InferRequest for one in gc.get_objects())


def test_nothing_of_a_request_is_left_once_it_has_ended(kind: str) -> None:
    """Not even for the garbage collector, which comes after hundreds of large messages."""
    everything = [
        request("good"),
        request("bad"),
        request("unknown", model="nobody"),
        request("wrong", shape=7),
    ]
    with serving(kind) as (world, channel):
        unary, stream = unary_of(channel), stream_of(channel)
        gc.collect()
        gc.disable()
        # What other tests have left.
        others = living()
        try:
            for message in everything:
                unary.future(message, timeout=TIMEOUT_S).exception()
            assert len(list(stream(iter(everything), timeout=TIMEOUT_S))) == len(everything)
            assert world.in_flight.wait_empty(TIMEOUT_S)
            # A thread lets go of its last request a moment after the answer.
            until = time.monotonic() + TIMEOUT_S
            while living() > others and time.monotonic() < until:
                time.sleep(0.01)
            left = living() - others
        finally:
            gc.enable()

    assert left == 0
    assert world.served.leases.count == 0
    assert world.budget.used_bytes == 0


class CountingPool(ThreadPoolExecutor):
    """The decode pool, which remembers how often it was given work."""

    submissions = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.submissions += 1
        return super().submit(fn, *args, **kwargs)


def test_thousands_of_small_fields_are_read_in_the_decode_pool_and_in_their_turn(
    kind: str,
) -> None:
    hostile = pb.ModelInferRequest(model_name="m", id="hostile")
    for _ in range(20_000):
        hostile.inputs.add()
    with CountingPool(1) as decode:
        world = World(decode)
        with carried(kind, unary=world.unary, stream=world.stream) as (channel, _):
            messages = [request("first"), hostile.SerializeToString(), request("last")]
            answers = [
                pb.ModelStreamInferResponse.FromString(answer)
                for answer in stream_of(channel)(iter(messages), timeout=TIMEOUT_S)
            ]
        world.served.scheduler.stop()

    assert decode.submissions == 1
    assert [answer.infer_response.id for answer in answers] == ["first", "hostile", "last"]
    assert answers[1].error_message
