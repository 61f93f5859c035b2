"""Read the settings of `interlock serve` from flags and environment.

A flag wins over its environment variable, which wins over the default; an empty variable
counts as one that is not set.
"""

import argparse
import difflib
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar, cast

from interlock.cli import flag_table as table
from interlock.cli.flag_table import FLAGS, HIDDEN, IGNORED, Flag, Group, variable_of
from interlock.domain.cloud_location import CloudLocation
from interlock.repository.cloud.credentials import VARIABLES
from interlock.settings import (
    DEFAULT_MAX_BATCH_SIZE,
    AgentSettings,
    CloudSettings,
    DebugSettings,
    GrpcSettings,
    KeepaliveSettings,
    LifetimeSettings,
    LogSettings,
    RepositorySettings,
    Settings,
    SettingsError,
    TlsSettings,
)

USAGE: Final = "usage: interlock serve --model-repository PATH [--flag value | --flag=value]..."

_EPILOG: Final = """\
Each flag can also be given in the environment variable that stands below it; a flag wins.
Where a flag may be repeated, the variable holds one value on each line; folders and names may
also be separated by commas. BOOL is true, on or 1, false, off or 0; the bare flag means true.

Flags of tritonserver that mean nothing here (HTTP, metrics, tracing, caches, pools, ...) are
accepted with a warning. Tests and trials: INTERLOCK_DEBUG_HOLDS=1 lets the server obey Triton's
TRITONSERVER_DELAY_SCHEDULER and its relatives.
"""
_STRICT_DEPRECATED: Final = (
    "Warning: '--strict-model-config' has been deprecated! "
    "Please use '--disable-auto-complete-config' instead."
)
_STRICT_OVERRIDDEN: Final = (
    "Warning: Overriding deprecated '--strict-model-config' from False to True "
    "in favor of '--disable-auto-complete-config'!"
)
_STORE_DEPRECATED: Final = (
    "'--model-store' has been deprecated! Please use '--model-repository' instead."
)
# What Kubernetes puts into the environment of every pod beside a service of that name.
_SERVICE_LINKS: Final = ("tcp://", "udp://", "sctp://")

Value = TypeVar("Value")


class FlagError(Exception):
    """The flags or variables cannot be understood; the message says which and why."""


