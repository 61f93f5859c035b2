"""What the health service says of the server and of its models."""

import pytest

from interlock.domain.errors import ExhaustedError, NotFoundError
from interlock.domain.readiness import ServerPhase
from interlock.frontend.health import Health, is_ready
from interlock.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest
from interlock.serving.table import ServingTable
from tests.support.boundary import FakeServerState, entry, loaded

Status = HealthCheckResponse.ServingStatus
SERVER_NAMES = ["", "inference.GRPCInferenceService"]


class Ward:
    """A health service over a table and a state that a test changes."""

    def __init__(self) -> None:
        self.state = FakeServerState()
        self.table = ServingTable()
        self.health = Health(table=self.table, state=self.state)

    def status(self, name: str) -> str:
        return Status.Name(self.health.status_of(name))


@pytest.mark.parametrize(
    ("phase", "models_ready", "ready"),
    [
        (ServerPhase.SERVING, True, True),
        (ServerPhase.SERVING, False, False),
        (ServerPhase.STARTING, True, False),
        (ServerPhase.DRAINING, True, False),
    ],
)
def test_a_server_is_ready_while_it_serves_and_its_models_do(
    phase: ServerPhase, models_ready: bool, ready: bool
) -> None:
    state = FakeServerState()
    state.change(phase=phase, models_ready=models_ready)

    assert is_ready(state) is ready


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_the_server_serves_when_it_is_ready(name: str) -> None:
    ward = Ward()

    assert ward.status(name) == "SERVING"
    ward.state.change(models_ready=False)
    assert ward.status(name) == "NOT_SERVING"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("model/m", "SERVING"),
        ("model/m/1", "SERVING"),
        ("model/m/2", "NOT_SERVING"),
        ("model/failed", "NOT_SERVING"),
        ("model/failed/1", "NOT_SERVING"),
        ("model/m/3", "SERVICE_UNKNOWN"),
        ("model/m/01", "SERVICE_UNKNOWN"),
        ("model/m/", "SERVICE_UNKNOWN"),
        ("model/m/1/1", "SERVICE_UNKNOWN"),
        ("model/M", "SERVICE_UNKNOWN"),
        ("model/", "SERVICE_UNKNOWN"),
        ("m", "SERVICE_UNKNOWN"),
        ("failed", "SERVICE_UNKNOWN"),
        ("Model/m", "SERVICE_UNKNOWN"),
        ("inference", "SERVICE_UNKNOWN"),
    ],
)
def test_each_model_and_version_has_a_name(name: str, status: str) -> None:
    ward = Ward()
    ward.table.show({"m": entry(loaded("m"), known=[2]), "failed": entry(known=[1])})

    assert ward.status(name) == status


@pytest.mark.parametrize("name", [*SERVER_NAMES, "interlock.repository", "model/m", "model/m/1"])
def test_nothing_serves_while_the_server_drains(name: str) -> None:
    ward = Ward()
    ward.table.show({"m": entry(loaded("m"))})
    ward.state.change(phase=ServerPhase.DRAINING)

    assert ward.status(name) == "NOT_SERVING"


def test_a_repository_that_cannot_be_listed_has_a_name_of_its_own() -> None:
    ward = Ward()
    ward.table.show({"m": entry(loaded("m"))})
    assert ward.status("interlock.repository") == "SERVING"

    ward.state.are_listed = False

    assert ward.status("interlock.repository") == "NOT_SERVING"
    for name in (*SERVER_NAMES, "model/m", "model/m/1"):
        assert ward.status(name) == "SERVING"


def test_a_model_that_is_ready_serves_before_the_first_loads_have_ended() -> None:
    ward = Ward()
    ward.table.show({"m": entry(loaded("m"))})
    ward.state.change(phase=ServerPhase.STARTING)

    assert ward.status("model/m") == "SERVING"


def test_checking_an_unknown_name_is_an_error() -> None:
    with pytest.raises(NotFoundError) as caught:
        Ward().health.check(HealthCheckRequest(service="nobody"))

    assert str(caught.value) == "unknown service 'nobody'"


def test_lists_the_server_and_every_model_and_version() -> None:
    ward = Ward()
    ward.table.show({"m": entry(loaded("m"), known=[2])})

    statuses = ward.health.list_all(HealthListRequest()).statuses

    assert {name: Status.Name(one.status) for name, one in statuses.items()} == {
        "": "SERVING",
        "inference.GRPCInferenceService": "SERVING",
        "interlock.repository": "SERVING",
        "model/m": "SERVING",
        "model/m/1": "SERVING",
        "model/m/2": "NOT_SERVING",
    }


def test_lists_a_hundred_names_and_no_more() -> None:
    ward = Ward()
    ward.table.show({"m": entry(known=range(1, 97))})
    assert len(ward.health.list_all(HealthListRequest()).statuses) == 100

    ward.table.show({"m": entry(known=range(1, 98))})
    with pytest.raises(ExhaustedError) as caught:
        ward.health.list_all(HealthListRequest())

    assert str(caught.value) == (
        "there are 101 services, more than the 100 that can be listed: check them one by one"
    )
