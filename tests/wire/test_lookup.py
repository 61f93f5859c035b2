"""Which version a request reaches, and what is said where there is none."""

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.wire import (
    Client,
    Message,
    Refusal,
    WireServer,
    given,
    infer_request,
    invalid,
    not_found,
    serving,
    unavailable,
)

DATA = given("INPUT0", np.arange(4, dtype="f4"))
NO_NUMBER = (
    "failed to get model version from specified version string '{}' (details: stol), "
    "version should be an integral value > 0"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model", versions=(1, 3), extra="version_policy { all {} }")
    repository.identity("gone")
    repository.onnx("broken", b"this is no graph")
    with serving(repository, "--exit-on-error=false") as server:
        with server.client() as client:
            client.unload("gone")
        yield server


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        pytest.param("", "3", id="empty is the latest"),
        pytest.param("3", "3", id="plain"),
        pytest.param("1", "1", id="an older one"),
        pytest.param(" 3", "3", id="leading blank"),
        pytest.param("\t\n3", "3", id="leading white space of other kinds"),
        pytest.param("+3", "3", id="sign"),
        pytest.param("1x", "1", id="trailing letters"),
        pytest.param("1.9", "1", id="trailing fraction"),
        pytest.param("003", "3", id="leading zeros"),
        pytest.param("3 1", "3", id="trailing number"),
    ],
)
def test_a_version_is_read_as_strtol_reads_it(client: Client, asked: str, served: str) -> None:
    answer = client.infer(infer_request("model", DATA, version=asked))

    assert answer.model_version == served


def by_infer(client: Client, model: str, version: str) -> Refusal:
    return client.infer_refusal(infer_request(model, DATA, version=version))


def by_metadata(client: Client, model: str, version: str) -> Refusal:
    request = pb.ModelMetadataRequest(name=model, version=version)
    return client.refusal("ModelMetadata", request)


def by_config(client: Client, model: str, version: str) -> Refusal:
    return client.refusal("ModelConfig", pb.ModelConfigRequest(name=model, version=version))


@pytest.mark.parametrize("ask", [by_infer, by_metadata, by_config])
@pytest.mark.parametrize(
    ("model", "version", "refusal"),
    [
        pytest.param("model", "abc", invalid(NO_NUMBER.format("abc")), id="word"),
        pytest.param("model", "x1", invalid(NO_NUMBER.format("x1")), id="letter first"),
        pytest.param("model", " ", invalid(NO_NUMBER.format(" ")), id="blank"),
        pytest.param("model", "-", invalid(NO_NUMBER.format("-")), id="sign alone"),
        pytest.param(
            "model",
            "99999999999999999999",
            invalid(NO_NUMBER.format("99999999999999999999")),
            id="past 64 bits",
        ),
        pytest.param(
            "model",
            "-2",
            invalid(
                "invalid model version specified '-2' , version should be an integral value > 0"
            ),
            id="negative",
        ),
        pytest.param(
            "nowhere", "abc", invalid(NO_NUMBER.format("abc")), id="version before the name"
        ),
        pytest.param(
            "nowhere",
            "",
            not_found("Request for unknown model: 'nowhere' is not found"),
            id="unknown name",
        ),
        pytest.param(
            "", "", not_found("Request for unknown model: '' is not found"), id="empty name"
        ),
        pytest.param(
            "nowhere",
            "1",
            not_found("Request for unknown model: 'nowhere' is not found"),
            id="unknown name with a version",
        ),
        pytest.param(
            "model",
            "0",
            not_found("Request for unknown model: 'model' version 0 is not found"),
            id="version 0",
        ),
        pytest.param(
            "model",
            "2",
            not_found("Request for unknown model: 'model' version 2 is not found"),
            id="unknown version",
        ),
        pytest.param(
            "gone",
            "",
            not_found("Request for unknown model: 'gone' has no available versions"),
            id="latest of an unloaded model",
        ),
        pytest.param(
            "gone",
            "1",
            unavailable("Request for unknown model: 'gone' version 1 is not at ready state"),
            id="unloaded version",
        ),
        pytest.param(
            "broken",
            "",
            not_found("Request for unknown model: 'broken' has no available versions"),
            id="latest of a failed model",
        ),
        pytest.param(
            "broken",
            "1",
            unavailable("Request for unknown model: 'broken' version 1 is not at ready state"),
            id="failed version",
        ),
    ],
)
def test_a_lookup_that_finds_nothing_says_why(
    client: Client,
    ask: Callable[[Client, str, str], Refusal],
    model: str,
    version: str,
    refusal: Refusal,
) -> None:
    assert ask(client, model, version) == refusal


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        pytest.param(
            infer_request("model", DATA, version="abc", id="a"),
            NO_NUMBER.format("abc"),
            id="no number",
        ),
        pytest.param(
            infer_request("nowhere", DATA, id="b"),
            "Request for unknown model: 'nowhere' is not found",
            id="unknown",
        ),
        pytest.param(
            infer_request("gone", DATA, version="1", id="c"),
            "Request for unknown model: 'gone' version 1 is not at ready state",
            id="unloaded",
        ),
    ],
)
def test_a_stream_says_the_same_in_its_answers(
    client: Client, request_: Message, text: str
) -> None:
    (answer,) = client.exchange(request_)

    assert answer.error_message == text
    assert answer.infer_response == pb.ModelInferResponse(id=request_.id)


def test_metadata_of_a_version_names_that_version_alone(client: Client) -> None:
    answer = client.call("ModelMetadata", pb.ModelMetadataRequest(name="model", version="1x"))

    assert list(answer.versions) == ["1"]


def test_config_is_the_same_for_each_version(client: Client) -> None:
    first = client.call("ModelConfig", pb.ModelConfigRequest(name="model", version="1"))
    latest = client.call("ModelConfig", pb.ModelConfigRequest(name="model"))

    assert first == latest


@pytest.mark.parametrize(
    "id_",
    ["", "7", "a b", "grüße-\N{SNOWMAN}", "x" * 10_000],
    ids=["empty", "digit", "blank", "not ASCII", "long"],
)
def test_the_id_comes_back(client: Client, id_: str) -> None:
    answer = client.infer(infer_request("model", DATA, id=id_))
    (streamed,) = client.exchange(infer_request("model", DATA, id=id_))

    assert (answer.id, streamed.infer_response.id) == (id_, id_)


def test_the_same_id_may_be_used_twice_at_once(client: Client) -> None:
    calls = [client.start(infer_request("model", DATA, id="same")) for _ in range(8)]

    assert [call.result().id for call in calls] == ["same"] * 8


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x0a\x02\xff\xfe", id="model_name"),
        pytest.param(b"\x12\x01\xff", id="model_version"),
        pytest.param(b"\x1a\x01\xff", id="id"),
        pytest.param(b"\x2a\x03\x0a\x01\xff", id="name of an input"),
    ],
)
def test_text_that_is_not_utf_8_is_refused_where_it_is_read(client: Client, message: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.bytes_infer(message)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "could not parse the ModelInferRequest" in refused.value.details()
