"""`interlock logs`: show and change what a running server logs."""

import argparse

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import write, write_json
from interlock.cli.verb import DONE, SubParsers, UsageError
from interlock.client.calls import Client
from interlock.client.repository import LogValue, log_settings


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers, "logs", _logs, summary="show or change what the server logs", timeout_s=30
    )
    parser.add_argument(
        "settings",
        metavar="KEY=VALUE",
        nargs="*",
        help="log_info=false, log_verbose_level=1, log_format=json, ...",
    )


def _setting(text: str) -> tuple[str, LogValue]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"'{text}' is no setting: write KEY=VALUE, as in log_info=false")
    if value.lower() in {"true", "false"}:
        return key, value.lower() == "true"
    return key, int(value) if value.isdecimal() else value


def _logs(arguments: argparse.Namespace, client: Client) -> int:
    settings = log_settings(client, dict(map(_setting, arguments.settings)))
    if arguments.format == "json":
        write_json(settings)
        return DONE
    for key, value in settings.items():
        write(f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    return DONE
