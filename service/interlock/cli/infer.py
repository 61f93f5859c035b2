"""`interlock infer MODEL NAME=VALUE...`: one request, its answer in the terminal."""

import argparse
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.output import finite, shape, table, write, write_json
from interlock.cli.verb import DONE, SubParsers, UsageError, nearest
from interlock.client.calls import Client
from interlock.client.infer import InferAnswer, InferCall, OutputArray, ParameterValue, infer
from interlock.client.models import ModelMetadata, TensorMetadata, model_metadata
from interlock.client.tensor_text import (
    Array,
    RawTensor,
    TensorText,
    TensorTextError,
    build,
    parse,
)

_EXAMPLES = """\
inputs:
  x=@digit.npy          array and shape from a NumPy file
  x=@digit.f32          the raw form: little-endian, row by row; shape from the model
  x[2,64]=@digits.f32   the same with this shape
  x=1,2.5,3             elements, with commas between them
  text[1]='a, b'        one element of BYTES, commas and all

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no server."""


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers, "infer", _infer, summary="send one request to a model", timeout_s=None
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("inputs", metavar="NAME=VALUE", nargs="*")
    parser.add_argument("--model-version", default="", metavar="VERSION")
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="only this; may be repeated"
    )
    parser.add_argument(
        "--classes", type=int, default=0, metavar="N", help="the best N classes of each output"
    )
    parser.add_argument("--id", default="", help="the id of the request")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a request parameter; may be repeated",
    )


def _parameter(text: str) -> tuple[str, ParameterValue]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"'{text}' is no parameter: write KEY=VALUE")
    if value in {"true", "false"}:
        return key, value == "true"
    for convert in (int, float):
        try:
            return key, convert(value)
        except ValueError:
            continue
    return key, value


def typed_inputs(texts: Iterable[str], metadata: ModelMetadata) -> list[RawTensor]:
    """Return the inputs that were typed as NAME=VALUE. Raise UsageError."""
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    try:
        return [_tensor(parse(text), inputs) for text in texts]
    except TensorTextError as error:
        raise UsageError(str(error)) from None


def _tensor(text: TensorText, inputs: Mapping[str, TensorMetadata]) -> RawTensor:
    tensor = inputs.get(text.name)
    if tensor is None:
        names = ", ".join(inputs) or "none"
        raise UsageError(
            f"the model has no input '{text.name}'{nearest(text.name, inputs)} (it has: {names})"
        )
    return build(text, tensor)


def _call(arguments: argparse.Namespace, metadata: ModelMetadata) -> InferCall:
    outputs: Sequence[str] = arguments.output
    if arguments.classes and not outputs:
        outputs = [tensor.name for tensor in metadata.outputs]
    return InferCall(
        model=arguments.model,
        version=arguments.model_version,
        id=arguments.id,
        inputs=typed_inputs(arguments.inputs, metadata),
        outputs=outputs,
        classes=arguments.classes,
        parameters=dict(map(_parameter, arguments.parameter)),
    )


def _text(element: object) -> str:
    if isinstance(element, bytes):
        return element.decode(errors="backslashreplace")
    return str(element)


def _plain(element: object) -> object:
    return _text(element) if isinstance(element, bytes) else finite(element)


def _classes(array: Array) -> str:
    """Return the classes of an output, best first; those of each row below one another."""
    fields = [_text(element).split(":", 2) for element in array.flat]
    rows = [(value, index, *label) for value, index, *label in fields]
    width = max(map(len, rows), default=2)
    head = ("VALUE", "CLASS", "LABEL")[:width]
    return table(head, [row + ("",) * (width - len(row)) for row in rows])


def _shown(output: OutputArray, *, classes: bool) -> str:
    if classes:
        return _classes(output.array)
    if output.datatype == "BYTES":
        return "\n".join(_text(element) for element in output.array.flat)
    return np.array2string(output.array, separator=", ")


def _write_text(answer: InferAnswer, *, classes: bool) -> None:
    write(f"{answer.model} version {answer.version}")
    for key, value in answer.parameters.items():
        write(f"{key}={value}")
    for output in answer.outputs:
        write(f"\n{output.name} {output.datatype} {shape(output.array.shape)}")
        write(_shown(output, classes=classes))


def _as_json(answer: InferAnswer) -> dict[str, object]:
    return {
        "model_name": answer.model,
        "model_version": answer.version,
        "id": answer.id,
        "parameters": dict(answer.parameters),
        "outputs": [
            {
                "name": output.name,
                "datatype": output.datatype,
                "shape": list(output.array.shape),
                "data": [_plain(element) for element in output.array.ravel().tolist()],
            }
            for output in answer.outputs
        ],
    }


def _infer(arguments: argparse.Namespace, client: Client) -> int:
    metadata = model_metadata(client, arguments.model, arguments.model_version)
    answer = infer(client, _call(arguments, metadata))
    if arguments.format == "json":
        write_json(_as_json(answer))
    else:
        _write_text(answer, classes=arguments.classes > 0)
    return DONE
