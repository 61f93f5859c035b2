import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from interlock.client.calls import Client
from interlock.client.connection import Connection
from interlock.client.health import HealthRequest, HealthResponse, check
from interlock.pb import health_pb2
from tests.support.scripted_server import scripted_server

STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]


@given(service=st.text())
def test_writes_the_request_as_protobuf_does(service: str) -> None:
    written = HealthRequest(service).SerializeToString()

    assert written == health_pb2.HealthCheckRequest(service=service).SerializeToString()


@pytest.mark.parametrize("length", [127, 128, 16384])
def test_writes_a_long_name(length: int) -> None:
    request = health_pb2.HealthCheckRequest.FromString(
        HealthRequest("m" * length).SerializeToString()
    )

    assert request.service == "m" * length


@pytest.mark.parametrize("status", STATUSES)
def test_reads_the_answer_as_protobuf_writes_it(status: str) -> None:
    written = health_pb2.HealthCheckResponse(status=status).SerializeToString()

    assert HealthResponse.FromString(written).status == status


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08\x63", b"\x12\x01x"])
def test_what_it_does_not_know_is_unknown(data: bytes) -> None:
    assert HealthResponse.FromString(data).status == "UNKNOWN"


def test_asks_for_a_service() -> None:
    answer = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
    with (
        scripted_server({"Check": answer}) as server,
        Client(Connection(server=server.address)) as client,
    ):
        assert check(client, "model/digits") == "SERVING"
        assert server.seen == [health_pb2.HealthCheckRequest(service="model/digits")]


def test_loads_nothing_that_is_slow_to_load() -> None:
    program = (
        "import sys, interlock.cli.main, interlock.cli.health, interlock.client.health;"
        "print(*[name for name in ('numpy', 'google.protobuf', 'onnxruntime', 'structlog',"
        " 'interlock.settings') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "\n"
