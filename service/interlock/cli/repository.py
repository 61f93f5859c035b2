"""`interlock index`, `load`, `unload`: what a server may load, and loading it."""

import argparse
from dataclasses import asdict

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import one_line, table, write, write_json
from interlock.cli.verb import DONE, SubParsers
from interlock.client import repository
from interlock.client.calls import Client


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers, "index", _index, summary="list every model with its state", timeout_s=30
    )
    parser.add_argument("--ready", action="store_true", help="only those that serve")
    parser = add_client_verb(
        subparsers,
        "load",
        _load,
        summary="load a model, or load it anew, and wait until it serves",
        timeout_s=None,
    )
    parser.add_argument("model", metavar="MODEL")
    parser = add_client_verb(
        subparsers, "unload", _unload, summary="stop serving a model", timeout_s=None
    )
    parser.add_argument("model", metavar="MODEL")


def _index(arguments: argparse.Namespace, client: Client) -> int:
    entries = repository.index(client, ready=arguments.ready)
    if arguments.format == "json":
        write_json({"models": [asdict(entry) for entry in entries]})
        return DONE
    rows = [
        (entry.name, entry.version or "-", entry.state or "-", one_line(entry.reason))
        for entry in entries
    ]
    write(table(("NAME", "VERSION", "STATE", "REASON"), rows))
    return DONE


def _done(arguments: argparse.Namespace, event: str) -> int:
    if arguments.format == "json":
        write_json({"model": arguments.model, "event": event})
    else:
        write(f"{event} {arguments.model}")
    return DONE


def _load(arguments: argparse.Namespace, client: Client) -> int:
    repository.load(client, arguments.model)
    return _done(arguments, "loaded")


def _unload(arguments: argparse.Namespace, client: Client) -> int:
    repository.unload(client, arguments.model)
    return _done(arguments, "unloaded")
