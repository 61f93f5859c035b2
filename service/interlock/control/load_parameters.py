"""Check the parameters of Load and Unload.

The types are checked as Triton does, before anything else of the request; the first
parameter that is wrong is the one that is reported.
"""

from collections.abc import Mapping
from typing import Final

from interlock.domain.errors import InvalidRequestError, UnsupportedError

Parameter = bool | int | str | bytes | None

_CONFIG: Final = "config"
_FILE: Final = "file:"
_UNLOAD_DEPENDENTS: Final = "unload_dependents"


def check_load_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Raise InvalidRequestError for a parameter that Load does not have, or of a wrong type."""
    for name, value in parameters.items():
        if name == _CONFIG:
            if not isinstance(value, str):
                raise InvalidRequestError(
                    "invalid value type for load parameter 'config', expected string_param."
                )
        elif name.startswith(_FILE):
            if not isinstance(value, bytes):
                raise InvalidRequestError(
                    f"invalid value type for load parameter '{name}', expected bytes_param."
                )
        else:
            raise InvalidRequestError(f"unrecognized load parameter '{name}'.")


def refuse_overrides(parameters: Mapping[str, Parameter]) -> None:
    """Raise UnsupportedError where Load is to take something else than what the repository has."""
    if parameters:
        named = ", ".join(f"'{name}'" for name in sorted(parameters))
        raise UnsupportedError(
            f"load parameter {named}: models are loaded from the model repository only, "
            "overrides of the configuration and of files are not implemented yet"
        )


def check_unload_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Raise InvalidRequestError for `unload_dependents` of a wrong type; ignore what is unknown."""
    if not isinstance(parameters.get(_UNLOAD_DEPENDENTS, False), bool):
        raise InvalidRequestError(
            "invalid value type for 'unload_dependents' parameter, expected bool_param."
        )
