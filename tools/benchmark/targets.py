"""Start what is measured, as processes of their own, and read their CPU time."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CONFIG = """name: "identity"
backend: "onnxruntime"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
instance_group { count: 1 kind: KIND_CPU }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


@dataclass(slots=True)
class Target:
    """A server that is measured: where it listens and which process it is."""

    name: str
    address: str
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds of the process, its threads and its children that are still there."""
        return sum(_cpu_of(pid) for pid in [self.pid, *_descendants(self.pid)])


def _cpu_of(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return 0.0
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            found += [int(child), *_descendants(int(child))]
    return found


def write_identity(repository: Path) -> None:
    """Write the model that both sides serve: x [-1] FP32 goes in and comes out."""
    tensor = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "identity", tensor[:1], tensor[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (repository / "identity" / "1").mkdir(parents=True)
    (repository / "identity" / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
    onnx.save(model, repository / "identity" / "1" / "model.onnx")


@contextmanager
def echo() -> Iterator[Target]:
    """The bare grpc.aio echo, with glibc's defaults."""
    command = [sys.executable, str(Path(__file__).with_name("echo_server.py"))]
    with _process(command, {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Target("grpc.aio echo", f"127.0.0.1:{port}", process.pid)


@contextmanager
def interlock(*flags: str, python: str = sys.executable) -> Iterator[Target]:
    """This server, on the identity model."""
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
        repository = Path(folder) / "models"
        write_identity(repository)
        command = [
            python, "-m", "interlock", f"--model-repository={repository}",
            "--grpc-address=127.0.0.1", "--grpc-port=0", *flags,
        ]  # fmt: skip
        yield from started(
            "interlock",
            command,
            folder=Path(folder),
            pattern=r"Started GRPCInferenceService at (\S+:\d+)",
            environment={"PYTHONPATH": f"{ROOT / 'service'}:{ROOT / 'agents'}"},
        )


def started(
    name: str,
    command: list[str],
    *,
    folder: Path,
    pattern: str,
    environment: dict[str, str],
) -> Iterator[Target]:
    """Start a server whose log says where it listens; end it afterwards."""
    log = folder / "log"
    with (
        log.open("wb") as output,
        _process(command, environment, stdout=output, stderr=output) as process,
    ):
        yield Target(name, _wait_for(process, log, pattern), process.pid)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _wait_for(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Wait for a line of the log; raise with the log's end where the process ends first."""
    while True:
        ended = process.poll() is not None
        text = log.read_text(encoding="utf-8", errors="replace")
        if match := re.search(pattern, text):
            return match[1]
        if ended:
            raise RuntimeError(f"the server ended before it was ready:\n{text[-2000:]}")
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], **streams: object
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # type: ignore[call-overload]  # streams are passed through
        command, env=os.environ | environment, **streams
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
