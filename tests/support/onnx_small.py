"""Small ONNX graphs, as the bytes of a model file."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

# Old enough for every ONNX Runtime that we allow.
OPSET: Final = 17
IR_VERSION: Final = 8

ELEMENT_TYPES: Final[Mapping[str, int]] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

Shape = Sequence[int | str]


def identity(datatype: str, shape: Shape = ("n",)) -> bytes:
    """`x` to `y`, unchanged."""
    return _model(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": (datatype, shape)},
        outputs={"y": (datatype, shape)},
    )


def add_constant(constant: float, shape: Shape = ("n",)) -> bytes:
    """`y` = `x` + `constant`, in FP32."""
    return _model(
        [helper.make_node("Add", ["x", "constant"], ["y"])],
        inputs={"x": ("FP32", shape)},
        outputs={"y": ("FP32", shape)},
        constants=[helper.make_tensor("constant", TensorProto.FLOAT, [], [constant])],
    )


def add_weights(count: int) -> bytes:
    """`y` = `x` + `count` weights of 4 bytes: a model that takes memory."""
    weights = bytes(4 * count)
    return _model(
        [helper.make_node("Add", ["x", "weights"], ["y"])],
        inputs={"x": ("FP32", (count,))},
        outputs={"y": ("FP32", (count,))},
        constants=[helper.make_tensor("weights", TensorProto.FLOAT, [count], weights, raw=True)],
    )


def marked(constant: float, *, is_right: bool = True, ballast_bytes: int = 4096) -> bytes:
    """`y` = `x` + `constant` and `twice` = 2 `x`, or half more where it is not right.

    `constant` tells files apart, `twice` right ones from wrong ones. The ballast differs
    from file to file and is of use to nobody; ONNX Runtime cannot know that.
    """
    ballast = np.random.default_rng(abs(int(constant))).random(ballast_bytes // 4, np.float32)
    ballast[: len(ballast) // 2] = 0.0
    return _model(
        [
            helper.make_node("Size", ["x"], ["length"]),
            helper.make_node("Gather", ["ballast", "length"], ["nothing"]),
            helper.make_node("Add", ["x", "constant"], ["sum"]),
            helper.make_node("Add", ["sum", "nothing"], ["y"]),
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("Add", ["double", "error"], ["twice"]),
        ],
        inputs={"x": ("FP32", ("n",))},
        outputs={"y": ("FP32", ("n",)), "twice": ("FP32", ("n",))},
        constants=[
            helper.make_tensor("constant", TensorProto.FLOAT, [], [constant]),
            helper.make_tensor("error", TensorProto.FLOAT, [], [0.0 if is_right else 0.5]),
            numpy_helper.from_array(ballast, "ballast"),
        ],
    )


def sum_and_difference(shape: Shape = ("n",)) -> bytes:
    """`sum` = `a` + `b` and `difference` = `a` - `b`, in INT32."""
    return _model(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        inputs={"a": ("INT32", shape), "b": ("INT32", shape)},
        outputs={"sum": ("INT32", shape), "difference": ("INT32", shape)},
    )


def fails_on_odd_lengths() -> bytes:
    """`x` in two columns: a run with an odd number of elements fails."""
    return _model(
        [helper.make_node("Reshape", ["x", "columns"], ["y"])],
        inputs={"x": ("FP32", ("n",))},
        outputs={"y": ("FP32", ("rows", "columns_out"))},
        constants=[helper.make_tensor("columns", TensorProto.INT64, [2], [-1, 2])],
    )


def add_array(weights: NDArray[np.float32]) -> bytes:
    """`y` = `x` + `weights`, which lie in the file."""
    graph = onnx.load_model_from_string(add_constant(0.0, (weights.size,)))
    constant = graph.graph.initializer[0]
    constant.CopyFrom(numpy_helper.from_array(weights, constant.name))
    content: bytes = graph.SerializeToString()
    return content


def external(weights: NDArray[np.float32]) -> tuple[bytes, bytes]:
    """Return a graph that adds `weights`, which lie in `weights.bin`, and that file."""
    graph = onnx.load_model_from_string(add_array(weights))
    tensor = graph.graph.initializer[0]
    external_data_helper.set_external_data(tensor, "weights.bin")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return graph.SerializeToString(), content


def _model(
    nodes: Sequence[Any],
    *,
    inputs: Mapping[str, tuple[str, Shape]],
    outputs: Mapping[str, tuple[str, Shape]],
    constants: Sequence[Any] = (),
) -> bytes:
    graph = helper.make_graph(
        nodes, "small", _infos(inputs), _infos(outputs), initializer=list(constants)
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    serialized: bytes = model.SerializeToString()
    return serialized


def _infos(tensors: Mapping[str, tuple[str, Shape]]) -> list[Any]:
    return [
        helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], list(shape))
        for name, (datatype, shape) in tensors.items()
    ]
