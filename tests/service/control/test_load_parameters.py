"""The order in which the parameters of Load are looked at; the texts are in test_reception."""

import pytest

from interlock.control.load_parameters import (
    check_load_parameters,
    check_unload_parameters,
    refuse_overrides,
)
from interlock.domain.errors import InvalidRequestError, UnsupportedError


def test_the_first_wrong_parameter_is_reported() -> None:
    with pytest.raises(InvalidRequestError, match="'foo'"):
        check_load_parameters({"config": "{}", "file:1/m": b"", "foo": 1, "config2": 2})


def test_overrides_of_the_right_type_pass_the_check_and_are_refused_after_it() -> None:
    check_load_parameters({"config": "{}", "file:1/m": b""})

    with pytest.raises(UnsupportedError):
        refuse_overrides({"config": "{}"})


def test_no_parameter_is_fine() -> None:
    check_load_parameters({})
    refuse_overrides({})
    check_unload_parameters({})
    check_unload_parameters({"unload_dependents": False, "what": "ever"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("config", 1), ("config", b""), ("config", None), ("file:x", ""), ("file:x", None)],
)
def test_a_value_of_another_type_is_refused(name: str, value: int | str | bytes | None) -> None:
    with pytest.raises(InvalidRequestError, match=f"load parameter '{name}', expected"):
        check_load_parameters({name: value})


def test_a_dependents_flag_that_is_a_number_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        check_unload_parameters({"unload_dependents": 1})
