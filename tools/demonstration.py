"""Serve the examples, classify one handwritten digit, replace the model while clients ask.

The second half of `tools/quickstart`, inside .venv. The server is a process of its own, as
anybody would start it; everything that is said about it comes over the wire.
"""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

import grpc

from interlock.pb import grpc_service_pb2 as pb, health_pb2
from tools.environment import ROOT
from tools.progress import Line, duration
from tools.quickstart import HOST, parser
from tools.takeover import take_over

EXAMPLES: Final = ROOT / "examples"
SIDE: Final = 8
INK: Final = 16.0
CLASSES: Final = 3
LISTENING: Final = "Listening on "
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 40.0
LOOK_EVERY_S: Final = 0.1
TAKEOVER_WITHIN_S: Final = 30.0
NEXT_VERSION: Final = "2"
POLLING: Final = (
    "--model-control-mode=poll",
    "--repository-poll-secs=1",
    "--repository-settle-secs=0.5",
)

Shades = Sequence[str]


class DemonstrationError(Exception):
    """What went wrong, in words for whoever started it."""


@dataclass(frozen=True, slots=True)
class Digit:
    """One of the example images, and what the model should say of it."""

    examples: Path
    number: int

    @property
    def array_file(self) -> Path:
        return self.examples / "images" / f"digit-{self.number}.npy"

    @property
    def next_version(self) -> Path:
        """A version of the model that is not served yet."""
        return self.examples / "next" / "digits" / NEXT_VERSION

    @property
    def image(self) -> bytes:
        return self.array_file.with_suffix(".f32").read_bytes()

    @property
    def pixels(self) -> Sequence[float]:
        return struct.unpack(f"<{SIDE * SIDE}f", self.image)

    @property
    def label(self) -> str:
        labels = self.examples / "repository" / "digits" / "labels.txt"
        return labels.read_text(encoding="utf-8").split()[self.number]


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the best classes. `label` is from the model's label file."""

    probability: float
    label: str


