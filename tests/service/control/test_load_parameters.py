"""What the parameters of Load and Unload are read as; the order is that in which they are given."""

import pytest

from interlock.control.load_parameters import (
    LoadOptions,
    Parameter,
    UnloadOptions,
    read_load_parameters,
    read_unload_parameters,
)
from interlock.domain.errors import InvalidRequestError


def test_the_first_wrong_parameter_is_reported() -> None:
    with pytest.raises(InvalidRequestError, match="'foo'"):
        read_load_parameters({"config": "{}", "file:1/m": b"", "foo": 1, "config2": 2})


def test_every_parameter_is_read() -> None:
    options = read_load_parameters(
        {
            "config": "{}",
            "file:1/m": b"x",
            "wait": False,
            "timeout_ms": 5,
            "versions": " 3, 1,3",
            "force": True,
        }
    )

    assert options == LoadOptions("{}", {"1/m": b"x"}, False, 5, (1, 3), True)


def test_no_parameter_is_fine() -> None:
    assert read_load_parameters({}) == LoadOptions()
    assert read_unload_parameters({}) == UnloadOptions()


def test_unload_ignores_what_it_does_not_know() -> None:
    parameters: dict[str, Parameter] = {"unload_dependents": False, "what": "ever", "wait": True}

    assert read_unload_parameters(parameters) == UnloadOptions(wait=True)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("config", 1, "string_param"),
        ("config", b"", "string_param"),
        ("config", None, "string_param"),
        ("file:x", "", "bytes_param"),
        ("file:x", None, "bytes_param"),
        ("wait", 1, "bool_param"),
        ("wait", None, "bool_param"),
        ("timeout_ms", True, "int64_param"),
        ("timeout_ms", "5", "int64_param"),
        ("versions", 1, "string_param"),
        ("force", "true", "bool_param"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Parameter, kind: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_load_parameters({name: value})

    assert str(caught.value) == (
        f"invalid value type for load parameter '{name}', expected {kind}."
    )


@pytest.mark.parametrize("text", ["", " ", "1,", "-1", "one", "1 2", "9" * 20])
def test_versions_that_are_no_numbers_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_load_parameters({"versions": text})

    assert str(caught.value) == (
        f"invalid value '{text}' for load parameter 'versions', "
        "expected version numbers separated by commas."
    )


@pytest.mark.parametrize("timeout_ms", [0, -1, 2**31])
def test_a_timeout_that_cannot_be_is_refused(timeout_ms: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_load_parameters({"timeout_ms": timeout_ms})

    assert str(caught.value) == (
        f"invalid value '{timeout_ms}' for load parameter 'timeout_ms', "
        "expected milliseconds from 1 to 2147483647."
    )


@pytest.mark.parametrize("name", ["unload_dependents", "wait"])
@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_flag_of_unload_that_is_no_boolean_is_refused(name: str, value: Parameter) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_unload_parameters({name: value})

    assert str(caught.value) == f"invalid value type for '{name}' parameter, expected bool_param."
