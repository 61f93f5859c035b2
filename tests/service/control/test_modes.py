"""Which models are aspired at start."""

import pytest

from interlock.control.modes import ExplicitMode, Mode, NoneMode, PollMode
from interlock.domain.errors import InvalidRequestError, UnavailableError
from tests.support.control import FakeRepository

REPOSITORY = FakeRepository(
    duplicates=frozenset({"twice"}), problems={"odd": "unreadable", "/gone": "not there"}
)
REPOSITORY.put((1, "a"), model="b")
REPOSITORY.put((1, "a"), model="a")


@pytest.mark.parametrize(
    "mode", [NoneMode(), ExplicitMode(("*",)), ExplicitMode(("*", "*"))], ids=str
)
def test_all_models_are_those_too_that_cannot_be_loaded(mode: NoneMode | ExplicitMode) -> None:
    assert mode.first_models(REPOSITORY.snapshot) == ("a", "b", "odd", "twice")


def test_explicit_mode_loads_what_is_named_in_that_order_and_once() -> None:
    mode = ExplicitMode(("b", "ghost", "b"))

    assert mode.first_models(REPOSITORY.snapshot) == ("b", "ghost")


def test_explicit_mode_loads_nothing_by_itself() -> None:
    assert ExplicitMode().first_models(REPOSITORY.snapshot) == ()


def test_the_wildcard_stands_alone() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ExplicitMode(("a", "*"))

    assert str(caught.value) == (
        "Wildcard model name '*' must be the ONLY startup model if specified at all."
    )


@pytest.mark.parametrize("mode", [NoneMode(allow_control=True), PollMode(allow_control=True)])
def test_clients_may_load_and_unload_where_that_is_allowed(mode: Mode) -> None:
    mode.check_control()


def test_an_unload_is_to_be_held_where_the_mode_wants_what_there_is() -> None:
    assert [mode.wants_all for mode in (NoneMode(), PollMode(), ExplicitMode())] == [
        True,
        True,
        False,
    ]


def test_mode_poll_says_what_helps() -> None:
    with pytest.raises(UnavailableError) as caught:
        PollMode().check_control()

    assert str(caught.value) == (
        "explicit model load / unload is not allowed if polling is enabled: the model control mode "
        "is poll; start the server with --model-control-mode=explicit, or with "
        "--allow-explicit-control"
    )
