"""ONNX graphs for the tests of what runs them; the plain ones are in `onnx_small`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.support.onnx_small import ELEMENT_TYPES, IR_VERSION, OPSET, Shape


def graph(
    nodes: Sequence[Any],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """Any graph, as the bytes of a model file."""
    initializers = [
        numpy_helper.from_array(array, name) for name, array in (constants or {}).items()
    ]
    model: ModelProto = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, initializer=initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    serialized: bytes = model.SerializeToString()
    return serialized


def tensor(name: str, datatype: str = "FP32", shape: Shape | None = ("n",)) -> Any:
    """An input or output; a shape of None is a rank that the graph leaves open."""
    dims = None if shape is None else list(shape)
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], dims)


def write(version_directory: Path, model: bytes, name: str = "model.onnx") -> Path:
    version_directory.mkdir(parents=True, exist_ok=True)
    path = version_directory / name
    path.write_bytes(model)
    return path


def one_node(
    operator: str,
    datatype: str = "FP32",
    shape: Shape = ("n",),
    *,
    out: tuple[str, Shape | None] = ("FP32", None),
    constants: Mapping[str, NDArray[Any]] | None = None,
    **attributes: Any,
) -> bytes:
    """`y` = operator(`x`, constants)."""
    node = helper.make_node(operator, ["x", *(constants or {})], ["y"], **attributes)
    return graph(
        [node],
        inputs=[tensor("x", datatype, shape)],
        outputs=[tensor("y", *out)],
        constants=constants,
    )


def with_default(value: float = 5.0) -> bytes:
    """`y` = `x` + `bias`, whose value the graph has if nobody sends it."""
    return graph(
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        inputs=[tensor("x"), tensor("bias", shape=(1,))],
        outputs=[tensor("y")],
        constants={"bias": np.array([value], dtype=np.float32)},
    )


def with_optional() -> bytes:
    """`y` = `x`; `has` tells whether the optional input `o` came."""
    optional = helper.make_optional_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    )
    return graph(
        [
            helper.make_node("Identity", ["x"], ["y"]),
            helper.make_node("OptionalHasElement", ["o"], ["has"]),
        ],
        inputs=[tensor("x"), helper.make_value_info("o", optional)],
        outputs=[tensor("y"), tensor("has", "BOOL", ())],
    )


def with_sequence_output() -> bytes:
    """`y` = `x`, and an output `s` that is a list of tensors."""
    return graph(
        [
            helper.make_node("Identity", ["x"], ["y"]),
            helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        ],
        inputs=[tensor("x")],
        outputs=[
            tensor("y"),
            helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, ["n"]),
        ],
    )


def with_sequence_input() -> bytes:
    """`y` is the length of a list of tensors."""
    return graph(
        [helper.make_node("SequenceLength", ["x"], ["y"])],
        inputs=[helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["n"])],
        outputs=[tensor("y", "INT64", ())],
    )
