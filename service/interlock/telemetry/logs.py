"""Where log events go: structlog, and the records of the standard library, to one stream.

`configure` is called once at start; what it returns is what the LogSettings RPC changes
while the server runs.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TextIO

import structlog

from interlock.domain.errors import InvalidRequestError, UnsupportedError
from interlock.settings import LogFormat, LogSettings
from interlock.telemetry.log_line import json_line, terminal_line, text_line

LogValue = bool | int | str
_MAX_UINT32: Final = 2**32 - 1


def _boolean(name: str, value: LogValue | None) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"expect boolean for '{name}'")
    return value


def _level(value: LogValue | None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_UINT32:
        raise InvalidRequestError("expect int32 for 'log_verbose_level'")
    return value


def _format(value: LogValue | None) -> LogFormat:
    if not isinstance(value, str):
        raise InvalidRequestError("expect string for 'log_format'")
    try:
        return LogFormat(value)
    except ValueError:
        raise InvalidRequestError(f"invalid argument for log_format, got: {value}") from None


class LogState:
    """Which events are written, and how. Any thread may ask and change."""

    def __init__(self, settings: LogSettings) -> None:
        self._lock = threading.Lock()  # one update at a time
        self.info = settings.info
        self.warning = settings.warning
        self.error = settings.error
        self.verbose_level = settings.verbose_level
        self.format = settings.format

    def update(self, settings: Mapping[str, LogValue | None]) -> None:
        """Apply all of `settings` or, if one is wrong, nothing. Unknown keys are ignored.

        `None` is a value that the client left out. Raises ServiceErrors with Triton's texts.
        """
        if "log_file" in settings:
            raise UnsupportedError("log file location can not be updated through network protocol")
        with self._lock:
            new = self.as_map()
            # In Triton's order: the first error is the one that is told.
            for name in ("log_info", "log_warning", "log_error"):
                new[name] = _boolean(name, settings.get(name, new[name]))
            level = _level(settings.get("log_verbose_level", self.verbose_level))
            log_format = _format(settings.get("log_format", self.format.value))
            self.info, self.warning = new["log_info"] is True, new["log_warning"] is True
            self.error = new["log_error"] is True
            self.verbose_level, self.format = level, log_format

    def as_map(self) -> dict[str, LogValue]:
        """Return the six settings of the RPC."""
        return {
            "log_file": "",
            "log_info": self.info,
            "log_warning": self.warning,
            "log_error": self.error,
            "log_verbose_level": self.verbose_level,
            "log_format": self.format.value,
        }


class _GatedLogger(structlog.BoundLoggerBase):
    """A logger whose closed levels cost one look at the state."""

    state: ClassVar[LogState]

    def debug(self, event: str, **values: object) -> None:
        if self.state.verbose_level > 0:
            self._proxy_to_logger("debug", event, **values)

    def info(self, event: str, **values: object) -> None:
        if self.state.info:
            self._proxy_to_logger("info", event, **values)

    def warning(self, event: str, **values: object) -> None:
        if self.state.warning:
            self._proxy_to_logger("warning", event, **values)

    def error(self, event: str, **values: object) -> None:
        if self.state.error:
            self._proxy_to_logger("error", event, **values)

    def critical(self, event: str, **values: object) -> None:
        if self.state.error:
            self._proxy_to_logger("critical", event, **values)

    def exception(self, event: str, **values: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        values.setdefault("exc_info", True)
        self.error(event, **values)


def _exception_of(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exception() if exc_info else None


class _Renderer:
    """The last and only processor: an event and its values to a line."""

    def __init__(self, state: LogState, *, colours: bool) -> None:
        self._state = state
        self._colours = colours
        self._process = os.getpid()

    def __call__(
        self,
        logger: object,  # noqa: ARG002 - the shape of a processor
        level: str,
        values: MutableMapping[str, Any],
    ) -> str:
        event = str(values.pop("event", ""))
        error = _exception_of(values.pop("exc_info", None))
        if error is not None:
            values["exception"] = "".join(traceback.format_exception(error)).rstrip()
        now = datetime.now(UTC)
        log_format = self._state.format
        if log_format is LogFormat.JSON:
            return json_line(now, level, event, values)
        if self._colours:
            return terminal_line(now, level, event, values, log_format=log_format)
        return text_line(now, level, event, values, log_format=log_format, process=self._process)


class _Sink:
    """Writes whole lines, one thread at a time; a stream that is gone stops nobody."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # the stream; nothing is called under it but write and flush

    def write(self, line: str) -> None:
        with self._lock:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):
                return  # closed: nobody is left to be told

    debug = info = warning = error = critical = write


class _RecordHandler(logging.Handler):
    """Hands records of the standard library on; their INFO is a detail to us."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write: Callable[..., None] = log.debug
        if record.levelno >= logging.ERROR:
            write = log.error
        elif record.levelno >= logging.WARNING:
            write = log.warning
        write(record.getMessage(), logger=record.name, exc_info=record.exc_info)


def configure(settings: LogSettings, stream: TextIO | None = None) -> LogState:
    """Send all events of this process to `stream` (stderr if None) from now on."""
    target = sys.stderr if stream is None else stream
    state = LogState(settings)
    sink = _Sink(target)
    # Not cached in the loggers: a second call must reach those that have logged already.
    structlog.configure(
        processors=[_Renderer(state, colours=target.isatty())],
        wrapper_class=type("GatedLogger", (_GatedLogger,), {"state": state}),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _RecordHandler)]:
        root.removeHandler(handler)
    root.addHandler(_RecordHandler())
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    return state
