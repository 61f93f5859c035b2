"""Read JSON that others have written: nothing twice, nothing of another kind than it must be."""

import json

from interlock_agents.signing.errors import SignatureError


class _DuplicateError(Exception):
    """A name stands twice in one object, and JSON does not say which of them counts."""


def parsed(content: bytes, *, what: str) -> dict[str, object]:
    """Return the object in a text. Raise SignatureError, which calls the text `what`."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateError as error:
        raise SignatureError(f"{what}: {error} stands there twice") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise SignatureError(f"{what} is not JSON ({place}: {error.msg})") from None
    except (ValueError, RecursionError):  # no text, too long a number, too deep
        raise SignatureError(f"{what} is not JSON") from None
    return as_object(value, what)


def as_object(value: object, what: str) -> dict[str, object]:
    """Return what is an object. Raise SignatureError."""
    if not isinstance(value, dict):
        raise SignatureError(f"{what} is no object")
    return value


def as_list(value: object, what: str) -> list[object]:
    """Return what is a list. Raise SignatureError."""
    if not isinstance(value, list):
        raise SignatureError(f"{what} is no list")
    return value


def as_text(value: object, what: str) -> str:
    """Return what is a text, and can be written down. Raise SignatureError."""
    if not isinstance(value, str):
        raise SignatureError(f"{what} is no text")
    if not value.isprintable():
        raise SignatureError(f"{what} has characters that cannot be shown: {value!r}")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise _DuplicateError(repr(name))
        fields[name] = value
    return fields
