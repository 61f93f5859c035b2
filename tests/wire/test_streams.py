"""ModelStreamInfer: order, errors, half-close, cancellation. spec/protocol.md 9."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import (
    SERVICE,
    TIMEOUT_S,
    Client,
    Message,
    Refusal,
    WireServer,
    arrays,
    eventually,
    given,
    infer_request,
    serving,
)

SLOW_S = 0.3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("fast")
    repository.identity("slow", parameters={"execute_delay_ms": f"{SLOW_S * 1000:.0f}"})
    repository.onnx(
        "even", onnx_small.fails_on_odd_lengths(), outputs=[Port("FP32", (-1, 2), name="y")]
    )
    with serving(repository) as server:
        yield server


def request(model: str, number: int, *, version: str = "") -> Message:
    return infer_request(
        model, given("INPUT0", np.array([number], "<f4")), id=str(number), version=version
    )


def even(length: int, *, id: str = "", version: str = "") -> Message:  # noqa: A002 - the field's
    """A request that the backend fails where `length` is odd."""
    return infer_request("even", given("x", np.zeros(length, "<f4")), id=id, version=version)


def number_in(answer: Message) -> int:
    assert answer.error_message == ""
    (value,) = arrays(answer.infer_response)["OUTPUT0"]
    return int(value)


def test_a_delay_holds_answers_of_streams_back_and_no_others(tmp_path: Path) -> None:
    """And not the polling thread: the delays of two streams pass side by side."""
    repository = Repository(tmp_path)
    repository.identity("fast")
    delay_s = 1.5
    holds = {
        "INTERLOCK_DEBUG_HOLDS": "1",
        "TRITONSERVER_DELAY_GRPC_RESPONSE": f"{delay_s * 1000:.0f}",
    }
    with serving(repository, env=holds) as server, server.client() as client:
        began = time.monotonic()
        streams = [client.stream() for _ in range(4)]
        for stream in streams:
            stream.send(request("fast", 1), request("fast", 2))
        client.infer(request("fast", 3))
        unary_s = time.monotonic() - began
        answers = [[number_in(answer) for answer in stream.rest()] for stream in streams]
        streams_s = time.monotonic() - began

    assert answers == [[1, 2]] * 4
    assert unary_s < delay_s
    # One after the other would take eight of them.
    assert 2 * delay_s <= streams_s < 6 * delay_s


def test_an_answer_is_a_response_with_the_final_flag(client: Client) -> None:
    (answer,) = client.exchange(request("fast", 7, version="1"))

    response = answer.infer_response
    assert answer.error_message == ""
    assert (response.model_name, response.model_version, response.id) == ("fast", "1", "7")
    assert response.parameters["triton_final_response"].bool_param is True
    assert response.parameters["param1"].int64_param == 42
    assert number_in(answer) == 7


def test_a_unary_answer_has_no_final_flag(client: Client) -> None:
    assert "triton_final_response" not in client.infer(request("fast", 1)).parameters


def test_answers_keep_the_order_of_the_requests(client: Client) -> None:
    models = ["slow", "fast", "slow", "fast", "fast"]

    answers = client.exchange(*(request(model, i) for i, model in enumerate(models)))

    assert [number_in(answer) for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.infer_response.model_name for answer in answers] == models


def test_many_requests_are_answered_in_order(client: Client) -> None:
    answers = client.exchange(*(request("fast", i) for i in range(1_000)))

    assert [number_in(answer) for answer in answers] == list(range(1_000))


def test_a_client_that_reads_nothing_for_long_gets_everything(client: Client) -> None:
    """More than the server keeps for a stream: it stops reading and goes on later."""
    megabyte = given("INPUT0", np.zeros(1 << 18, "<f4"))
    stream = client.stream()
    stream.send(*(infer_request("fast", megabyte, id=str(i)) for i in range(150)))
    client.infer(request("slow", 1))

    answers = stream.rest()

    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(150)]


def test_an_error_takes_the_slot_of_its_request(client: Client) -> None:
    answers = client.exchange(
        request("slow", 0), request("nowhere", 1), request("fast", 2), even(3, id="3")
    )

    assert [bool(answer.error_message) for answer in answers] == [False, True, False, True]
    assert [answer.infer_response.id for answer in answers] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        pytest.param(
            request("nowhere", 1, version="2"),
            "Request for unknown model: 'nowhere' is not found",
            id="unknown model",
        ),
        pytest.param(
            infer_request("fast", parameters={"priority": "high"}, id="1"),
            "invalid value type for 'priority' parameter, expected int64_param or uint64_param.",
            id="bad parameter",
        ),
        pytest.param(
            infer_request("fast", given("INPUT0", np.zeros((1, 2), "<f4")), id="1"),
            "[request id: 1] unexpected shape for input 'INPUT0' for model 'fast'. "
            "Expected [-1], got [1,2]. ",
            id="bad shape",
        ),
        pytest.param(
            infer_request("fast", given("OTHER", np.zeros(1, "<f4")), id="1"),
            "unexpected inference input 'OTHER' for model 'fast'",
            id="unknown input",
        ),
    ],
)
@pytest.mark.parametrize("metadata", [[], [("triton_grpc_error", "true")]], ids=["", "as status"])
def test_what_is_refused_before_it_is_issued_has_its_id_alone(
    client: Client, metadata: list[tuple[str, str]], request_: Message, text: str
) -> None:
    first, second = client.exchange(request_, request("fast", 2), metadata=metadata)

    assert first.error_message == text
    assert first.infer_response == pb.ModelInferResponse(id="1")
    assert number_in(second) == 2


@pytest.mark.parametrize("version", ["", "1", " 1"])
def test_a_backend_s_error_names_the_model_and_the_version_that_was_asked(
    client: Client, version: str
) -> None:
    first, second = client.exchange(even(3, id="odd", version=version), even(4, id="even"))

    response = first.infer_response
    assert first.error_message.startswith("onnx runtime error ")
    assert (response.id, response.model_name, response.model_version) == ("odd", "even", version)
    assert response.parameters["triton_final_response"].bool_param is True
    assert not response.outputs
    assert (second.error_message, second.infer_response.id) == ("", "even")


def test_a_backend_s_error_ends_the_stream_where_the_client_asks_for_it(client: Client) -> None:
    stream = client.stream(metadata=[("triton_grpc_error", "true")])
    stream.send(even(4))
    assert stream.next().error_message == ""

    stream.send(even(3))

    code, text = stream.end()
    assert code == "INTERNAL"
    assert text.startswith("onnx runtime error ")


@pytest.mark.parametrize("value", ["TRUE", "True", "1", "false", ""])
def test_only_true_in_lower_case_asks_for_it(client: Client, value: str) -> None:
    answers = client.exchange(even(3), even(4), metadata=[("triton_grpc_error", value)])

    assert [bool(answer.error_message) for answer in answers] == [True, False]


def test_a_malformed_message_is_refused_in_its_slot(client: Client) -> None:
    method = client.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    good = request("fast", 5).SerializeToString()

    first, second = method(iter([b"\xff\xff", good]), timeout=TIMEOUT_S)

    refused = pb.ModelStreamInferResponse.FromString(first)
    assert refused.error_message.startswith("could not parse the ModelInferRequest: ")
    assert number_in(pb.ModelStreamInferResponse.FromString(second)) == 5


def test_an_empty_message_is_a_request_for_no_model(client: Client) -> None:
    (answer,) = client.exchange(pb.ModelInferRequest())

    assert answer.error_message == "Request for unknown model: '' is not found"


def test_a_half_closed_stream_finishes_what_it_began(client: Client) -> None:
    stream = client.stream()
    stream.send(request("slow", 1), request("slow", 2))

    answers = stream.rest()

    assert [number_in(answer) for answer in answers] == [1, 2]
    assert stream.call.code() is grpc.StatusCode.OK


def test_an_empty_stream_ends_well(client: Client) -> None:
    stream = client.stream()
    stream.half_close()

    assert stream.end() == Refusal("OK", "")


def test_a_stream_may_rest_between_requests(client: Client) -> None:
    stream = client.stream()
    for number in range(3):
        stream.send(request("fast", number))
        assert number_in(stream.next()) == number

    assert stream.rest() == []


def test_many_streams_go_side_by_side(client: Client) -> None:
    streams = [client.stream() for _ in range(40)]
    for number, stream in enumerate(streams):
        stream.send(request("fast", number))

    assert [number_in(stream.next()) for stream in streams] == list(range(40))
    assert [stream.rest() for stream in streams] == [[]] * 40


def finished(client: Client, model: str) -> int:
    """How many requests of a model have ended, well or not."""
    statistics = client.statistics(model).inference_stats
    return int(statistics.success.count + statistics.fail.count)


def test_a_cancelled_stream_leaves_nothing_behind(client: Client) -> None:
    before = finished(client, "slow")
    stream = client.stream()
    stream.send(*(request("slow", number) for number in range(3)))
    # While the first one ran, the others have arrived.
    assert number_in(stream.next()) == 0

    stream.call.cancel()

    assert stream.end().code == "CANCELLED"
    eventually(lambda: finished(client, "slow") == before + 3)
    assert client.infer(request("slow", 9)).id == "9"


def test_a_cancelled_request_is_over_at_once_and_others_go_on(client: Client) -> None:
    running, waiting = client.start(request("slow", 1)), client.start(request("slow", 2))
    following = client.start(request("slow", 3))

    waiting.cancel()

    assert waiting.code() is grpc.StatusCode.CANCELLED
    assert (running.result().id, following.result().id) == ("1", "3")


def test_a_deadline_ends_the_call_and_the_server_goes_on(client: Client) -> None:
    late = client.start(request("slow", 1), timeout_s=SLOW_S / 3)

    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.infer(request("slow", 2)).id == "2"


def test_a_client_that_vanishes_leaves_nothing_behind(server: WireServer, client: Client) -> None:
    before = finished(client, "slow")
    with server.client() as passing:
        stream = passing.stream()
        stream.send(request("slow", 0), request("slow", 1))
        # While the first one ran, the second has arrived.
        stream.next()
        call = passing.start(request("slow", 2))

    assert call.code() is grpc.StatusCode.CANCELLED
    eventually(lambda: finished(client, "slow") >= before + 2)
    assert client.infer(request("slow", 3)).id == "3"
