"""`interlock health`: what the health check of a container runs.

Imports no protobuf and no NumPy: it is started every few seconds.
"""

import argparse

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import write, write_json
from interlock.cli.verb import DONE, REFUSED, SubParsers
from interlock.client.calls import Client
from interlock.client.health import SERVING, check


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers, "health", _health, summary="ask whether the server serves", timeout_s=5
    )
    parser.add_argument(
        "--service",
        default="",
        help="a service, model/NAME or model/NAME/VERSION instead of the whole server",
    )


def _health(arguments: argparse.Namespace, client: Client) -> int:
    status = check(client, arguments.service)
    if arguments.format == "json":
        write_json({"status": status})
    else:
        write(status)
    return DONE if status == SERVING else REFUSED
