"""Make the `digits` example: two models, their configuration and labels, a scan of each digit.

The data are scikit-learn's digits, 1797 scans of 8x8 pixels from 0 (paper) to 16 (ink). A quarter
of them is held out: accuracy is measured on those, and the example images are taken from them.
What this writes is committed. `--check` says whether the committed files still belong together;
it does not compare the model's bytes, which depend on the libraries that trained it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
SEED: Final = 0
INK: Final = 16.0
WANTED_ACCURACY: Final = 0.97
SURE: Final = 0.9
HIDDEN: Final = {1: 64, 2: 128}
"""By version, how wide the network is."""
LABELS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CONFIG: Final = """\
# Reads one handwritten digit. Written, like the model, by tools/train_digits.py.
name: "digits"
backend: "onnxruntime"

# The axis of the batch is implied: clients send [rows, 64], up to 32 rows at a time.
max_batch_size: 32

# 8x8 pixels, row by row from the top, 0 for paper to 16 for ink. The model scales them itself.
input [
  {
    name: "image"
    data_type: TYPE_FP32
    dims: [ 64 ]
  }
]

# A client that asks for this output with the parameter `classification` gets the labels' names.
output [
  {
    name: "probabilities"
    data_type: TYPE_FP32
    dims: [ 10 ]
    label_filename: "labels.txt"
  }
]

# Too small a model to gain from a second instance or a second thread.
instance_group [
  {
    count: 1
    kind: KIND_CPU
  }
]
parameters {
  key: "intra_op_thread_count"
  value { string_value: "1" }
}
"""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Digits:
    """Scans as [rows, 64] with the digit that each one shows."""

    images: Floats
    labels: Labels


@dataclass(frozen=True, slots=True)
class Files:
    """Where the example lives below one folder."""

    root: Path

    def model(self, version: int) -> Path:
        """Version 1 is served from the start; the second lies ready to be copied beside it."""
        folder = "repository" if version == 1 else "next"
        return self.root / folder / "digits" / str(version) / "model.onnx"

    @property
    def texts(self) -> dict[Path, str]:
        """The files that are written as they stand here."""
        folder = self.root / "repository" / "digits"
        return {
            folder / "config.pbtxt": CONFIG,
            folder / "labels.txt": "\n".join(LABELS) + "\n",
        }

    def image(self, digit: int, suffix: str) -> Path:
        return self.root / "images" / f"digit-{digit}{suffix}"


def split_digits() -> tuple[Digits, Digits]:
    """Return the scans to learn from and the held-out ones; the same split every time."""
    data = load_digits()
    learn_images, test_images, learn_labels, test_labels = train_test_split(
        data.data.astype(np.float32), data.target, random_state=SEED, stratify=data.target
    )
    return Digits(learn_images, learn_labels), Digits(test_images, test_labels)


def train(digits: Digits, hidden: int) -> onnx.ModelProto:
    """Return the network as a plain graph: Div, Gemm, Relu, Gemm, Softmax.

    Built by hand because a converted classifier brings a second output, the label, and the
    nodes that compute it.
    """
    network = MLPClassifier(
        hidden_layer_sizes=(hidden,), alpha=0.3, max_iter=1000, random_state=SEED
    )
    network.fit(digits.images / INK, digits.labels)
    values = {"ink": np.array(INK)}
    for layer, (weights, bias) in enumerate(
        zip(network.coefs_, network.intercepts_, strict=True), start=1
    ):
        values |= {f"weights{layer}": weights, f"bias{layer}": bias}
    graph = helper.make_graph(
        nodes=[
            helper.make_node("Div", ["image", "ink"], ["scaled"]),
            helper.make_node("Gemm", ["scaled", "weights1", "bias1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "weights2", "bias2"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
        ],
        name="digits",
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 64])],
        outputs=[helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10])],
        initializer=[
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in values.items()
        ],
    )
    # Not the newest of either: older builds of ONNX Runtime should read the example too.
    model = helper.make_model(
        graph,
        producer_name="train_digits",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def probabilities(model: Path, images: Floats) -> Floats:
    """Return what the model in that file says: [rows, 10]."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    # The model has one output, and it is dense.
    return cast("Floats", session.run(["probabilities"], {"image": images})[0])


def write(files: Files) -> None:
    """Train, then write everything.

    A digit's image is the first held-out scan of it that is read right and without much doubt.
    """
    learn, held_out = split_digits()
    for version, hidden in HIDDEN.items():
        model = files.model(version)
        model.parent.mkdir(parents=True, exist_ok=True)
        model.write_bytes(train(learn, hidden).SerializeToString(deterministic=True))
    for path, text in files.texts.items():
        path.write_text(text, encoding="utf-8")
    answers = probabilities(files.model(1), held_out.images)
    files.image(0, ".npy").parent.mkdir(exist_ok=True)
    for digit in range(len(LABELS)):
        read_right = (held_out.labels == digit) & (answers[:, digit] >= SURE)
        image = held_out.images[read_right][:1]
        np.save(files.image(digit, ".npy"), image)
        files.image(digit, ".f32").write_bytes(image.astype("<f4").tobytes())


def faults(files: Files) -> list[str]:
    """Return what does not fit together among the files on disk; nothing if all is well."""
    _, held_out = split_digits()
    found = [
        f"{path} is not what this script writes"
        for path, text in files.texts.items()
        if path.read_text(encoding="utf-8") != text
    ]
    for version in HIDDEN:
        model = files.model(version)
        answers = probabilities(model, held_out.images).argmax(axis=1)
        accuracy = float((answers == held_out.labels).mean())
        print(f"version {version}: {accuracy:.2%} of {len(held_out.labels)} held-out scans")
        if accuracy <= WANTED_ACCURACY:
            found.append(f"{model} is right on {accuracy:.2%} only")
    for digit in range(len(LABELS)):
        found += image_faults(files, digit, held_out)
    return found


def image_faults(files: Files, digit: int, held_out: Digits) -> list[str]:
    """Return what is wrong with one digit's image: form, origin, the answer it gets."""
    path = files.image(digit, ".npy")
    image: Floats = np.load(path)
    if image.shape != (1, 64) or image.dtype != np.float32:
        return [f"{path} is {image.dtype} {image.shape}"]
    found = []
    if files.image(digit, ".f32").read_bytes() != image.astype("<f4").tobytes():
        found.append(f"{files.image(digit, '.f32')} has other pixels than {path.name}")
    if not (held_out.images[held_out.labels == digit] == image).all(axis=1).any():
        found.append(f"{path} is no held-out scan of a {digit}")
    for version in HIDDEN:
        answer = int(probabilities(files.model(version), image).argmax())
        if answer != digit:
            found.append(f"{path} is read as {answer} by version {version}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make or check the `digits` example.")
    parser.add_argument("--check", action="store_true", help="write nothing, check what is there")
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="default: %(default)s")
    options = parser.parse_args(arguments)
    files = Files(options.examples)
    if not options.check:
        write(files)
    found = faults(files)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
