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
