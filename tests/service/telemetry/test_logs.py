import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from interlock.domain.errors import InvalidRequestError, ServiceError, UnsupportedError
from interlock.settings import LogFormat, LogSettings
from interlock.telemetry.logs import LogState, LogValue, configure

DEFAULTS = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
EVERY_LEVEL = ("debug", "info", "warning", "error", "critical")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def levels(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["level"] for line in stream.getvalue().splitlines()]


def log_at_every_level() -> None:
    log = structlog.get_logger()
    for level in EVERY_LEVEL:
        getattr(log, level)("event")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, ["info", "warning", "error", "critical"], id="as it starts"),
        pytest.param({"log_verbose_level": 1}, list(EVERY_LEVEL), id="verbose"),
        pytest.param({"log_info": False}, ["warning", "error", "critical"], id="no info"),
        pytest.param({"log_warning": False}, ["info", "error", "critical"], id="no warning"),
        pytest.param({"log_error": False}, ["info", "warning"], id="no error"),
    ],
)
def test_an_update_opens_and_closes_levels(
    stream: io.StringIO, settings: dict[str, LogValue], expected: list[str]
) -> None:
    state = configure(LogSettings(format=LogFormat.JSON), stream)
    state.update(settings)
    log_at_every_level()

    assert levels(stream) == expected


def test_the_settings_say_what_is_open_at_start(stream: io.StringIO) -> None:
    configure(LogSettings(format=LogFormat.JSON, verbose_level=1, info=False, error=False), stream)
    log_at_every_level()

    assert levels(stream) == ["debug", "warning"]


def test_the_format_changes_while_the_server_runs(stream: io.StringIO) -> None:
    state = configure(LogSettings(), stream)
    log = structlog.get_logger()
    log.info("one", model="m")
    state.update({"log_format": "json"})
    log.info("two", model="m")
    state.update({"log_format": "ISO8601"})
    log.info("three")

    first, second, third = stream.getvalue().splitlines()
    assert first.startswith("I")
    assert first.endswith("] one model=m")
    assert json.loads(second)["event"] == "two"
    assert third.endswith("] three")
    assert third[10] == "T"


def test_what_logged_before_goes_to_the_new_stream(stream: io.StringIO) -> None:
    log = structlog.get_logger()
    configure(LogSettings(), io.StringIO())
    log.info("one")
    configure(LogSettings(), stream)
    log.info("two")

    assert len(stream.getvalue().splitlines()) == 1


def test_an_exception_is_one_json_line(stream: io.StringIO) -> None:
    configure(LogSettings(format=LogFormat.JSON), stream)
    try:
        int("absent")
    except ValueError:
        structlog.get_logger().exception("bad", model="m")

    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["event"], entry["model"]) == ("error", "bad", "m")
    assert entry["exception"].endswith(
        "ValueError: invalid literal for int() with base 10: 'absent'"
    )


def test_records_of_the_standard_library_arrive(stream: io.StringIO) -> None:
    configure(LogSettings(format=LogFormat.JSON), stream)
    logging.getLogger("grpc._server").error("call %s failed", "x")
    logging.getLogger("grpc._server").warning("odd")
    logging.getLogger("grpc._server").info("detail")

    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["level"], one["event"], one["logger"]) for one in entries] == [
        ("error", "call x failed", "grpc._server"),
        ("warning", "odd", "grpc._server"),
    ]


def test_their_info_is_a_detail(stream: io.StringIO) -> None:
    configure(LogSettings(format=LogFormat.JSON, verbose_level=1), stream)
    logging.getLogger("onnxruntime").info("detail")

    assert levels(stream) == ["debug"]


def test_a_record_keeps_its_exception(stream: io.StringIO) -> None:
    configure(LogSettings(format=LogFormat.JSON), stream)
    try:
        int("absent")
    except ValueError:
        logging.getLogger("grpc").exception("bad")

    assert json.loads(stream.getvalue())["exception"].endswith(
        "ValueError: invalid literal for int() with base 10: 'absent'"
    )


def test_a_second_configuration_does_not_log_records_twice(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    configure(LogSettings(), stream)
    logging.getLogger("grpc").error("once")

    assert len(stream.getvalue().splitlines()) == 1


def test_a_python_warning_is_a_warning(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(LogSettings(format=LogFormat.JSON), stream)
        warnings.warn("odd", RuntimeWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["logger"]) == ("warning", "py.warnings")
    assert "RuntimeWarning: odd" in entry["event"]


def test_a_terminal_gets_colours() -> None:
    terminal = Terminal()
    configure(LogSettings(), terminal)
    structlog.get_logger().warning("odd")

    assert "\x1b[33mW\x1b[0m" in terminal.getvalue()


def test_a_reader_that_has_gone_stops_nobody() -> None:
    configure(LogSettings(), ClosedPipe())

    structlog.get_logger().error("nobody hears")


def test_shows_the_six_settings() -> None:
    assert LogState(LogSettings()).as_map() == DEFAULTS


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        pytest.param(
            {"log_file": "x"},
            UnsupportedError,
            "log file location can not be updated through network protocol",
            id="file",
        ),
        pytest.param(
            {"log_info": 1}, InvalidRequestError, "expect boolean for 'log_info'", id="info"
        ),
        pytest.param(
            {"log_warning": "true"},
            InvalidRequestError,
            "expect boolean for 'log_warning'",
            id="warning",
        ),
        pytest.param(
            {"log_error": None},
            InvalidRequestError,
            "expect boolean for 'log_error'",
            id="no value at all",
        ),
        pytest.param(
            {"log_verbose_level": True},
            InvalidRequestError,
            "expect int32 for 'log_verbose_level'",
            id="boolean level",
        ),
        pytest.param(
            {"log_verbose_level": "1"},
            InvalidRequestError,
            "expect int32 for 'log_verbose_level'",
            id="level as text",
        ),
        pytest.param(
            {"log_format": 1}, InvalidRequestError, "expect string for 'log_format'", id="format"
        ),
        pytest.param(
            {"log_format": "zzz"},
            InvalidRequestError,
            "invalid argument for log_format, got: zzz",
            id="unknown format",
        ),
    ],
)
def test_a_wrong_update_changes_nothing(
    change: dict[str, LogValue], error: type[ServiceError], text: str
) -> None:
    state = LogState(LogSettings())
    good: dict[str, LogValue] = {"log_info": False, "log_verbose_level": 3}
    with pytest.raises(error) as refused:
        state.update({**good, **change})

    assert type(refused.value) is error
    assert str(refused.value) == text
    assert state.as_map() == DEFAULTS


def test_the_first_error_in_tritons_order_is_told() -> None:
    with pytest.raises(InvalidRequestError, match="'log_info'"):
        LogState(LogSettings()).update({"log_format": 1, "log_verbose_level": "", "log_info": 2})


def test_unknown_settings_are_ignored() -> None:
    state = LogState(LogSettings())
    state.update({"colour": "red", "log_warning": False})

    assert state.as_map() == {**DEFAULTS, "log_warning": False}


@pytest.mark.parametrize("write", EVERY_LEVEL)
def test_a_closed_level_writes_nothing(stream: io.StringIO, write: str) -> None:
    configure(LogSettings(info=False, warning=False, error=False), stream)
    method: Callable[..., Any] = getattr(structlog.get_logger(), write)
    method("event", model="m")

    assert stream.getvalue() == ""
