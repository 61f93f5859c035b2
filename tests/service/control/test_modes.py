"""Which models are aspired at start."""

import pytest

from interlock.control.modes import ExplicitMode, NoneMode
from interlock.domain.errors import InvalidRequestError
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
