"""`interlock ready`, `metadata`, `config` and `stats`: what a server says of its models."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import cast

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import shape, table, write, write_json
from interlock.cli.verb import DONE, REFUSED, Run, SubParsers
from interlock.client import models
from interlock.client.calls import Client
from interlock.client.plain import Plain


def add_parser(subparsers: SubParsers) -> None:
    _add(subparsers, "ready", _ready, "ask whether the server, or a model, is ready")
    _add(subparsers, "metadata", _metadata, "show the server, or the tensors of a model")
    _add(subparsers, "stats", _stats, "show what happened to the requests of one model or of all")
    _add(subparsers, "config", _config, "show the configuration that a model runs with", nargs=None)


def _add(
    subparsers: SubParsers, name: str, run: Run, summary: str, *, nargs: str | None = "?"
) -> None:
    parser = add_client_verb(subparsers, name, run, summary=summary, timeout_s=30)
    parser.add_argument("model", metavar="MODEL", nargs=nargs, default="")
    parser.add_argument("--model-version", default="", metavar="VERSION")


def _ready(arguments: argparse.Namespace, client: Client) -> int:
    ready = (
        models.model_ready(client, arguments.model, arguments.model_version)
        if arguments.model
        else models.server_ready(client)
    )
    if arguments.format == "json":
        write_json({"ready": ready})
    else:
        write("ready" if ready else "not ready")
    return DONE if ready else REFUSED


def _tensors(title: str, tensors: Iterable[models.TensorMetadata]) -> str:
    rows = [(one.name, one.datatype, shape(one.shape)) for one in tensors]
    return table((title, "DATATYPE", "SHAPE"), rows)


def _metadata(arguments: argparse.Namespace, client: Client) -> int:
    if not arguments.model:
        return _server_metadata(arguments, client)
    metadata = models.model_metadata(client, arguments.model, arguments.model_version)
    if arguments.format == "json":
        write_json(asdict(metadata))
    else:
        write(f"{metadata.name}, {metadata.platform}, versions {', '.join(metadata.versions)}\n")
        write(_tensors("INPUT", metadata.inputs))
        write("")
        write(_tensors("OUTPUT", metadata.outputs))
    return DONE


def _server_metadata(arguments: argparse.Namespace, client: Client) -> int:
    metadata = models.server_metadata(client)
    if arguments.format == "json":
        write_json(asdict(metadata))
    else:
        write(f"{metadata.name} {metadata.version}")
        write(f"extensions: {', '.join(metadata.extensions)}")
    return DONE


def _config(arguments: argparse.Namespace, client: Client) -> int:
    config = models.model_config(client, arguments.model, arguments.model_version)
    if arguments.format == "json":
        write_json(config.json)
    else:
        write(config.text.rstrip())
    return DONE


def _mean(durations: Plain, name: str) -> str:
    """Return the mean of one of the durations in microseconds."""
    duration = cast("dict[str, int]", durations.get(name, {}))
    count = duration.get("count", 0)
    return f"{duration['ns'] / count / 1000:.0f}" if count else "-"


def _count(durations: Plain, name: str) -> str:
    return str(cast("dict[str, int]", durations.get(name, {})).get("count", 0))


def _stats_row(version: Plain) -> tuple[str, ...]:
    # The shape of ModelStatistics, as `plain` writes it.
    durations = cast("Plain", version.get("inference_stats", {}))
    return (
        str(version["name"]),
        str(version["version"]),
        _count(durations, "success"),
        _count(durations, "fail"),
        str(version["inference_count"]),
        str(version["execution_count"]),
        *(_mean(durations, name) for name in ("success", "queue", "compute_infer")),
    )


def _stats(arguments: argparse.Namespace, client: Client) -> int:
    versions = models.statistics(client, arguments.model, arguments.model_version)
    if arguments.format == "json":
        write_json({"model_stats": versions})
        return DONE
    head = ("MODEL", "VERSION", "OK", "FAILED", "ROWS", "RUNS")
    means = ("REQUEST us", "QUEUE us", "INFER us")
    write(table((*head, *means), map(_stats_row, versions)))
    return DONE
