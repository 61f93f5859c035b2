"""Classify a digit with bare generated stubs. Arguments: address, image; both may be left out."""

import sys
from pathlib import Path

import grpc
import grpc_service_pb2 as pb
from grpc_service_pb2_grpc import GRPCInferenceServiceStub

SEVEN = Path(__file__).parents[2] / "images" / "digit-7.f32"


def main(address: str = "localhost:8001", path: str | Path = SEVEN) -> None:
    request = pb.ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=[1, 64])
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    request.raw_input_contents.append(Path(path).read_bytes())
    with grpc.insecure_channel(address) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    # A BYTES tensor of one element: four bytes of length, then value:index:label.
    text = answer.raw_output_contents[0][4:].decode()
    probability, _, label = text.split(":", 2)
    print(f"digit: {label} ({probability})")


if __name__ == "__main__":
    main(*sys.argv[1:])
