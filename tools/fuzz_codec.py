#!/usr/bin/env python3
"""Put broken and unusual ModelInferRequests through our reader and admission, against protobuf.

Every message must be read as protobuf reads it, or be refused as protobuf refuses it; what
was read must be admitted, or refused with a ServiceError, and never end in anything else.

    tools/fuzz_codec.py --count 200000 --seed 1
"""

import argparse
import math
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "service")]

from interlock.domain.config import TensorConfig  # noqa: E402 the path comes first
from interlock.domain.datatypes import BY_WIRE, BYTES  # noqa: E402
from interlock.domain.errors import ServiceError  # noqa: E402
from interlock.frontend.admission import admit, is_costly  # noqa: E402
from interlock.frontend.request_codec import parse_request  # noqa: E402
from interlock.frontend.wire_format import MalformedMessageError  # noqa: E402
from interlock.pb import grpc_service_pb2 as pb  # noqa: E402
from interlock.serving.served_model import ServedModel  # noqa: E402
from tests.support.inference import model, served  # noqa: E402
from tests.support.wire_messages import DATATYPES, NAMES, MessageMaker  # noqa: E402
from tests.support.wire_oracle import difference  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50_000, help="how many messages")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same messages")
    options = parser.parse_args()
    random = Random(options.seed)
    maker = MessageMaker(random)
    models = [some_model(random) for _ in range(50)]
    outcomes: Counter[str] = Counter()
    begun = time.monotonic()
    for number in range(options.count):
        to = random.choice(models)
        message = maker.request() if number % 2 else fitting(to, random)
        if number % 4:
            message = maker.mutated(message)
        found = difference(message)
        if found is not None:
            sys.exit(f"message {number} of seed {options.seed} is read differently:\n{found}")
        outcomes[outcome(message, to, random)] += 1
    for name, count in outcomes.most_common():
        print(f"{count:9,}  {name}")
    print(f"{options.count:9,}  in {time.monotonic() - begun:.0f} s, no difference")
    return 0


def outcome(message: bytes, to: ServedModel, random: Random) -> str:
    """Return what became of a message; what is no ServiceError goes through and ends the run."""
    try:
        request, raw = parse_request(message)
        is_costly(request, raw, to)
        forwarded = {"x-tenant": "7"} if random.random() < 0.1 else {}
        admit(request, raw, to, forwarded=forwarded)
    except MalformedMessageError:
        return "no message"
    except ServiceError as error:
        return f"refused: {type(error).__name__}"
    return "admitted"


def fitting(to: ServedModel, random: Random) -> bytes:
    """A request that its model takes, whose data is mostly as long as it should be."""
    request = pb.ModelInferRequest(model_name=to.config.name, id="7")
    typed = random.random() < 0.3
    for tensor in to.config.inputs:
        shape = [random.randint(0, 3) for _ in tensor.dims]
        if to.config.max_batch_size:
            shape.insert(0, 2)
        elements = math.prod(shape)
        sent = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        field = BY_WIRE[tensor.datatype].contents_field
        if typed and field:
            value = b"ab" if tensor.datatype == BYTES else 1
            getattr(sent.contents, field).extend([value] * elements)
        else:
            element = bytes(BY_WIRE[tensor.datatype].size_bytes) or b"\2\0\0\0ab"
            request.raw_input_contents.append(element * elements)
    return request.SerializeToString()


def some_model(random: Random) -> ServedModel:
    """A model that takes few or many of the messages."""
    names = random.sample(NAMES, random.randint(0, 3))
    dims = (-1,) * random.randint(0, 2)
    inputs = [
        TensorConfig(name, random.choice(DATATYPES[:-1]), dims, optional=random.random() < 0.5)
        for name in names
    ]
    outputs = [TensorConfig(name, "FP32", (-1,)) for name in NAMES]
    return served(model(*inputs, outputs=outputs, max_batch_size=random.choice((0, 0, 4))))


if __name__ == "__main__":
    sys.exit(main())
