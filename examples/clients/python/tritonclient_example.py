"""Classify a digit with Triton's own client. Arguments: address, image; both may be left out."""

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

SEVEN = Path(__file__).parents[2] / "images" / "digit-7.npy"


def main(address: str = "localhost:8001", path: str | Path = SEVEN) -> None:
    image = triton.InferInput("image", [1, 64], "FP32")
    image.set_data_from_numpy(np.load(path))
    top = triton.InferRequestedOutput("probabilities", class_count=1)
    with triton.InferenceServerClient(address) as client:
        answer = client.infer("digits", [image], outputs=[top], client_timeout=10)
    # One string per class asked for: value:index:label.
    text = answer.as_numpy("probabilities").item().decode()
    probability, _, label = text.split(":", 2)
    print(f"digit: {label} ({probability})")


if __name__ == "__main__":
    main(*sys.argv[1:])