class HelpAskedError(Exception):
    """`--help` is among the arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(message)


@dataclass(frozen=True, slots=True)
class _Given:
    """What was given, as converted values by the name of the flag."""

    values: Mapping[str, tuple[object, ...]]

    def has(self, flag: Flag[Value]) -> bool:
        return flag.name in self.values

    def every(self, flag: Flag[Value]) -> tuple[Value, ...]:
        # The values were made by this flag's own `convert`.
        return cast("tuple[Value, ...]", self.values.get(flag.name, ()))

    def maybe(self, flag: Flag[Value]) -> Value | None:
        return self.every(flag)[-1] if self.has(flag) else flag.default

    def one(self, flag: Flag[Value]) -> Value:
        value = self.maybe(flag)
        if value is None:
            raise FlagError(f"{flag.spelling} is required")
        return value


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return str(getattr(default, "value", default))


def _help_of(flag: Flag[object]) -> str:
    default = "" if flag.default in {None, ""} else f"default {_shown(flag.default)}, "
    return f"{flag.help}\n{default}{flag.variable}".replace("%", "%%")


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Help on lines of its own below each flag; line breaks in it are kept, names stay whole."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [
            line
            for part in text.splitlines()
            for line in textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False)
        ]


def _add(parser: argparse._ArgumentGroup, flag: Flag[object], help_text: str) -> None:
    if flag.many:
        parser.add_argument(
            flag.spelling, dest=flag.name, action="append", metavar=flag.metavar, help=help_text
        )
        return
    nargs, const = ("?", flag.bare) if flag.bare else (None, None)
    parser.add_argument(
        flag.spelling,
        dest=flag.name,
        nargs=nargs,
        const=const,
        metavar=flag.metavar,
        help=help_text,
    )


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; it leaves every value as the text that was given."""
    parser = _Parser(
        prog="interlock serve",
        usage=USAGE.removeprefix("usage: "),
        description="Serve the models of one or more repositories.",
        epilog=_EPILOG,
        formatter_class=_Layout,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this text and end")
    groups = {group: parser.add_argument_group(group.value) for group in Group}
    for flag in FLAGS:
        _add(groups[flag.group], flag, _help_of(flag))
    for flag in HIDDEN:
        _add(groups[flag.group], flag, argparse.SUPPRESS)
    for name in IGNORED:
        parser.add_argument(f"--{name}", dest=name, nargs="?", const="true", help=argparse.SUPPRESS)
    return parser


def _refuse_unknown(extra: Sequence[str]) -> None:
    if not extra:
        return
    word = next((word for word in extra if word.startswith("-")), None)
    if word is None:
        raise FlagError(f"unexpected argument '{extra[0]}'")
    spelled = word.split("=", 1)[0]
    known = [f"--{name}" for name in (*(flag.name for flag in (*FLAGS, *HIDDEN)), *IGNORED)]
    nearest = difflib.get_close_matches(spelled, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise FlagError(f"unknown flag {spelled}{hint}")


def _texts_of(flag: Flag[object], text: str) -> list[str]:
    """Split the text of an environment variable into the values of its flag."""
    if not flag.many:
        return [text]
    if flag.commas and "\n" not in text:
        text = text.replace(",", "\n")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _convert(flag: Flag[object], source: str, texts: Sequence[str]) -> tuple[object, ...]:
    try:
        return tuple(flag.convert(text) for text in texts)
    except SettingsError as error:
        raise FlagError(str(error)) from None
    except ValueError as error:
        raise FlagError(f"{source} {error}") from None


def _read(arguments: Mapping[str, object], environment: Mapping[str, str]) -> _Given:
    values: dict[str, tuple[object, ...]] = {}
    for flag in (*FLAGS, *HIDDEN):
        given = arguments[flag.name]
        text = environment.get(flag.variable, "")
        if given is not None:
            texts = given if isinstance(given, list) else [str(given)]
            values[flag.name] = _convert(flag, flag.spelling, texts)
        elif text and not text.startswith(_SERVICE_LINKS):
            values[flag.name] = _convert(flag, flag.variable, _texts_of(flag, text))
    return _Given(values)


def _misspelled(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that look like one of ours and are none."""
    known = [variable_of(name) for name in (*(flag.name for flag in (*FLAGS, *HIDDEN)), *IGNORED)]
    remarks = []
    for variable in sorted(environment):
        if not variable.startswith("INTERLOCK_") or variable in known:
            continue
        nearest = difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
        if nearest:
            remarks.append(f"{variable} is not a setting; did you mean {nearest[0]}?")
    return remarks


def _remarks(
    given: _Given, arguments: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[str, ...]:
    remarks = [
        f"--{name} has no effect: {reason}"
        for name, reason in IGNORED.items()
        if arguments[name] is not None or environment.get(variable_of(name))
    ]
    if given.has(table.STRICT_MODEL_CONFIG):
        remarks.append(_STRICT_DEPRECATED)
        if given.one(table.DISABLE_AUTO_COMPLETE) and not given.one(table.STRICT_MODEL_CONFIG):
            remarks.append(_STRICT_OVERRIDDEN)
    if given.has(table.MODEL_STORE):
        remarks.append(_STORE_DEPRECATED)
    remarks.extend(
        f"{flag.variable} holds a service link of Kubernetes and is not read;"
        " set enableServiceLinks: false"
        for flag in FLAGS
        if environment.get(flag.variable, "").startswith(_SERVICE_LINKS)
    )
    return (*remarks, *_misspelled(environment))


def _backend_config(
    options: Sequence[tuple[str, str, str]],
) -> tuple[Mapping[str, Mapping[str, str]], int]:
    """Return the options by backend and, apart, the default batch size of them all."""
    by_backend: dict[str, dict[str, str]] = {}
    for backend, option, value in options:
        by_backend.setdefault(backend, {})[option] = value
    text = by_backend.get("", {}).get("default-max-batch-size", str(DEFAULT_MAX_BATCH_SIZE))
    try:
        return by_backend, int(text)
    except ValueError:
        raise FlagError(
            f"--backend-config default-max-batch-size expects an integer, got '{text}'"
        ) from None


def _repositories(given: _Given) -> tuple[Path | CloudLocation, ...]:
    """Return the repositories, each once, in the order in which they were named."""
    return tuple(
        dict.fromkeys((*given.every(table.MODEL_REPOSITORY), *given.every(table.MODEL_STORE)))
    )


def _cloud(given: _Given, environment: Mapping[str, str]) -> CloudSettings:
    return CloudSettings(
        locations=tuple(one for one in _repositories(given) if isinstance(one, CloudLocation)),
        cache_bytes=given.one(table.CLOUD_CACHE_BYTES),
        environment={
            name: value for name, value in environment.items() if name.startswith(VARIABLES)
        },
    )


def _repository(given: _Given, environment: Mapping[str, str]) -> RepositorySettings:
    backend_config, default_max_batch_size = _backend_config(given.every(table.BACKEND_CONFIG))
    return RepositorySettings(
        roots=tuple(one for one in _repositories(given) if isinstance(one, Path)),
        cloud=_cloud(given, environment),
        control_mode=given.one(table.MODEL_CONTROL_MODE),
        poll_s=given.one(table.REPOSITORY_POLL_SECS),
        settle_s=given.one(table.REPOSITORY_SETTLE_SECS),
        load_models=given.every(table.LOAD_MODEL),
        config_name=given.one(table.MODEL_CONFIG_NAME),
        namespacing=given.one(table.MODEL_NAMESPACING),
        disable_auto_complete=given.one(table.DISABLE_AUTO_COMPLETE)
        or bool(given.maybe(table.STRICT_MODEL_CONFIG)),
        load_thread_count=given.one(table.MODEL_LOAD_THREAD_COUNT),
        load_retry_count=given.one(table.MODEL_LOAD_RETRY_COUNT),
        load_timeout_s=given.one(table.MODEL_LOAD_TIMEOUT),
        load_memory_factor=given.one(table.MODEL_LOAD_MEMORY_FACTOR),
        version_fallback=given.one(table.VERSION_FALLBACK),
        allow_explicit_control=given.one(table.ALLOW_EXPLICIT_CONTROL),
        rollback_window_s=given.one(table.ROLLBACK_WINDOW_SECS),
        drain_timeout_s=given.one(table.DRAIN_TIMEOUT_SECS),
        scratch_directory=given.maybe(table.SCRATCH_DIRECTORY),
        backend_config=backend_config,
        default_max_batch_size=default_max_batch_size,
    )


def _agents(given: _Given) -> AgentSettings:
    return AgentSettings(
        directory=given.maybe(table.REPOAGENT_DIRECTORY),
        timeout_s=given.one(table.AGENT_TIMEOUT_SECS),
        key_directory=given.maybe(table.KEY_DIRECTORY),
        key_sources=given.every(table.KEY_SOURCE),
        signer_directory=given.maybe(table.SIGNER_DIRECTORY),
        policy=given.maybe(table.AGENT_POLICY),
        policy_grace_s=given.one(table.AGENT_POLICY_GRACE_SECS),
    )


def _grpc(given: _Given) -> GrpcSettings:
    return GrpcSettings(
        address=given.one(table.GRPC_ADDRESS),
        port=given.one(table.GRPC_PORT),
        reuse_port=given.one(table.REUSE_GRPC_PORT),
        transport=given.one(table.GRPC_TRANSPORT),
        tls=TlsSettings(
            use_ssl=given.one(table.GRPC_USE_SSL),
            use_ssl_mutual=given.one(table.GRPC_USE_SSL_MUTUAL),
            server_cert=given.maybe(table.GRPC_SERVER_CERT),
            server_key=given.maybe(table.GRPC_SERVER_KEY),
            root_cert=given.maybe(table.GRPC_ROOT_CERT),
        ),
        keepalive=_keepalive(given),
        infer_thread_count=given.one(table.GRPC_INFER_THREAD_COUNT),
        max_pending_bytes=given.one(table.MAX_PENDING_BYTES),
        infer_response_compression_level=given.one(table.GRPC_COMPRESSION),
        header_forward_pattern=given.one(table.GRPC_HEADER_FORWARD_PATTERN),
        restricted=given.every(table.GRPC_RESTRICTED_PROTOCOL),
    )


def _keepalive(given: _Given) -> KeepaliveSettings:
    return KeepaliveSettings(
        time_ms=given.one(table.GRPC_KEEPALIVE_TIME),
        timeout_ms=given.one(table.GRPC_KEEPALIVE_TIMEOUT),
        permit_without_calls=given.one(table.GRPC_KEEPALIVE_PERMIT),
        max_pings_without_data=given.one(table.GRPC_MAX_PINGS),
        min_recv_ping_interval_without_data_ms=given.one(table.GRPC_MIN_PING_INTERVAL),
        max_ping_strikes=given.one(table.GRPC_MAX_PING_STRIKES),
        max_connection_age_ms=given.one(table.GRPC_MAX_CONNECTION_AGE),
        max_connection_age_grace_ms=given.one(table.GRPC_MAX_CONNECTION_AGE_GRACE),
    )


def _lifetime(given: _Given) -> LifetimeSettings:
    return LifetimeSettings(
        exit_on_error=given.one(table.EXIT_ON_ERROR),
        strict_readiness=given.one(table.STRICT_READINESS),
        required_models=tuple(dict.fromkeys(given.every(table.REQUIRED_MODEL))),
        exit_timeout_s=given.one(table.EXIT_TIMEOUT),
        shutdown_delay_s=given.one(table.SHUTDOWN_DELAY),
    )


def _logs(given: _Given) -> LogSettings:
    return LogSettings(
        format=given.one(table.LOG_FORMAT),
        verbose_level=given.one(table.LOG_VERBOSE),
        info=given.one(table.LOG_INFO),
        warning=given.one(table.LOG_WARNING),
        error=given.one(table.LOG_ERROR),
        access_log=given.one(table.ACCESS_LOG),
        audit_log=given.maybe(table.AUDIT_LOG),
    )


def _debug(environment: Mapping[str, str]) -> DebugSettings:
    if environment.get("INTERLOCK_DEBUG_HOLDS", "").lower() not in {"1", "true", "on"}:
        return DebugSettings()

    def number(variable: str) -> float:
        text = environment.get(variable, "") or "0"
        try:
            return float(text)
        except ValueError:
            raise FlagError(f"{variable} expects a number, got '{text}'") from None

    return DebugSettings(
        holds=True,
        delay_scheduler=int(number("TRITONSERVER_DELAY_SCHEDULER")),
        delay_grpc_response_s=number("TRITONSERVER_SERVER_DELAY_GRPC_RESPONSE_SEC"),
        delay_stream_response_ms=number("TRITONSERVER_DELAY_GRPC_RESPONSE"),
    )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings; raise FlagError, or HelpAskedError where `--help` was asked for."""
    parsed, extra = make_parser().parse_known_args(list(arguments))
    if parsed.help:
        raise HelpAskedError
    _refuse_unknown(extra)
    named: dict[str, object] = vars(parsed)
    given = _read(named, environment)
    try:
        return Settings(
            repository=_repository(given, environment),
            agents=_agents(given),
            grpc=_grpc(given),
            lifetime=_lifetime(given),
            logs=_logs(given),
            debug=_debug(environment),
            id=given.one(table.SERVER_ID),
            version=given.one(table.SERVER_VERSION),
            remarks=_remarks(given, named, environment),
        )
    except SettingsError as error:
        raise FlagError(str(error)) from None
