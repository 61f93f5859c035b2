"""Write the repositories that the control plane is measured on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support import onnx_small
from tests.support.models import Port, Repository

VERSIONS: Final = (1, 2, 3)
ADDER: Final = "adder"
SMALL: Final = "small"
HEAVY: Final = "heavy"
HEAVY_WIDTH: Final = 256
LARGE: Final = ("large-inline", "large-external")
_HEAVY_STEPS: Final = 600
_LARGE_WIDTH: Final = 2500
_LARGE_STEPS: Final = 8
"""Of 25 MB each."""
_LATEST: Final = "version_policy { latest { num_versions: 1 } }\n"
_CONFIG: Final = 'backend: "onnxruntime"\n'
_ANY_ANSWER: Final = b'{"input": {"x": [0]}, "expect": {"y": [0]}, "tolerance": 1e9}'


def write_many(root: Path, models: int) -> Path:
    """Write so many small ONNX models of three versions each, of which the latest is served."""
    content = onnx_small.add_constant(1)
    for number in range(models):
        folder = root / f"model-{number:05}"
        for version in VERSIONS:
            (folder / str(version)).mkdir(parents=True)
            (folder / str(version) / "model.onnx").write_bytes(content)
        (folder / "config.pbtxt").write_text(_CONFIG + _LATEST, encoding="utf-8")
    return root


def add_adder(repository: Repository) -> None:
    """Add a model whose answer tells its file, and that is proven before each take-over.

    Its golden request runs, and is content with every answer.
    """
    repository.onnx(ADDER, onnx_small.add_constant(0))
    repository.replace(ADDER, "golden/any.json", _ANY_ANSWER)


def write_stall(root: Path) -> Path:
    """Write two models that are asked, and two of 200 MB that are loaded meanwhile.

    Of those that are asked one costs little more than the call, the other more than the
    call. The large ones hold their weights in the model's own file and beside it.
    """
    repository = Repository(root)
    repository.onnx(SMALL, onnx_small.add_constant(1))
    heavy = Port(name="x", dims=(-1, HEAVY_WIDTH)), Port(name="y", dims=(-1, HEAVY_WIDTH))
    content = _chain(HEAVY_WIDTH, [0] * _HEAVY_STEPS)
    repository.onnx(HEAVY, content, inputs=heavy[:1], outputs=heavy[1:])
    large = onnx.ModelProto.FromString(_chain(_LARGE_WIDTH, range(_LARGE_STEPS)))
    for name in LARGE:
        repository.add(name, _CONFIG)
    onnx.save(large, root / LARGE[0] / "1" / "model.onnx")
    onnx.save(
        large,
        root / LARGE[1] / "1" / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
    )
    return root


def _chain(width: int, weights: Sequence[int]) -> bytes:
    """Return a model that multiplies x [n, width] by these weights, one after the other."""
    generator = np.random.default_rng(0)
    matrices = [
        numpy_helper.from_array(
            generator.standard_normal((width, width), dtype=np.float32) / np.float32(width) ** 0.5,
            f"w{number}",
        )
        for number in sorted(set(weights))
    ]
    names = ["x", *(f"step{number}" for number in range(1, len(weights))), "y"]
    nodes = [
        helper.make_node("MatMul", [names[step], f"w{number}"], [names[step + 1]])
        for step, number in enumerate(weights)
    ]
    given, answer = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name in ("x", "y")
    )
    graph = helper.make_graph(nodes, "chain", [given], [answer], matrices)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", onnx_small.OPSET)],
        ir_version=onnx_small.IR_VERSION,
    )
    serialized: bytes = model.SerializeToString()
    return serialized
