"""`interlock index`, `load`, `unload`: what a server may load, and loading it."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import one_line, table, write, write_json
from interlock.cli.verb import DONE, SubParsers, UsageError
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
    _add_load_flags(parser)
    parser = add_client_verb(
        subparsers, "unload", _unload, summary="stop serving a model", timeout_s=None
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--wait", action="store_true", help="until what was in flight has ended and all is freed"
    )


def _add_load_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a configuration as JSON that takes the place of the model's config.pbtxt",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="PATH=LOCAL",
        help="send a file of ours as PATH in the model's folder (1/model.onnx); the repository is "
        "not asked then; needs --config; may be repeated",
    )
    parser.add_argument(
        "--versions", metavar="N[,N]", help="these, and not what the version policy selects"
    )
    parser.add_argument("--force", action="store_true", help="even if nothing has changed")
    parser.add_argument(
        "--no-wait", action="store_true", help="return when the load has begun, not when it serves"
    )


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
    if arguments.file and arguments.config is None:
        raise UsageError("--file needs --config as well")
    parameters: dict[str, repository.RepositoryParameter] = dict(map(_file, arguments.file))
    if arguments.config is not None:
        parameters["config"] = _read(arguments.config).decode("utf-8", errors="replace")
    if arguments.versions is not None:
        parameters["versions"] = arguments.versions
    if arguments.force:
        parameters["force"] = True
    if arguments.no_wait:
        parameters["wait"] = False
    warning = repository.load(client, arguments.model, parameters)
    if warning:
        sys.stderr.write(f"interlock load: {one_line(warning)}\n")
    return _done(arguments, "loading" if arguments.no_wait else "loaded")


def _file(text: str) -> tuple[str, bytes]:
    """Return the parameter for `PATH=LOCAL`."""
    path, equals, local = text.partition("=")
    if not (path and equals and local):
        raise UsageError(f"--file {text}: must be PATH=LOCAL, as in 1/model.onnx=./model.onnx")
    return f"file:{path}", _read(Path(local))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _unload(arguments: argparse.Namespace, client: Client) -> int:
    parameters = {"wait": True} if arguments.wait else {}
    freed = repository.unload(client, arguments.model, parameters)
    if freed is None:
        return _done(arguments, "unloaded")
    if arguments.format == "json":
        write_json({"model": arguments.model, "event": "unloaded", "bytes_freed": freed})
    else:
        write(f"unloaded {arguments.model}, the process shrank by {freed} bytes")
    return DONE