class Server:
    """The server's process and its log, which is kept in a file that has no name."""

    def __init__(self, repository: Path, port: int) -> None:
        command = [sys.executable, "-m", "interlock", "serve"]
        flags = [f"--model-repository={repository}", f"--grpc-address={HOST}"]
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [*command, *flags, f"--grpc-port={port}", *POLLING],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us; we tell the server ourselves.
            start_new_session=True,
        )

    def log(self) -> list[str]:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace").splitlines()

    def check_alive(self) -> None:
        """Raise `DemonstrationError` with the last words of a server that has ended."""
        if (code := self._process.poll()) is not None:
            last = "\n".join(f"  {line}" for line in self.log()[-12:])
            raise DemonstrationError(
                f"the server ended with exit code {code}; its log ends:\n{last}"
            )

    def address(self) -> str:
        """Where it listens, as its log says; "" before it does."""
        found = [line.partition(LISTENING)[2] for line in self.log() if LISTENING in line]
        return found[0].split()[0] if found else ""

    def wait(self) -> None:
        """Return when it has ended by itself."""
        while self._process.poll() is None:
            pause()

    def stop(self) -> int:
        """Let what is in flight finish, and return the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise DemonstrationError("the server did not stop") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # No server stays behind, whatever happened; one that has ended is not touched.
        self._process.kill()
        self._process.wait()
        self._log.close()


class Interrupts:
    """Remembers that somebody asked us to stop: Ctrl-C, or a signal that means the same.

    Nothing is raised out of a handler: it could come between a lock and its release.
    """

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


interrupts: Final = Interrupts()


def pause() -> None:
    """Wait a moment. Raise KeyboardInterrupt if somebody asked us to stop."""
    time.sleep(LOOK_EVERY_S)
    if interrupts.asked:
        raise KeyboardInterrupt


def wait_until_ready(server: Server, line: Line) -> grpc.Channel:
    """Return a channel to the server once its health says SERVING."""
    deadline = time.monotonic() + START_TIMEOUT_S
    channel: grpc.Channel | None = None
    while time.monotonic() < deadline:
        server.check_alive()
        if channel is None and (address := server.address()):
            channel = grpc.insecure_channel(address)
        if channel is not None and is_serving(channel):
            return channel
        line.update("")
        pause()
    raise DemonstrationError(f"the server was not ready within {duration(START_TIMEOUT_S)}")


def is_serving(channel: grpc.Channel) -> bool:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        answer = check(health_pb2.HealthCheckRequest(), timeout=1)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def infer(channel: grpc.Channel, image: bytes) -> pb.ModelInferResponse:
    """Send the pixels as they lie in the file. Raise grpc.RpcError where that is refused."""
    request = pb.ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=[1, SIDE * SIDE])
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = CLASSES
    request.raw_input_contents.append(image)
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    answer: pb.ModelInferResponse = call(request, timeout=10)
    return answer


def classify(channel: grpc.Channel, image: bytes) -> list[Guess]:
    """Return the best classes of an image, best first."""
    try:
        answer = infer(channel, image)
    except grpc.RpcError as error:
        raise DemonstrationError(f"the server refused the digit: {error}") from error
    return guesses(answer.raw_output_contents[0])


def guesses(contents: bytes) -> list[Guess]:
    """Read a BYTES tensor: before each string its length, in each value:index:label."""
    found = []
    position = 0
    while position < len(contents):
        (length,) = struct.unpack_from("<I", contents, position)
        text = contents[position + 4 : position + 4 + length].decode()
        value, _, label = text.split(":", 2)
        found.append(Guess(float(value), label))
        position += 4 + length
    return found


def drawing(pixels: Sequence[float], shades: Shades) -> str:
    """Draw 8x8 pixels, each two columns wide, in a frame."""
    rows = [pixels[start : start + SIDE] for start in range(0, len(pixels), SIDE)]
    darkest = len(shades) - 1
    lines = ["".join(2 * shades[round(ink / INK * darkest)] for ink in row) for row in rows]
    edge = f"    +{'-' * 2 * SIDE}+"
    return "\n".join([edge, *(f"    |{line}|" for line in lines), edge])


def shades_for(encoding: str) -> Shades:
    """Return paper to ink in characters that this output can show."""
    try:
        "░▒▓█".encode(encoding)
    except UnicodeEncodeError:
        return " .:*#"
    return " ░▒▓█"


def table(best: Sequence[Guess]) -> str:
    return "\n".join(
        f"    {guess.label:<6} {guess.probability:7.2%}  {'#' * round(40 * guess.probability)}"
        for guess in best
    )


def grpcurl_call(pixels: Sequence[float], address: str) -> str:
    """Return the same request for a shell, with the numbers themselves."""
    request = {
        "model_name": "digits",
        "inputs": [
            {
                "name": "image",
                "datatype": "FP32",
                "shape": [1, SIDE * SIDE],
                "contents": {
                    "fp32_contents": [int(ink) if ink.is_integer() else ink for ink in pixels]
                },
            }
        ],
        "outputs": [
            {"name": "probabilities", "parameters": {"classification": {"int64_param": CLASSES}}}
        ],
    }
    data = json.dumps(request, separators=(",", ":"))
    method = "inference.GRPCInferenceService/ModelInfer"
    return f"grpcurl -plaintext -d '{data}' {address} {method}"


def python_call(image: Path, address: str) -> str:
    """Return the same request for Python, with Triton's own client."""
    return f"""\
import numpy as np
import tritonclient.grpc as triton
image = triton.InferInput("image", [1, {SIDE * SIDE}], "FP32")
image.set_data_from_numpy(np.load({str(image)!r}))
top = triton.InferRequestedOutput("probabilities", class_count={CLASSES})
answer = triton.InferenceServerClient({address!r}).infer("digits", [image], outputs=[top])
print(answer.as_numpy("probabilities"))"""


def command_call(image: Path, address: str) -> str:
    """Return the same request for the command that is installed already."""
    command = Path(sys.executable).with_name("interlock")
    return f"{command} infer digits image=@{image} --classes {CLASSES} --server {address}"


