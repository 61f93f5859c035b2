"""`interlock golden record MODEL`: keep a request and its answer as a golden request."""

import argparse
import math
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.infer import typed_inputs
from interlock.cli.output import shape, write, write_json
from interlock.cli.verb import DONE, SubParsers, UsageError
from interlock.client.calls import Client
from interlock.client.infer import InferAnswer, InferCall, OutputArray, infer
from interlock.client.models import model_metadata
from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.serving.golden.file import write_golden
from interlock.serving.golden.request import (
    BF16,
    DEFAULT_TOLERANCE,
    GoldenRequest,
    GoldenTensor,
)

_EXAMPLE: Final = """\
example:
  interlock golden record digits --input image=@seven.npy --to models/digits/golden --name seven

The folder `golden` of a model holds its requests: a new version that answers them otherwise is
not shown. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no server."""


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers,
        "golden",
        _golden,
        summary="record a request and its answer, to prove new versions by",
        timeout_s=None,
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLE
    parser.add_argument("action", choices=("record",), metavar="record")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as for 'interlock infer'; once for each input",
    )
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIRECTORY", help="made if it is not there"
    )
    parser.add_argument("--name", default="", help="of the file, without its ending [request-N]")
    parser.add_argument("--model-version", default="", metavar="VERSION")
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="only this; may be repeated"
    )
    parser.add_argument(
        "--tolerance",
        type=_number,
        default=DEFAULT_TOLERANCE,
        metavar="T",
        help=f"what floats may be off by: T, and T times the value [{DEFAULT_TOLERANCE}]",
    )
    parser.add_argument(
        "--latency-budget-ms", type=_number, metavar="MS", help="what an answer may take [no limit]"
    )


def _number(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 0 or more")
    return number


def _golden(arguments: argparse.Namespace, client: Client) -> int:
    name = _name(arguments.name, arguments.to)
    metadata = model_metadata(client, arguments.model, arguments.model_version)
    inputs = typed_inputs(arguments.input, metadata)
    answer = infer(
        client,
        InferCall(
            model=arguments.model,
            version=arguments.model_version,
            inputs=inputs,
            outputs=arguments.output,
        ),
    )
    request = GoldenRequest(
        name,
        tuple(GoldenTensor(one.name, one.datatype, one.shape, one.data) for one in inputs),
        tuple(map(_expected, answer.outputs)),
        absolute=arguments.tolerance,
        relative=arguments.tolerance,
        latency_budget_ms=arguments.latency_budget_ms,
    )
    _report(_written(request, arguments.to), answer, as_json=arguments.format == "json")
    return DONE


def _expected(output: OutputArray) -> GoldenTensor:
    array = output.array
    if output.datatype == BYTES:
        data = encode_elements(array.ravel().tolist())
    elif output.datatype == BF16:
        # The client shows them as floats; their upper halves are what was sent.
        data = (np.asarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
    else:
        data = array.astype(BY_WIRE[output.datatype].dtype, copy=False).tobytes()
    return GoldenTensor(output.name, output.datatype, array.shape, data)


def _name(given: str, folder: Path) -> str:
    """Return the name that was asked for, or one that no file of the folder has."""
    if "/" in given or given.startswith("."):
        raise UsageError(f"--name {given}: must be the name of a file that is not hidden")
    if given:
        return given
    try:
        taken = {path.stem for path in folder.iterdir()}
    except FileNotFoundError:
        taken = set()
    except OSError as error:
        raise UsageError(f"cannot look into {folder}: {error.strerror}") from None
    numbers = (number for number in count(1) if f"request-{number}" not in taken)
    return f"request-{next(numbers)}"


def _written(request: GoldenRequest, folder: Path) -> Path:
    try:
        folder.mkdir(exist_ok=True)
        path = write_golden(request, folder)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    if path is None:
        raise UsageError(
            f"{folder} has a request '{request.name}' already: remove it, or choose another --name"
        )
    return path


def _report(path: Path, answer: InferAnswer, *, as_json: bool) -> None:
    if as_json:
        write_json({"file": str(path), "model_name": answer.model, "model_version": answer.version})
        return
    outputs = ", ".join(f"{one.name} {shape(one.array.shape)}" for one in answer.outputs)
    write(f"{path}: {answer.model} version {answer.version} answers {outputs}")
