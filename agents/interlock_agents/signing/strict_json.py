"""Read JSON of a signature: nothing twice, nothing of another kind than it must be."""

from interlock_agents.json_text import JsonTextError, decoded
from interlock_agents.signing.errors import SignatureError


def parsed(content: bytes, *, what: str) -> dict[str, object]:
    """Return the object in a text. Raise SignatureError, which calls the text `what`."""
    try:
        value = decoded(content, what, encoding="utf-8")
    except JsonTextError as error:
        raise SignatureError(str(error)) from None
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
