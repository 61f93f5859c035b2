"""Read the parameters of Load and Unload.

The types are checked as Triton does, before anything else of the request; the first
parameter that is wrong is the one that is reported.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from interlock.domain.errors import InvalidRequestError

Parameter = bool | int | str | bytes | None

_FILE: Final = "file:"
_KINDS: Final[Mapping[str, type[bool | int | str]]] = {
    "config": str,
    "wait": bool,
    "timeout_ms": int,
    "versions": str,
    "force": bool,
}
_WORDS: Final = {bool: "bool_param", int: "int64_param", str: "string_param"}
_VERSIONS: Final = re.compile(r"\s*[0-9]{1,19}\s*(?:,\s*[0-9]{1,19}\s*)*", re.ASCII)
_MAX_TIMEOUT_MS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a load is asked for.

    `config` is a ModelConfig as JSON, `files` are contents by their path in the model's
    directory; `timeout_ms` is 0 where nobody is in a hurry; `versions` is empty where the
    version policy selects.
    """

    config: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    wait: bool = True
    timeout_ms: int = 0
    versions: tuple[int, ...] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class UnloadOptions:
    """How an unload is asked for; with `wait` it lasts until nothing is left of the model."""

    wait: bool = False


def read_load_parameters(parameters: Mapping[str, Parameter]) -> LoadOptions:
    """Raise InvalidRequestError for a parameter that Load does not have, or of a wrong type."""
    files: dict[str, bytes] = {}
    for name, value in parameters.items():
        if name.startswith(_FILE):
            if not isinstance(value, bytes):
                raise InvalidRequestError(
                    f"invalid value type for load parameter '{name}', expected bytes_param."
                )
            files[name.removeprefix(_FILE)] = value
        elif name in _KINDS:
            _check_type(name, value)
        else:
            raise InvalidRequestError(f"unrecognized load parameter '{name}'.")
    config, timeout_ms = parameters.get("config"), parameters.get("timeout_ms")
    return LoadOptions(
        config=config if isinstance(config, str) else None,
        files=files,
        wait=parameters.get("wait") is not False,
        timeout_ms=_timeout(timeout_ms) if isinstance(timeout_ms, int) else 0,
        versions=_versions(parameters.get("versions")),
        force=parameters.get("force") is True,
    )


def read_unload_parameters(parameters: Mapping[str, Parameter]) -> UnloadOptions:
    """Raise InvalidRequestError for a parameter of a wrong type; ignore what is unknown."""
    for name in ("unload_dependents", "wait"):
        if not isinstance(parameters.get(name, False), bool):
            raise InvalidRequestError(
                f"invalid value type for '{name}' parameter, expected bool_param."
            )
    return UnloadOptions(wait=parameters.get("wait") is True)


def _check_type(name: str, value: Parameter) -> None:
    # Not isinstance: a bool is an int as well.
    if type(value) is not _KINDS[name]:
        raise InvalidRequestError(
            f"invalid value type for load parameter '{name}', expected {_WORDS[_KINDS[name]]}."
        )


def _timeout(timeout_ms: int) -> int:
    if not 1 <= timeout_ms <= _MAX_TIMEOUT_MS:
        raise InvalidRequestError(
            f"invalid value '{timeout_ms}' for load parameter 'timeout_ms', "
            f"expected milliseconds from 1 to {_MAX_TIMEOUT_MS}."
        )
    return timeout_ms


def _versions(text: Parameter) -> tuple[int, ...]:
    if not isinstance(text, str):
        return ()
    if not _VERSIONS.fullmatch(text):
        raise InvalidRequestError(
            f"invalid value '{text}' for load parameter 'versions', "
            "expected version numbers separated by commas."
        )
    return tuple(sorted({int(number) for number in text.split(",")}))
