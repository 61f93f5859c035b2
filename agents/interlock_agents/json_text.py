"""Read JSON that others have written: no name twice in one object, and errors that say where."""

import json


class JsonTextError(Exception):
    """The text is not JSON, or JSON that can be read in two ways; says why."""


def decoded(content: bytes, name: str, *, encoding: str | None = None) -> object:
    """Return the value in a text. Raise JsonTextError, which calls the text `name`.

    Without an `encoding` it is found out, as JSON's own rules say.
    """
    try:
        text = content if encoding is None else content.decode(encoding)
        value: object = json.loads(text, object_pairs_hook=_unique)
    except _DuplicateError as error:
        raise JsonTextError(f"{name}: {error} stands there twice") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonTextError(f"{name} is not JSON ({place}: {error.msg})") from None
    except (ValueError, RecursionError):  # no text, too long a number, too deep
        raise JsonTextError(f"{name} is not JSON") from None
    return value


class _DuplicateError(Exception):
    """A name stands twice in one object, and JSON does not say which of them counts."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise _DuplicateError(repr(name))
        fields[name] = value
    return fields
