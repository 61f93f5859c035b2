"""Send broken ModelInferRequests to a server and watch that it takes no harm.

Half of them by ModelInfer, half over streams. Afterwards the server must be alive, answer
a good request, and unload its models at once, which it cannot while a request of theirs
has not ended. No answer may show a traceback. The same seed makes the same messages.

    python -m tools.fuzz_wire --count 50000 --seed 1
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import (
    Client,
    Message,
    infer_request,
    raw_input,
    unload_everything,
)

UNARY: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
CALL_TIMEOUT_S: Final = 60.0
MESSAGES_PER_STREAM: Final = 25
CANCELLED_EVERY: Final = 20
TELLTALES: Final = ("Traceback", 'File "')

# Of ModelInferRequest: names, ids, parameters, inputs, outputs, raw data, and one unknown.
FIELD_NUMBERS: Final = (1, 2, 3, 4, 5, 6, 7, 19)
MODELS: Final = ("flat", "batched", "bytes", "graph", "nowhere", "")
DATATYPES: Final = ("FP32", "INT32", "INT8", "BOOL", "BYTES", "FP16", "BF16", "UINT64", "FP33", "")
PARAMETER_KEYS: Final = (
    "sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "custom", "",
    "triton_enable_empty_final_response", "triton_other", "classification",
    "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "headers",
)  # fmt: skip


class Generator:
    """Makes messages from a seed: good ones, wrong ones, broken ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self) -> bytes:
        """One message; one in nine is as a client would send it."""
        choose = self._random
        valid = (self._good if choose.random() < 0.5 else self._odd)().SerializeToString()
        breakers: Sequence[Callable[[bytes], bytes]] = (
            lambda data: data,
            lambda data: data,
            lambda data: data,
            self._flip_bytes,
            self._flip_bytes,
            self._truncate,
            self._insert_field,
            self._duplicate_part,
            self._lie_about_length,
            self._drop_part,
            self._swap_parts,
            lambda _: self._noise(),
            lambda data: self._flip_bytes(self._insert_field(data)),
            lambda data: self._truncate(self._duplicate_part(data)),
        )
        return choose.choice(breakers)(valid)

    def _good(self) -> Message:
        """A request that its model accepts."""
        choose = self._random
        request = pb.ModelInferRequest(id=str(choose.randrange(1000)))
        model = choose.choice(MODELS[:4])
        request.model_name = model
        rows = choose.randrange(1, 5)
        if model == "bytes":
            elements = [self._random.randbytes(choose.randrange(6)) for _ in range(rows)]
            request.inputs.add(name="INPUT0", datatype="BYTES", shape=[rows])
            data = b"".join(len(one).to_bytes(4, "little") + one for one in elements)
        else:
            shape = [rows, 2] if model == "batched" else [rows]
            name = "x" if model == "graph" else "INPUT0"
            request.inputs.add(name=name, datatype="FP32", shape=shape)
            data = bytes(4 * rows * (2 if model == "batched" else 1))
        request.raw_input_contents.append(data)
        return request

    def _odd(self) -> Message:
        """A message of the right schema with values that need not fit together."""
        choose = self._random
        request = pb.ModelInferRequest(
            model_name=choose.choice(MODELS),
            model_version=choose.choice(("", "1", "2", "-1", "abc", "99999999999999999999")),
            id=choose.choice(("", "id", "\N{SNOWMAN}" * 40)),
        )
        self._add_parameters(request.parameters)
        for _ in range(choose.choice((0, 1, 1, 1, 2, 5))):
            self._add_input(request)
        for _ in range(choose.choice((0, 0, 1, 2))):
            output = request.outputs.add(name=choose.choice(("OUTPUT0", "y", "O", "")))
            self._add_parameters(output.parameters)
        for _ in range(choose.choice((0, 1, 1, 2))):
            request.raw_input_contents.append(self._noise())
        return request

    def _add_input(self, request: Message) -> None:
        choose = self._random
        dimensions = (0, 1, 2, 4, 16, -1, -5, 1 << 31, 1 << 62, -(1 << 63))
        tensor = request.inputs.add(
            name=choose.choice(("INPUT0", "INPUT0", "x", "INPUT1", "")),
            datatype=choose.choice(DATATYPES),
            shape=choose.choices(dimensions, k=choose.choice((0, 1, 1, 2, 3))),
        )
        self._add_parameters(tensor.parameters)
        if choose.random() < 0.4:
            self._fill(tensor.contents)

    def _fill(self, contents: Message) -> None:
        choose = self._random
        contents.SetInParent()
        count = choose.choice((0, 1, 2, 4, 40))
        values: dict[str, Callable[[], Any]] = {
            "bool_contents": lambda: choose.random() < 0.5,
            "int_contents": lambda: choose.randrange(-(1 << 31), 1 << 31),
            "int64_contents": lambda: choose.randrange(-(1 << 63), 1 << 63),
            "uint_contents": lambda: choose.randrange(1 << 32),
            "uint64_contents": lambda: choose.randrange(1 << 64),
            "fp32_contents": lambda: choose.choice((0.5, float("inf"), float("nan"))),
            "fp64_contents": lambda: choose.choice((0.5, float("-inf"), float("nan"))),
            "bytes_contents": lambda: choose.randbytes(choose.randrange(9)),
        }
        for name in choose.sample(sorted(values), choose.choice((0, 1, 1, 1, 2))):
            getattr(contents, name).extend(values[name]() for _ in range(count))

    def _add_parameters(self, parameters: Message) -> None:
        choose = self._random
        for key in choose.sample(PARAMETER_KEYS, choose.choice((0, 0, 0, 1, 2))):
            entry = parameters[key]
            kind = choose.randrange(6)
            if kind == 0:
                entry.bool_param = choose.random() < 0.5
            elif kind == 1:
                entry.int64_param = choose.choice((0, 1, -1, 1 << 62))
            elif kind == 2:
                entry.string_param = choose.choice(("", "text", "x" * 200))
            elif kind == 3:
                entry.double_param = float("nan")
            elif kind == 4:
                entry.uint64_param = choose.randrange(1 << 64)

    # What breaks a message. ------------------------------------------------------------

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 3, 8, 40, 400)))

    def _place(self, data: bytes) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip_bytes(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 8))):
            if changed:
                changed[self._random.randrange(len(changed))] ^= self._random.randrange(1, 256)
        return bytes(changed)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _insert_field(self, data: bytes) -> bytes:
        """Put a field of a random number and wire type somewhere, between fields or inside."""
        choose = self._random
        tag = choose.choice(FIELD_NUMBERS) << 3 | choose.randrange(8)
        value = choose.choice((b"", b"\x00", b"\x05hello", b"\xff" * 9 + b"\x01", self._noise()))
        place = self._place(data)
        return data[:place] + varint(tag) + value + data[place:]

    def _duplicate_part(self, data: bytes) -> bytes:
        start, stop = sorted((self._place(data), self._place(data)))
        return data[:stop] + data[start:stop] * self._random.choice((1, 2, 20)) + data[stop:]

    def _lie_about_length(self, data: bytes) -> bytes:
        """Write a number where a length may stand."""
        lengths = (0, 1, 127, 128, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 35, (1 << 64) - 1)
        place = self._place(data)
        return data[:place] + varint(self._random.choice(lengths)) + data[place + 1 :]

    def _drop_part(self, data: bytes) -> bytes:
        start, stop = sorted((self._place(data), self._place(data)))
        return data[:start] + data[stop:]

    def _swap_parts(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[place:] + data[:place]


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@dataclass
class Findings:
    """What the answers were, and which of them must not be."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: str, text: str, message: bytes) -> None:
        with self.lock:
            self.answers[answer] += 1
            if any(telltale in text for telltale in TELLTALES):
                self.wrong.append(f"the answer shows code: {text!r} to {message.hex()}")
            if "internal error" in text or answer in {"UNKNOWN", "DEADLINE_EXCEEDED"}:
                self.wrong.append(f"the server broke: {answer} {text!r} to {message.hex()}")


def send_unary(channel: grpc.Channel, messages: Sequence[bytes], findings: Findings) -> None:
    call = channel.unary_unary(UNARY)
    for number, message in enumerate(messages, 1):
        if not number % CANCELLED_EVERY:
            call.future(message).cancel()
            findings.note("given up", "", message)
            continue
        try:
            call(message, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            findings.note(error.code().name, error.details(), message)
        else:
            findings.note("OK", "", message)


def send_streams(channel: grpc.Channel, messages: Sequence[bytes], findings: Findings) -> None:
    for start in range(0, len(messages), MESSAGES_PER_STREAM):
        part = messages[start : start + MESSAGES_PER_STREAM]
        answers = channel.stream_stream(STREAM)(iter(part), timeout=CALL_TIMEOUT_S)
        count = 0
        try:
            for count, answer in enumerate(answers, 1):
                text = pb.ModelStreamInferResponse.FromString(answer).error_message
                findings.note(
                    "error on a stream" if text else "OK on a stream", text, part[count - 1]
                )
        except grpc.RpcError as error:
            findings.wrong.append(f"a stream ended: {error.code().name} {error.details()}")
        if count != len(part):
            findings.wrong.append(f"{len(part)} messages on a stream got {count} answers")


def fuzz(address: str, messages: Sequence[bytes], threads: int) -> Findings:
    """Send everything, half of it over streams."""
    findings = Findings()
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        workers = [
            threading.Thread(
                target=send_streams if index % 2 else send_unary,
                args=(channel, messages[index::threads], findings),
            )
            for index in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return findings


def problems_afterwards(process: ServerProcess) -> Iterator[str]:
    """Whether the server is as it was: alive, working, holding nothing."""
    if process.exit_code is not None:
        yield f"the server has ended with {process.exit_code}"
        return
    with Client(process.address) as client:
        data = raw_input("INPUT0", bytes(4), datatype="FP32", shape=[1])
        request = infer_request("flat", data, id="after")
        if client.infer(request).id != "after":
            yield "a good request is answered wrongly"
        began = time.monotonic()
        try:
            unload_everything(client)
        except AssertionError as error:
            yield f"a model does not unload: {client.index()} {error}"
        print(f"unloaded within {time.monotonic() - began:.2f} s")
    for line in process.lines:
        if any(telltale in line for telltale in TELLTALES):
            yield f"the server's log shows code: {line}"
    if code := process.terminate():
        yield f"the server stopped with {code}"


def make_repository(root: Path) -> Repository:
    repository = Repository(root)
    repository.identity("flat")
    repository.identity("batched", Port("FP32", (2,)), max_batch_size=4, instances=2)
    repository.identity("bytes", Port("BYTES"))
    repository.onnx("graph", onnx_small.identity("FP32"))
    return repository


def run(transport: str, *, count: int, seed: int, threads: int) -> list[str]:
    """Fuzz a server of one transport; return what went wrong."""
    generator = Generator(seed)
    messages = [generator.message() for _ in range(count)]
    with tempfile.TemporaryDirectory(prefix="interlock-fuzz-") as folder:
        repository = make_repository(Path(folder))
        flags = [
            f"--model-repository={repository.root}",
            "--model-control-mode=explicit",
            "--load-model=*",
            f"--grpc-transport={transport}",
        ]
        process = ServerProcess.start(flags)
        try:
            began = time.monotonic()
            findings = fuzz(process.address, messages, threads)
            elapsed_s = time.monotonic() - began
            wrong = [*findings.wrong, *problems_afterwards(process)]
        finally:
            if process.exit_code is None:
                process.kill()
    answers = ", ".join(f"{number} {name}" for name, number in findings.answers.most_common())
    print(f"{transport}: {count} messages in {elapsed_s:.1f} s: {answers}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50_000, help="messages for each transport")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8, help="half of them use streams")
    parser.add_argument(
        "--transport", choices=("queue", "public", "both"), default="both", help="what to fuzz"
    )
    arguments = parser.parse_args()
    transports = ("queue", "public") if arguments.transport == "both" else (arguments.transport,)
    wrong: list[str] = []
    for transport in transports:
        try:
            found = run(
                transport, count=arguments.count, seed=arguments.seed, threads=arguments.threads
            )
        except (ServerProcessError, grpc.RpcError) as error:
            found = [f"the server was lost: {error}"]
        wrong += [f"{transport}: {one}" for one in found]
    for line in wrong[:20]:
        print(f"WRONG {line}", file=sys.stderr)
    print(f"{len(wrong)} things are wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