def further_calls(digit: Digit, address: str) -> str:
    return f"""
Ask it yourself. With what is installed already:

{command_call(digit.array_file, address)}

with grpcurl (https://github.com/fullstorydev/grpcurl); the answer's contents are base64:

grpcurl -plaintext {address} list
{grpcurl_call(digit.pixels, address)}

and in Python (pip install "tritonclient[grpc]"):

{python_call(digit.array_file, address)}
"""


def demonstrate(server: Server, digit: Digit, repository: Path, *, patience_s: float) -> bool:
    """Show one digit and its answer, then the takeover; return whether all was as it must be."""
    line = Line("starting the server")
    with wait_until_ready(server, line) as channel:
        line.end(duration(line.seconds))
        line = Line(f"sending a handwritten {digit.number}")
        best = classify(channel, digit.image)
        line.end(duration(line.seconds))
        print(f"\n{drawing(digit.pixels, shades_for(sys.stdout.encoding))}\n\n{table(best)}\n")
        is_right = best[0].label == digit.label
        wrong = f"The server is wrong: that is {digit.label}."
        print("The server is right." if is_right else wrong)
        return show_takeover(channel, digit, repository, patience_s=patience_s) and is_right


def show_takeover(
    channel: grpc.Channel, digit: Digit, repository: Path, *, patience_s: float
) -> bool:
    """Copy the next version into the repository while clients ask; return whether none noticed."""
    print(f"\nNow version {NEXT_VERSION} of the model is copied into the folder, slowly.\n")
    line = Line("asking without pause meanwhile")

    def ask() -> int:
        return int(infer(channel, digit.image).model_version)

    def pause_and_tell() -> None:
        pause()
        line.update("")

    seen = take_over(
        digit.next_version,
        repository / "digits",
        ask,
        pause=pause_and_tell,
        within_s=patience_s,
    )
    line.end(duration(line.seconds))
    if seen is None:
        raise DemonstrationError(
            f"version {NEXT_VERSION} did not take over within {duration(patience_s)}: "
            f"{reason_of(channel, NEXT_VERSION)}"
        )
    print(f"\n{seen.table()}\n")
    print("\n".join(sorted(set(seen.failures))) or "No client noticed.")
    return not seen.failures


def reason_of(channel: grpc.Channel, version: str) -> str:
    """Return what the server says of a version of the model."""
    index = channel.unary_unary(
        "/inference.GRPCInferenceService/RepositoryIndex",
        request_serializer=pb.RepositoryIndexRequest.SerializeToString,
        response_deserializer=pb.RepositoryIndexResponse.FromString,
    )
    rows = index(pb.RepositoryIndexRequest(), timeout=10).models
    reasons = [row.reason for row in rows if (row.name, row.version) == ("digits", version)]
    return "".join(reasons) or "the server knows nothing of it"


def run(digit: Digit, port: int, *, stop_after: bool, patience_s: float = TAKEOVER_WITHIN_S) -> int:
    with tempfile.TemporaryDirectory(prefix="interlock-quickstart-") as folder:
        # A copy of the examples: what happens to it here is not to last.
        repository = Path(folder, "repository")
        shutil.copytree(digit.examples / "repository", repository)
        with Server(repository, port) as server:
            is_good = demonstrate(server, digit, repository, patience_s=patience_s)
            if not stop_after:
                print(further_calls(digit, server.address()))
                print(f"The server follows whatever you do to {repository}.")
                wait_for_interrupt(server)
            code = server.stop()
    if code != 0:
        raise DemonstrationError(f"the server ended with exit code {code}")
    return 0 if is_good else 1


def wait_for_interrupt(server: Server) -> None:
    """Return when somebody asks us to stop. Raise `DemonstrationError` if the server ends first."""
    print(f"Serving on {server.address()} until Ctrl-C.", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        print("\nStopping.", flush=True)
    else:
        server.check_alive()


def main(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(arguments)
    # Whoever stops us by a signal gets no server left behind either.
    interrupts.listen()
    try:
        return run(Digit(EXAMPLES, chosen.digit), chosen.grpc_port, stop_after=chosen.exit)
    except DemonstrationError as error:
        print(f"\nerror: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
