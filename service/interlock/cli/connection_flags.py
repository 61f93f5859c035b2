"""The flags that every client verb takes: where the server is and what it wants to see."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from interlock.cli.verb import Run, SubParsers, UsageError, add_format
from interlock.client.connection import DEFAULT_SERVER, Connection, ConnectionSettingsError

Value = TypeVar("Value")

_KEY: Final = re.compile(r"[a-z0-9_.-]+")
_TRUE: Final = frozenset({"1", "true", "on"})


def add_client_verb(  # every verb in the same form
    subparsers: SubParsers, name: str, run: Run, *, summary: str, timeout_s: float | None
) -> argparse.ArgumentParser:
    """Add a verb that talks to a server. `timeout_s` is how long it waits if not told."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no server.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, default_timeout_s=timeout_s)
    add_format(parser)
    _add_connection(parser, timeout_s)
    return parser


def _add_connection(parser: argparse.ArgumentParser, timeout_s: float | None) -> None:
    group = parser.add_argument_group("server", "each also as the environment variable in brackets")
    group.add_argument(
        "--server", metavar="HOST:PORT", help=f"default {DEFAULT_SERVER} (INTERLOCK_SERVER)"
    )
    group.add_argument("--tls", action="store_true", default=None, help="encrypt (INTERLOCK_TLS=1)")
    group.add_argument(
        "--tls-ca",
        metavar="FILE",
        help="certificates that vouch for the server; implies --tls (INTERLOCK_TLS_CA)",
    )
    group.add_argument(
        "--tls-cert", metavar="FILE", help="our own certificate (INTERLOCK_TLS_CERT)"
    )
    group.add_argument("--tls-key", metavar="FILE", help="and its key (INTERLOCK_TLS_KEY)")
    group.add_argument(
        "--tls-server-name",
        metavar="NAME",
        help="the name that the server's certificate carries (INTERLOCK_TLS_SERVER_NAME)",
    )
    group.add_argument(
        "--header",
        metavar="KEY=VALUE",
        action="append",
        help="send this metadata; may be repeated (INTERLOCK_HEADERS: one on each line, or"
        " commas between them)",
    )
    limit = "none" if timeout_s is None else f"{timeout_s:g}"
    group.add_argument("--timeout", metavar="SECONDS", help=f"default {limit} (INTERLOCK_TIMEOUT)")


def _headers(arguments: argparse.Namespace, environment: Mapping[str, str]) -> list[str]:
    if arguments.header is not None:
        return list(arguments.header)
    text = environment.get("INTERLOCK_HEADERS", "")
    parts = text.splitlines() if "\n" in text else text.split(",")
    return [part.strip() for part in parts if part.strip()]


def _header(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    key = key.strip().lower()
    if not equals or not _KEY.fullmatch(key) or key.endswith("-bin"):
        raise UsageError(f"'{text}' is no header: write KEY=VALUE, the key of a-z, 0-9, '-_.'")
    if not (value.isascii() and value.isprintable()):
        raise UsageError(f"the value of the header '{key}' is not printable ASCII")
    return key, value


def _timeout(text: str) -> float:
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if timeout_s <= 0.0:
        raise UsageError(f"--timeout expects a number of seconds above 0, got '{text}'")
    return timeout_s


def connection_of(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Connection:
    """Return the connection that flags and environment describe; a flag wins."""

    def given(flag: str, convert: Callable[[str], Value], default: Value) -> Value:
        value: object = getattr(arguments, flag)
        text = environment.get(f"INTERLOCK_{flag.upper()}", "") if value is None else str(value)
        return convert(text) if text else default

    tls: bool | None = arguments.tls
    try:
        return Connection(
            server=given("server", str, DEFAULT_SERVER),
            tls=environment.get("INTERLOCK_TLS", "").lower() in _TRUE if tls is None else tls,
            tls_ca=given("tls_ca", Path, None),
            tls_cert=given("tls_cert", Path, None),
            tls_key=given("tls_key", Path, None),
            tls_server_name=given("tls_server_name", str, ""),
            headers=tuple(map(_header, _headers(arguments, environment))),
            timeout_s=given("timeout", _timeout, arguments.default_timeout_s),
        )
    except ConnectionSettingsError as error:
        raise UsageError(str(error)) from None
