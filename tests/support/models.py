"""Write model repositories for tests: folders, configurations, model files."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIG_TYPES: Final = {"BYTES": "TYPE_STRING"}
PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx"}


@dataclass(frozen=True, slots=True)
class Port:
    """One input and the output that goes with it, or one of the two where a name is given."""

    datatype: str = "FP32"
    dims: Sequence[int] = (-1,)
    optional: bool = False
    reshape: Sequence[int] | None = None
    labels: str = ""
    name: str = ""


class Repository:
    """A model repository that a test fills."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)

    def add(
        self,
        model: str,
        config: str,
        *,
        versions: Iterable[int] = (1,),
        files: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Write a model folder; `files` are relative to it. A second call overwrites.

        The first call puts it there in one step: whoever follows the repository never sees a
        half of it, however long the writing takes.
        """
        folder = self.root / model
        draft = folder if folder.exists() else self._draft(model)
        for version in versions:
            (draft / str(version)).mkdir(parents=True, exist_ok=True)
        draft.mkdir(parents=True, exist_ok=True)
        (draft / "config.pbtxt").write_text(config)
        for name, content in (files or {}).items():
            self._put(draft / name, content)
        if draft != folder:
            draft.rename(folder)
        return folder

    def replace(self, model: str, file: str, content: bytes) -> None:
        """Put a file there in one step."""
        self._put(self.root / model / file, content)

    def _put(self, path: Path, content: bytes) -> None:
        # Beside the model's folder: nothing half-written is ever part of the model.
        draft = self._draft(path.name)
        if path.parent.exists():
            draft.write_bytes(content)
            draft.rename(path)
        else:
            draft.mkdir(parents=True)
            (draft / path.name).write_bytes(content)
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(path.parent)

    def _draft(self, name: str) -> Path:
        return self.root / f".{name}-{next(self._numbers)}.draft"

    def identity(
        self,
        model: str,
        *ports: Port,
        max_batch_size: int = 0,
        instances: int = 1,
        parameters: Mapping[str, str] | None = None,
        versions: Iterable[int] = (1,),
        extra: str = "",
        files: Mapping[str, bytes] | None = None,
    ) -> Path:
        """A model of the built-in backend `identity`: INPUT<n> comes back as OUTPUT<n>."""
        ports = ports or (Port(),)
        lines = [
            'backend: "identity"',
            f"max_batch_size: {max_batch_size}",
            f"instance_group [{{ count: {instances} kind: KIND_CPU }}]",
            *(tensor("input", f"INPUT{index}", port) for index, port in enumerate(ports)),
            *(tensor("output", f"OUTPUT{index}", port) for index, port in enumerate(ports)),
            *(parameter(key, value) for key, value in (parameters or {}).items()),
            extra,
        ]
        return self.add(model, "\n".join(lines), versions=versions, files=files)

    def onnx(
        self,
        model: str,
        content: bytes,
        *,
        inputs: Sequence[Port] = (Port(name="x"),),
        outputs: Sequence[Port] = (Port(name="y"),),
        max_batch_size: int = 0,
        instances: int = 1,
        extra: str = "",
    ) -> Path:
        """A model of one ONNX file, version 1, that runs on one thread."""
        lines = [
            'backend: "onnxruntime"',
            f"max_batch_size: {max_batch_size}",
            f"instance_group [{{ count: {instances} kind: KIND_CPU }}]",
            parameter("intra_op_thread_count", "1"),
            *(tensor("input", port.name, port) for port in inputs),
            *(tensor("output", port.name, port) for port in outputs),
            extra,
        ]
        return self.add(model, "\n".join(lines), files={"1/model.onnx": content})


def tensor(kind: str, name: str, port: Port) -> str:
    data_type = CONFIG_TYPES.get(port.datatype, f"TYPE_{port.datatype}")
    fields = [f'name: "{name}"', f"data_type: {data_type}", f"dims: {numbers(port.dims)}"]
    if port.reshape is not None:
        fields.append(f"reshape {{ shape: {numbers(port.reshape)} }}")
    if port.optional and kind == "input":
        fields.append("optional: true")
    if port.labels and kind == "output":
        fields.append(f'label_filename: "{port.labels}"')
    return f"{kind} [{{ {' '.join(fields)} }}]"


def numbers(values: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, values))} ]"


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
