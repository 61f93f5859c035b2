"""Which calls the audit log tells of, and in which words."""

from dataclasses import dataclass, field

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from interlock.domain.cause import Actor
from interlock.domain.errors import InvalidRequestError, NotAllowedError, ServiceError
from interlock.frontend.auditing import BURST, PER_S, SETTLE_S, Asked, CallAudit
from interlock.settings import GrpcSettings, ProtocolCategory, RestrictedProtocols
from interlock.telemetry.audit import AuditEvent
from tests.support.boundary import TIMEOUT_S, boundary
from tests.support.control import HandClock

WHO = Actor("ipv4:10.0.0.1:5", "CN=ops", "triton-grpc-protocol-admin")
LOAD = Asked("load", "m")
NO = NotAllowedError("not in this mode")


@dataclass
class FakeRecorder:
    """Keeps what it is given, and for how long somebody waited for it."""

    events: list[AuditEvent] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def settle(self, timeout_s: float) -> bool:
        self.waited.append(timeout_s)
        return True


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.mark.parametrize(
    ("asked", "error", "outcome"),
    [
        (LOAD, None, "ok"),
        (Asked("load", "m", waits=False), None, "begun"),
        (LOAD, InvalidRequestError("broken"), "failed"),
        (LOAD, NO, "refused"),
    ],
)
def test_a_call_that_changes_something_is_told_when_it_is_answered(
    recorder: FakeRecorder, asked: Asked, error: ServiceError | None, outcome: str
) -> None:
    CallAudit(recorder).answered(asked, WHO, error)

    (event,) = recorder.events
    assert (event.what, event.model, event.who, event.outcome) == ("load", "m", WHO, outcome)
    assert event.reason == ("" if error is None else str(error))
    assert recorder.waited == [SETTLE_S]


def test_who_is_refused_waits_for_nobody(recorder: FakeRecorder) -> None:
    CallAudit(recorder).refused(Asked("rollback", "m", 3), WHO, NO)

    (event,) = recorder.events
    assert (event.what, event.version, event.outcome) == ("rollback", 3, "refused")
    assert recorder.waited == []


def test_calls_that_come_to_nothing_do_not_fill_the_disk(recorder: FakeRecorder) -> None:
    clock = HandClock()
    audit = CallAudit(recorder, clock=clock)
    for _ in range(BURST + 3):
        audit.refused(LOAD, WHO, NO)
    for _ in range(4):
        audit.answered(LOAD, WHO, InvalidRequestError("unrecognized load parameter"))
    assert len(recorder.events) == BURST
    audit.answered(LOAD, WHO, None)
    assert len(recorder.events) == BURST + 1

    clock.now += 1.5 / PER_S
    audit.refused(LOAD, WHO, NO)
    clock.now += 1.5 / PER_S
    audit.refused(LOAD, WHO, NO)

    assert [event.reason for event in recorder.events[BURST + 1 :]] == [
        "not in this mode (7 calls that came to nothing before it are not listed)",
        "not in this mode",
    ]


RESTRICTED = RestrictedProtocols((ProtocolCategory.MODEL_REPOSITORY,), "admin", "secret")


@pytest.mark.parametrize(
    ("value", "outcome", "key_name"),
    [("secret", "ok", "triton-grpc-protocol-admin"), ("wrong", "refused", "")],
)
def test_a_key_is_named_where_it_is_the_right_one(
    recorder: FakeRecorder, value: str, outcome: str, key_name: str
) -> None:
    settings = GrpcSettings(address="127.0.0.1", port=0, restricted=(RESTRICTED,))
    with boundary(settings, recorder=recorder) as server:
        address = f"127.0.0.1:{server.port}"
        with grpc.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            call = stub.RepositoryModelLoad.future(
                service_pb2.RepositoryModelLoadRequest(model_name="m"),
                metadata=[("triton-grpc-protocol-admin", value)],
                timeout=TIMEOUT_S,
            )
            assert (call.exception() is None) == (outcome == "ok")

    (event,) = recorder.events
    assert (event.what, event.model, event.outcome) == ("load", "m", outcome)
    assert event.who.key_name == key_name
    assert event.who.peer.startswith("ipv4:127.0.0.1:")
    assert value not in repr(event)


def test_what_only_asks_is_not_told(recorder: FakeRecorder) -> None:
    with (
        boundary(recorder=recorder) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=TIMEOUT_S)

    assert recorder.events == []


def test_what_breaks_the_server_s_own_code_is_told_as_failed(recorder: FakeRecorder) -> None:
    with (
        boundary(recorder=recorder) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        server.control.error = ZeroDivisionError()
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.RepositoryModelUnload.future(
            service_pb2.RepositoryModelUnloadRequest(model_name="m"), timeout=TIMEOUT_S
        )
        assert call.exception() is not None

    (event,) = recorder.events
    assert (event.what, event.outcome) == ("unload", "failed")
