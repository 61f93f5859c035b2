import json
from datetime import UTC, datetime

from hypothesis import given, strategies as st

from interlock.settings import LogFormat
from interlock.telemetry.log_line import json_line, terminal_line, text_line

NOW = datetime(2026, 11, 21, 3, 5, 9, 123456, tzinfo=UTC)
TRACE = "Traceback (most recent call last):\nValueError: no"


def text(level: str, event: str, log_format: LogFormat, **values: object) -> str:
    return text_line(NOW, level, event, values, log_format=log_format, process=7)


def test_the_default_format_begins_as_tritons() -> None:
    line = text("error", "load failed", LogFormat.DEFAULT, model="m", version=1)

    assert line == "E1121 03:05:09.123456 7] load failed model=m version=1"


def test_iso8601() -> None:
    line = text("warning", "late", LogFormat.ISO8601)

    assert line == "2026-11-21T03:05:09.123456Z W 7] late"


def test_a_value_with_a_blank_is_quoted() -> None:
    line = text("info", "x", LogFormat.DEFAULT, reason='a "b"', empty="", equal="a=b")

    assert line.endswith('] x reason="a \\"b\\"" empty="" equal="a=b"')


def test_a_traceback_stands_indented_below_its_event() -> None:
    line = text("error", "bad", LogFormat.DEFAULT, thread="t", exception=TRACE)

    assert line.endswith(
        "] bad thread=t\n    Traceback (most recent call last):\n    ValueError: no"
    )


@given(event=st.text(), value=st.text())
def test_what_a_client_sends_never_begins_a_line(event: str, value: str) -> None:
    line = text("info", event, LogFormat.DEFAULT, id=value)

    assert len(line.splitlines()) == 1


@given(event=st.text(), value=st.text())
def test_a_json_line_gives_back_what_was_logged(event: str, value: str) -> None:
    line = json_line(NOW, "info", event, {"id": value})

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-21T03:05:09.123456Z",
        "level": "info",
        "event": event,
        "id": value,
    }


def test_json_writes_what_it_does_not_know_as_text() -> None:
    line = json_line(NOW, "info", "x", {"format": LogFormat.JSON})

    assert json.loads(line)["format"] == "LogFormat.JSON"


def test_a_terminal_shows_a_value_of_several_lines_below_its_event() -> None:
    line = terminal_line(
        NOW, "error", "load failed", {"model": "m", "reason": "line 3\n  dims: [\n  ^"},
        log_format=LogFormat.DEFAULT,
    )  # fmt: skip

    head, *below = line.splitlines()
    assert "03:05:09" in head
    assert "\x1b[31mE\x1b[0m" in head
    assert "m" in head
    assert below == ["    line 3", "      dims: [", "      ^"]


def test_a_terminal_is_not_steered_by_what_clients_send() -> None:
    line = terminal_line(
        NOW, "info", "\x1b[2J", {"id": "\x1b]0;x\x07"}, log_format=LogFormat.ISO8601
    )

    assert "\x1b[2J" not in line
    assert "\x1b]" not in line
    assert line.startswith("\x1b[2m2026-11-21T03:05:09.123456Z")
