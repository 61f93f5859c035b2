import pytest

from interlock.pb import health_pb2
from tests.support.command_line import CommandLine
from tests.support.scripted_server import scripted_server


@pytest.mark.parametrize(
    ("status", "code"), [("SERVING", 0), ("NOT_SERVING", 1), ("SERVICE_UNKNOWN", 1)]
)
def test_the_code_tells_a_container(command_line: CommandLine, status: str, code: int) -> None:
    answer = health_pb2.HealthCheckResponse(status=status)
    with scripted_server({"Check": answer}) as server:
        printed = command_line.ask(server, ["health"])

    assert (printed.code, printed.out) == (code, f"{status}\n")


def test_asks_for_a_service_and_prints_json(command_line: CommandLine) -> None:
    answer = health_pb2.HealthCheckResponse(status="SERVING")
    with scripted_server({"Check": answer}) as server:
        printed = command_line.ask(server, ["health", "--service=model/m", "-o", "json"])

        assert printed.json == {"status": "SERVING"}
        assert server.seen[0].service == "model/m"
