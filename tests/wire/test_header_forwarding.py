"""Headers that become request parameters: spec/protocol.md 7.4.

No built-in backend shows the parameters of a request. What can be seen from outside is
which headers match: a reserved one that does is refused.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.models import Repository
from tests.support.wire import Client, WireServer, given, infer_request, invalid, serving

PATTERN = (
    "(?:(?-i)UPPER)|SEQUENCE_|IORIT|^timeout$|^headers$|binary_data|(?:(?-i)triton_)|(?:(?-i)My-)"
)
REQUEST = infer_request("model", given("INPUT0", np.zeros(1, "<f4")), id="r")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")
    with serving(repository, f"--grpc-header-forward-pattern={PATTERN}") as server:
        yield server


def reserved(header: str) -> str:
    return f"Header '{header}' is reserved for Triton usage and cannot be forwarded."


RESERVED = pytest.mark.parametrize(
    "header",
    [
        pytest.param("sequence_id", id="case does not matter"),
        "sequence_start",
        "sequence_end",
        pytest.param("priority", id="a part of the name is enough"),
        "timeout",
        "headers",
        "binary_data_output",
        "triton_anything",
    ],
)


@RESERVED
def test_a_reserved_header_that_matches_is_refused(client: Client, header: str) -> None:
    refusal = client.infer_refusal(REQUEST, metadata=[(header, "1")])

    assert refusal == invalid(reserved(header))


@RESERVED
def test_a_stream_refuses_each_request_in_its_answers(client: Client, header: str) -> None:
    answers = client.exchange(REQUEST, REQUEST, metadata=[(header, "1")])

    assert [answer.error_message for answer in answers] == [reserved(header)] * 2
    assert [answer.infer_response.id for answer in answers] == ["r", "r"]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("upper", id="case matters where the pattern says so"),
        pytest.param("my-own", id="not matched in another case"),
        pytest.param("timeouts", id="not matched beyond its end"),
        pytest.param("other", id="not matched at all"),
        pytest.param("xsequence_idx", id="matched and not reserved"),
    ],
)
def test_other_headers_pass(client: Client, header: str) -> None:
    assert client.infer(REQUEST, metadata=[(header, "1")]).id == "r"


def test_duplicates_are_refused_before_headers(client: Client) -> None:
    one = given("INPUT0", np.zeros(1, "<f4"))

    refusal = client.infer_refusal(infer_request("model", one, one), metadata=[("priority", "1")])

    assert refusal.text == "[request id: <id_unknown>] input 'INPUT0' already exists in request"


def test_headers_are_refused_before_data(client: Client) -> None:
    request = infer_request("model")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1])

    refusal = client.infer_refusal(request, metadata=[("priority", "1")])

    assert refusal.text == reserved("priority")
