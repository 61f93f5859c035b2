"""Write one event as one line: as text, or as JSON.

What clients send may stand in an event, so nothing in it can begin a second line: control
characters are escaped. A traceback, and on a terminal every value of several lines, stands
indented below its event.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from interlock.settings import LogFormat

_LETTERS: Final = {"debug": "V", "info": "I", "warning": "W", "error": "E", "critical": "E"}
_COLOURS: Final = {"V": "\x1b[2m", "I": "\x1b[32m", "W": "\x1b[33m", "E": "\x1b[31m"}
_BOLD: Final = "\x1b[1m"
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def _iso(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text.rstrip()
    )


def _word(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(' "='):
        return text
    return _one_line(json.dumps(text, ensure_ascii=False))


def json_line(now: datetime, level: str, event: str, values: Mapping[str, object]) -> str:
    """Return a JSON object; `exception`, if there is one, is a string in it."""
    return json.dumps({"time": _iso(now), "level": level, "event": event, **values}, default=str)


def text_line(
    now: datetime,
    level: str,
    event: str,
    values: Mapping[str, object],
    *,
    log_format: LogFormat,
    process: int,
) -> str:
    """Return the line as Triton begins it, the event's values behind its text."""
    letter = _LETTERS.get(level, "I")
    head = (
        f"{_iso(now)} {letter} {process}]"
        if log_format is LogFormat.ISO8601
        else f"{letter}{now:%m%d %H:%M:%S.%f} {process}]"
    )
    trace = values.get("exception")
    words = [f"{key}={_word(value)}" for key, value in values.items() if key != "exception"]
    line = " ".join((head, _one_line(event), *words))
    return f"{line}\n{_indent(str(trace))}" if trace else line


def terminal_line(
    now: datetime, level: str, event: str, values: Mapping[str, object], *, log_format: LogFormat
) -> str:
    """Return the line for a person who watches: time, level, event and values in colours."""
    letter = _LETTERS.get(level, "I")
    time = _iso(now) if log_format is LogFormat.ISO8601 else f"{now:%H:%M:%S}"
    words, below = [], []
    for key, value in values.items():
        text = str(value)
        if "\n" in text:
            below.append(text.rstrip())
        else:
            words.append(f"{_DIM}{key}={_PLAIN}{_word(text)}")
    line = " ".join((f"{_DIM}{time}{_PLAIN}", f"{_COLOURS[letter]}{letter}{_PLAIN}",
                     f"{_BOLD}{_one_line(event)}{_PLAIN}", *words))  # fmt: skip
    indented = [_indent(text) for text in below]
    return "\n".join((line, *indented))


def _indent(text: str) -> str:
    """Indent every line, escape what is not printable in it."""
    return "\n".join(f"    {_one_line(line)}" for line in text.splitlines())
