"""interlock.v1.Control on a real server with fakes behind it."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from interlock.domain.description import ModelDescription
from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import ServerPhase
from interlock.domain.transition import Phase, Transition
from interlock.pb import control_pb2 as pb
from interlock.settings import GrpcSettings, ProtocolCategory, RestrictedProtocols
from tests.support.boundary import TIMEOUT_S, Boundary, boundary, refused

CONTROL = "interlock.v1.Control"


def move(moment: float, version: int = 1, after: Phase = Phase.LOADING) -> Transition:
    key = GenerationKey(ModelName("m"), Version(version), Generation(1))
    return Transition(key, Phase.NEW, after, "asked for", moment)


@pytest.fixture
def world() -> Iterator[Boundary]:
    with boundary() as made:
        yield made


def watch(channel: grpc.Channel, **metadata: str) -> grpc.Call:
    call = channel.unary_stream(
        f"/{CONTROL}/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )
    return call(pb.WatchRequest(), timeout=TIMEOUT_S, metadata=tuple(metadata.items()))


def history(channel: grpc.Channel, model: str, version: str = "") -> pb.HistoryResponse:
    call = channel.unary_unary(
        f"/{CONTROL}/History",
        request_serializer=pb.HistoryRequest.SerializeToString,
        response_deserializer=pb.HistoryResponse.FromString,
    )
    answer: pb.HistoryResponse = call(
        pb.HistoryRequest(model=model, version=version), timeout=TIMEOUT_S
    )
    return answer


def describe(channel: grpc.Channel, model: str) -> pb.DescribeResponse:
    call = channel.unary_unary(
        f"/{CONTROL}/Describe",
        request_serializer=pb.DescribeRequest.SerializeToString,
        response_deserializer=pb.DescribeResponse.FromString,
    )
    answer: pb.DescribeResponse = call(pb.DescribeRequest(model=model), timeout=TIMEOUT_S)
    return answer


def retry(channel: grpc.Channel, model: str, version: str = "") -> pb.RetryResponse:
    call = channel.unary_unary(
        f"/{CONTROL}/Retry",
        request_serializer=pb.RetryRequest.SerializeToString,
        response_deserializer=pb.RetryResponse.FromString,
    )
    answer: pb.RetryResponse = call(
        pb.RetryRequest(model=model, version=version), timeout=TIMEOUT_S
    )
    return answer


def test_retry_asks_the_control_plane(world: Boundary) -> None:
    with world.channel() as channel:
        retry(channel, "m")
        retry(channel, "m", "2")

    assert world.control.asked == [("retry", "m", {}), ("retry", "m", {"version": 2})]


def test_a_retry_that_is_refused_says_why(world: Boundary) -> None:
    world.control.error = InvalidRequestError("nothing to try again")
    with world.channel() as channel, pytest.raises(grpc.RpcError) as error:
        retry(channel, "m")

    assert refused(error.value) == (grpc.StatusCode.INVALID_ARGUMENT, "nothing to try again")


def test_watch_tells_of_what_is_and_of_each_move(world: Boundary) -> None:
    world.inspection.became(move(1.0))
    with world.channel() as channel:
        stream = watch(channel)
        assert [one.model for one in next(stream).snapshot.versions] == ["m"]

        world.inspection.became(move(2.0, after=Phase.PROVING))
        world.state.tell()

        assert next(stream).transition.to == pb.PHASE_PROVING
        stream.cancel()


def test_watch_ends_when_the_server_stops() -> None:
    with boundary() as world, world.channel() as channel:
        stream = watch(channel)
        assert next(stream).HasField("snapshot")

        world.server.stop(TIMEOUT_S).wait(TIMEOUT_S)

        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
    assert refused(ended.value) == (grpc.StatusCode.UNAVAILABLE, "Server exiting")


def test_history_is_in_the_order_of_time(world: Boundary) -> None:
    for one in (move(1.0), move(3.0), move(2.0, 2)):
        world.inspection.became(one)
    with world.channel() as channel:
        everything = history(channel, "m")
        one_version = history(channel, "m", "2")

    assert [one.version for one in everything.transitions] == ["1", "2", "1"]
    assert [one.version for one in one_version.transitions] == ["2"]


def test_a_version_that_is_no_number_is_refused(world: Boundary) -> None:
    with world.channel() as channel, pytest.raises(grpc.RpcError) as error:
        history(channel, "m", "x")

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("ask", [history, describe])
def test_an_unknown_model_is_not_found_once_the_first_loads_have_ended(
    world: Boundary, ask: Callable[[grpc.Channel, str], object]
) -> None:
    with world.channel() as channel:
        with pytest.raises(grpc.RpcError) as unknown:
            ask(channel, "nobody")
        world.state.change(phase=ServerPhase.STARTING)
        with pytest.raises(grpc.RpcError) as early:
            ask(channel, "nobody")

    assert refused(unknown.value) == (grpc.StatusCode.NOT_FOUND, "no 'nobody'")
    assert refused(early.value) == (grpc.StatusCode.UNAVAILABLE, "Server not ready")


def test_describe_tells_what_is_known(world: Boundary) -> None:
    world.inspection.described["m"] = ModelDescription(
        ModelName("m"), (), directory="/models/m", version_policy="latest 1", problem="none"
    )
    with world.channel() as channel:
        told = describe(channel, "m")

    assert (told.directory, told.config_path, told.version_policy, told.problem) == (
        "/models/m",
        "",
        "latest 1",
        "none",
    )


def test_the_service_is_restricted_with_the_model_repository() -> None:
    group = RestrictedProtocols((ProtocolCategory.MODEL_REPOSITORY,), key="key", value="secret")
    settings = GrpcSettings(address="127.0.0.1", port=0, restricted=(group,))
    with boundary(settings) as world, world.channel() as channel:
        world.inspection.became(move(1.0))
        with pytest.raises(grpc.RpcError) as error:
            history(channel, "m")
        with pytest.raises(grpc.RpcError) as watched:
            next(watch(channel))
        with pytest.raises(grpc.RpcError) as tried:
            retry(channel, "m")
        allowed = watch(channel, **{"triton-grpc-protocol-key": "secret"})

        assert next(allowed).HasField("snapshot")
        allowed.cancel()
    expected = "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
    assert refused(error.value) == (grpc.StatusCode.UNAVAILABLE, expected)
    assert refused(watched.value) == (grpc.StatusCode.UNAVAILABLE, expected)
    assert refused(tried.value) == (grpc.StatusCode.UNAVAILABLE, expected)
    assert world.control.asked == []
