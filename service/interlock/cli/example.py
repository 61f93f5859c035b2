"""`interlock example MODEL`: print a call of the model that runs unedited.

The tensors are of the smallest size that the model takes, and zero.
"""

import argparse
import base64
import json
import math
import shlex
from collections.abc import Sequence
from typing import Final

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import write, write_json
from interlock.cli.verb import DONE, SubParsers
from interlock.client.calls import INFERENCE, Client
from interlock.client.connection import Connection
from interlock.client.models import ModelMetadata, TensorMetadata, model_metadata
from interlock.domain.datatypes import BY_WIRE, BYTES

_METHOD: Final = f"{INFERENCE}/ModelInfer"
_TEXT: Final = b"hello"
_BF16: Final = "BF16"
_MAX_ELEMENTS: Final = 2000
"""More than that is not written into the command line: the system limits an argument's length."""


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers,
        "example",
        _example,
        summary="print a call of a model that can be pasted into a shell",
        timeout_s=30,
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--model-version", default="", metavar="VERSION")
    parser.add_argument("--language", choices=("grpcurl", "python"), default="grpcurl")


def _shape(tensor: TensorMetadata) -> list[int]:
    return [1 if size < 0 else size for size in tensor.shape]


def _count(tensor: TensorMetadata) -> int:
    return math.prod(_shape(tensor))


def _contents(tensor: TensorMetadata) -> dict[str, object]:
    field = BY_WIRE[tensor.datatype].contents_field
    element: object = 0
    if tensor.datatype == BYTES:
        element = base64.b64encode(_TEXT).decode()
    elif tensor.datatype == "BOOL":
        element = False
    return {field: [element] * _count(tensor)}


def _request(metadata: ModelMetadata, version: str, *, typed: bool) -> dict[str, object]:
    inputs = []
    for tensor in metadata.inputs:
        entry: dict[str, object] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": _shape(tensor),
        }
        if typed:
            entry["contents"] = _contents(tensor)
        inputs.append(entry)
    request: dict[str, object] = {"model_name": metadata.name, "inputs": inputs}
    if version:
        request["model_version"] = version
    return request


def _flags(connection: Connection) -> list[str]:
    flags: list[str] = []
    if not connection.encrypted:
        flags.append("-plaintext")
    for flag, value in (
        ("-cacert", connection.tls_ca),
        ("-cert", connection.tls_cert),
        ("-key", connection.tls_key),
        ("-servername", connection.tls_server_name),
    ):
        if value:
            flags += [flag, str(value)]
    for key, value in connection.headers:
        flags += ["-H", f"{key}: {value}"]
    return flags


def _raw_size_bytes(tensor: TensorMetadata) -> int:
    # An element of BYTES that is empty is four zero bytes: its length.
    return _count(tensor) * (BY_WIRE[tensor.datatype].size_bytes or 4)


def _piped(request: dict[str, object], sizes: Sequence[int], command: Sequence[str]) -> str:
    """Return a pipeline that makes the raw zeros when it runs; they may be megabytes."""
    request["raw_input_contents"] = ["@" for _ in sizes]
    form = json.dumps(request).replace("%", "%%").replace('"@"', '"%s"')
    zeros = " ".join(f"\"$(head -c {size} /dev/zero | base64 | tr -d '\\n')\"" for size in sizes)
    return f"printf {shlex.quote(form)} {zeros} |\n  {shlex.join((*command, '-d', '@'))}"


def grpcurl(metadata: ModelMetadata, version: str, connection: Connection) -> str:
    """Return a command for the shell; FP16, BF16 and large tensors travel raw."""
    flags = ["grpcurl", *_flags(connection)]
    where = [connection.target, _METHOD]
    typed = all(
        BY_WIRE[tensor.datatype].contents_field and _count(tensor) <= _MAX_ELEMENTS
        for tensor in metadata.inputs
    )
    request = _request(metadata, version, typed=typed)
    if typed:
        return shlex.join((*flags, "-d", json.dumps(request), *where))
    sizes = [_raw_size_bytes(tensor) for tensor in metadata.inputs]
    return _piped(request, sizes, (*flags, *where))


def _python_input(place: int, tensor: TensorMetadata) -> str:
    sizes = _shape(tensor)
    if tensor.datatype == BYTES:
        array = f"np.full({sizes}, {_TEXT!r}, dtype=object)"
    else:
        is_bf16 = tensor.datatype == _BF16
        dtype = "bfloat16" if is_bf16 else f'"{BY_WIRE[tensor.datatype].dtype.name}"'
        array = f"np.zeros({sizes}, dtype={dtype})"
    made = f"InferInput({json.dumps(tensor.name)}, {sizes}, {json.dumps(tensor.datatype)})"
    return f"inputs.append({made})\ninputs[{place}].set_data_from_numpy({array})"


def _python_arguments(connection: Connection) -> str:
    arguments = [json.dumps(connection.target)]
    if connection.encrypted:
        arguments.append("ssl=True")
    for name, value in (
        ("root_certificates", connection.tls_ca),
        ("private_key", connection.tls_key),
        ("certificate_chain", connection.tls_cert),
    ):
        if value:
            arguments.append(f"{name}={json.dumps(str(value))}")
    if connection.tls_server_name:
        option = ("grpc.ssl_target_name_override", connection.tls_server_name)
        arguments.append(f"channel_args=[{option!r}]")
    return ", ".join(arguments)


def python(metadata: ModelMetadata, version: str, connection: Connection) -> str:
    """Return a program for tritonclient."""
    arguments = [json.dumps(metadata.name), "inputs"]
    if version:
        arguments.append(f"model_version={json.dumps(version)}")
    if connection.headers:
        arguments.append(f"headers={dict(connection.headers)!r}")
    is_bf16 = any(tensor.datatype == _BF16 for tensor in metadata.inputs)
    lines = [
        "import numpy as np",
        *(["from ml_dtypes import bfloat16"] if is_bf16 else []),
        "from tritonclient.grpc import InferenceServerClient, InferInput",
        "",
        "inputs = []",
        *(_python_input(place, tensor) for place, tensor in enumerate(metadata.inputs)),
        "",
        f"with InferenceServerClient({_python_arguments(connection)}) as client:",
        f"    answer = client.infer({', '.join(arguments)})",
    ]
    for tensor in metadata.outputs:
        name = json.dumps(tensor.name)
        lines.append(f"print({name}, answer.as_numpy({name}))")
    return "\n".join(lines)


def _example(arguments: argparse.Namespace, client: Client) -> int:
    version: str = arguments.model_version
    metadata = model_metadata(client, arguments.model, version)
    make = python if arguments.language == "python" else grpcurl
    text = make(metadata, version, client.connection)
    if arguments.format == "json":
        write_json({"language": arguments.language, "example": text})
    else:
        write(text)
    return DONE
