"""Put Triton itself and MLServer beside this server, each in an environment of its own.

The environments are made once, below `.venvs/`; the first run downloads some hundred
megabytes. Both serve the identity model through ONNX Runtime, one instance, one thread.
"""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tools.benchmark import targets

_ENVIRONMENTS = targets.ROOT / ".venvs"
_TRITON = ("nvidia-pytriton==0.7.0", "onnxruntime")
_MLSERVER = ("mlserver==1.7.1", "onnxruntime")

_SESSION = """
import onnxruntime

def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""

_TRITON_MODEL = (
    _SESSION
    + """
import os

import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.session = open_session(os.path.join(folder, "model.onnx"))

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            (y,) = self.session.run(["y"], {"x": x})
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", y)]))
        return responses
"""
)

_MLSERVER_MODEL = (
    _SESSION
    + """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Identity(MLModel):
    async def load(self):
        self.session = open_session(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        (y,) = self.session.run(["y"], {"x": x})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)]
        )
"""
)


def all_peers() -> list[AbstractContextManager[targets.Target]]:
    return [triton(), mlserver()]


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """Make a virtual environment once; return its folder."""
    folder = _ENVIRONMENTS / name
    done = folder / "complete"
    if not done.exists():
        targets.say(f"making {folder.relative_to(targets.ROOT)} for {packages[0]} ...")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(install, check=True)
        done.touch()
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def triton() -> Iterator[targets.Target]:
    """Triton 2.51 as its wheel carries it, with its Python backend."""
    environment = _environment("triton", _TRITON)
    packages = next(environment.glob("lib/python3.*/site-packages"))
    server = packages / "pytriton" / "tritonserver"
    with tempfile.TemporaryDirectory(prefix="interlock-triton-") as folder:
        backends = Path(folder) / "backends"
        shutil.copytree(server / "backends" / "python", backends / "python")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, backends / "python")
        models = Path(folder) / "models"
        targets.write_identity(models)
        config = models / "identity" / "config.pbtxt"
        config.write_text(config.read_text().replace("onnxruntime", "python"))
        (models / "identity" / "1" / "model.py").write_text(_TRITON_MODEL)
        libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        command = [
            str(server / "bin" / "tritonserver"), f"--model-repository={models}",
            f"--backend-directory={backends}", "--allow-http=false", "--allow-metrics=false",
            "--grpc-address=127.0.0.1", f"--grpc-port={_free_port()}",
        ]  # fmt: skip
        yield from targets.started(
            "triton 2.51 (python)",
            command,
            folder=Path(folder),
            pattern=r"Started GRPCInferenceService at ([\d.:]+)",
            environment={
                "LD_LIBRARY_PATH": libraries,
                "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            },
        )


@contextmanager
def mlserver() -> Iterator[targets.Target]:
    """MLServer with a runtime of ten lines around the same session."""
    environment = _environment("mlserver", _MLSERVER)
    with tempfile.TemporaryDirectory(prefix="interlock-mlserver-") as folder:
        targets.write_identity(Path(folder))
        (Path(folder) / "identity_runtime.py").write_text(_MLSERVER_MODEL)
        uri = Path(folder) / "identity" / "1" / "model.onnx"
        (Path(folder) / "model-settings.json").write_text(
            '{"name": "identity", "implementation": "identity_runtime.Identity",'
            f' "parameters": {{"uri": "{uri}"}}}}'
        )
        port = _free_port()
        (Path(folder) / "settings.json").write_text(
            f'{{"host": "127.0.0.1", "grpc_port": {port}, "http_port": {_free_port()},'
            f' "metrics_port": {_free_port()}, "parallel_workers": 0,'
            ' "grpc_max_message_length": -1}'
        )
        yield from targets.started(
            "mlserver 1.7.1",
            [str(environment / "bin" / "mlserver"), "start", folder],
            folder=Path(folder),
            pattern=r"gRPC server running on \S*?([\d.]+:\d+)",
            environment={"PYTHONPATH": folder},
        )
