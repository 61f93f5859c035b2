"""Turn the text of a flag, or of its environment variable, into a value.

A function here raises ValueError with the end of a sentence ("expects …") that the
caller begins with the name of the flag, or SettingsError with a whole one.
"""

import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

import re2

from interlock.domain.cloud_location import CloudLocation, is_cloud, parse_location
from interlock.settings import (
    ControlMode,
    ProtocolCategory,
    RestrictedProtocols,
    SettingsError,
)

Choice = TypeVar("Choice", bound=Enum)

_TRUE: Final = frozenset({"true", "on", "1"})
_FALSE: Final = frozenset({"false", "off", "0"})


def boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"expects true or false, got '{text}'")


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expects an integer, got '{text}'") from None


def seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expects a number of seconds, got '{text}'") from None


def factor(text: str) -> float:
    """Read a multiple; false is 0, which switches off what it is for."""
    if text.lower() in _FALSE:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expects a number or false, got '{text}'")
    return value


def verbosity(text: str) -> int:
    """Read a level; true and false are 1 and 0, as for tritonserver."""
    word = text.lower()
    return int(boolean(text)) if word in _TRUE | _FALSE else integer(text)


def fraction(text: str) -> float:
    """Read a share of all requests; true and false are all and none."""
    word = text.lower()
    if word in _TRUE | _FALSE:
        return float(boolean(text))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expects off or a fraction in 0..1, got '{text}'") from None


def path(text: str) -> Path:
    if not text:
        raise ValueError("expects a path")
    return Path(text)


def repository(text: str) -> Path | CloudLocation:
    """Read a folder, or the URL of an object store."""
    return parse_location(text) if is_cloud(text) else path(text)


def choice(kind: type[Choice]) -> Callable[[str], Choice]:
    """Return a reader of the values of an enumeration, in any case."""
    by_word = {str(member.value).lower(): member for member in kind}
    words = ", ".join(str(member.value) for member in kind)

    def read(text: str) -> Choice:
        member = by_word.get(text.lower())
        if member is None:
            raise ValueError(f"expects one of {words}, got '{text}'")
        return member

    return read


def config_name(text: str) -> str:
    """Read the name of a configuration: a file's name without its ending."""
    if not text:
        raise SettingsError("empty argument for --model-config-name")
    if "/" in text or "\0" in text or any(map(str.isspace, text)):
        raise ValueError(f"expects a name without blanks and slashes, got '{text}'")
    return text


def control_mode(text: str) -> ControlMode:
    try:
        return ControlMode(text.lower())
    except ValueError:
        raise SettingsError(
            f"invalid argument for --model-control-mode: '{text}'; it is none, poll or explicit"
        ) from None


def pattern(text: str) -> str:
    """Check a regular expression in RE2's syntax."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(f"(?i){text}", options)
    except re2.error as error:
        reason = error.args[0].decode()
        raise ValueError(f"expects a regular expression (RE2), got '{text}': {reason}") from None
    return text


def _category(name: str) -> ProtocolCategory:
    try:
        return ProtocolCategory(name)
    except ValueError:
        raise SettingsError(f"unknown restricted protocol '{name}'") from None


def restricted_protocols(text: str) -> RestrictedProtocols:
    """Read `<p1,p2>:<key>=<value>`; the value may hold further `:` and `=`."""
    names, colon, setting = text.partition(":")
    key, equals, value = setting.partition("=")
    if not (names and colon and key and equals):
        raise SettingsError(
            "--grpc-restricted-protocol option format is '<config name>:<setting>=<value>'."
            f" Got {text}"
        )
    return RestrictedProtocols(tuple(map(_category, names.split(","))), key, value)


def backend_option(text: str) -> tuple[str, str, str]:
    """Read `[<backend>,]<option>=<value>`; without a backend it is for all of them."""
    left, equals, value = text.partition("=")
    backend, comma, option = left.rpartition(",")
    if not (equals and option) or (comma and not backend):
        raise SettingsError(
            "--backend-config option format is '<backend name>,<setting>=<value>' or"
            f" '<setting>=<value>'. Got {text}"
        )
    return backend, option, value
