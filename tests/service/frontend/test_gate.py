"""Which calls go on: drain first, then the restricted protocols."""

from typing import get_args

import pytest

from interlock.domain.errors import UnavailableError
from interlock.domain.readiness import ServerPhase
from interlock.frontend.gate import Category, Gate
from interlock.settings import ProtocolCategory, RestrictedProtocols
from tests.support.boundary import FakeServerState

ALL: tuple[Category, ...] = get_args(Category)
HEADER = "triton-grpc-protocol-secret"
DRAIN_TEXT = "GRPC server is shutting down and has stopped accepting new requests."
RESTRICTED_TEXT = "This protocol is restricted, expecting header 'triton-grpc-protocol-secret'"


def restricted(*categories: ProtocolCategory, value: str = "open sesame") -> RestrictedProtocols:
    return RestrictedProtocols(categories=categories, key="secret", value=value)


def test_a_key_is_known_by_the_name_of_its_header() -> None:
    gate = Gate(state=FakeServerState(), restricted=[restricted(ProtocolCategory.TRACE)])

    assert gate.key_name("trace") == "triton-grpc-protocol-secret"
    assert gate.key_name("logging") == ""


def test_the_categories_are_those_of_the_settings() -> None:
    assert set(ALL) == {category.value for category in ProtocolCategory}


@pytest.mark.parametrize("category", ALL)
def test_everything_passes_while_nothing_is_restricted(category: Category) -> None:
    gate = Gate(state=FakeServerState())

    gate.check(category, ())

    assert not gate.restricts(category)


@pytest.mark.parametrize("category", [one for one in ALL if one != "health"])
def test_a_draining_server_takes_no_more_calls(category: Category) -> None:
    state = FakeServerState()
    state.accepting = False
    gate = Gate(state=state)

    with pytest.raises(UnavailableError) as caught:
        gate.check(category, ())

    assert str(caught.value) == DRAIN_TEXT


def test_a_draining_server_still_answers_for_its_health() -> None:
    state = FakeServerState()
    state.accepting = False

    Gate(state=state).check("health", ())


def test_draining_is_told_before_a_missing_header() -> None:
    state = FakeServerState()
    state.accepting = False
    gate = Gate(state=state, restricted=[restricted(ProtocolCategory.TRACE)])

    with pytest.raises(UnavailableError, match="shutting down"):
        gate.check("trace", ())


@pytest.mark.parametrize("category", list(ProtocolCategory))
def test_a_restricted_category_asks_for_its_header(category: ProtocolCategory) -> None:
    gate = Gate(state=FakeServerState(), restricted=[restricted(category)])
    closed = [one for one in ALL if gate.restricts(one)]

    with pytest.raises(UnavailableError) as caught:
        gate.check(category.value, [("other", "open sesame")])

    assert str(caught.value) == RESTRICTED_TEXT
    assert closed == [category.value]


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([(HEADER, "open sesame")], id="text"),
        pytest.param([(HEADER, b"open sesame")], id="bytes"),
        pytest.param([(HEADER, "wrong"), (HEADER, "open sesame")], id="second of two"),
    ],
)
def test_the_right_value_opens(metadata: list[tuple[str, str | bytes]]) -> None:
    gate = Gate(state=FakeServerState(), restricted=[restricted(ProtocolCategory.HEALTH)])

    gate.check("health", metadata)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("open", id="shorter"),
        pytest.param("open sesame ", id="longer"),
        pytest.param("OPEN SESAME", id="other case"),
        pytest.param("öpen sesame", id="not ASCII"),
        pytest.param("\ud800", id="no character at all"),
    ],
)
def test_another_value_does_not_open(value: str) -> None:
    gate = Gate(state=FakeServerState(), restricted=[restricted(ProtocolCategory.HEALTH)])

    with pytest.raises(UnavailableError, match="restricted"):
        gate.check("health", [(HEADER, value)])


def test_a_key_is_found_as_it_is_on_the_wire_and_named_as_it_was_given() -> None:
    group = RestrictedProtocols(categories=(ProtocolCategory.TRACE,), key="Admin", value="x")
    gate = Gate(state=FakeServerState(), restricted=[group])

    gate.check("trace", [("triton-grpc-protocol-admin", "x")])
    with pytest.raises(UnavailableError, match="'triton-grpc-protocol-Admin'"):
        gate.check("trace", ())


def test_each_group_has_a_header_of_its_own() -> None:
    groups = [
        RestrictedProtocols(categories=(ProtocolCategory.TRACE,), key="a", value="1"),
        RestrictedProtocols(categories=(ProtocolCategory.LOGGING,), key="b", value="2"),
    ]
    gate = Gate(state=FakeServerState(), restricted=groups)

    gate.check("trace", [("triton-grpc-protocol-a", "1")])
    with pytest.raises(UnavailableError, match="'triton-grpc-protocol-b'"):
        gate.check("logging", [("triton-grpc-protocol-a", "1")])


@pytest.mark.parametrize("phase", [ServerPhase.SERVING, ServerPhase.DRAINING])
def test_a_server_has_started_once_its_first_loads_have_ended(phase: ServerPhase) -> None:
    state = FakeServerState()
    state.phase = phase

    Gate(state=state).check_started()


def test_what_is_missing_during_the_first_loads_is_only_not_there_yet() -> None:
    state = FakeServerState()
    state.phase = ServerPhase.STARTING

    with pytest.raises(UnavailableError) as caught:
        Gate(state=state).check_started()

    assert str(caught.value) == "Server not ready"


def test_an_exiting_server_says_so() -> None:
    state = FakeServerState()
    gate = Gate(state=state)
    gate.check_not_exiting()
    state.accepting = False

    with pytest.raises(UnavailableError) as caught:
        gate.check_not_exiting()

    assert str(caught.value) == "Server exiting"
