"""Open `.onnx` files: find the file, build the session, say what the graph declares."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import onnxruntime as ort
import structlog

from interlock.backends.base import BackendOptions, VersionFiles
from interlock.backends.onnxruntime.instance import OnnxInstance, ServedOutput, TensorPlan
from interlock.backends.onnxruntime.parameters import OnnxParameters, read_parameters
from interlock.backends.onnxruntime.session import (
    Pools,
    open_session,
    run_options,
    session_options,
    share_pool,
    usable_cores,
)
from interlock.backends.onnxruntime.tensors import facts_of
from interlock.domain.config import ModelConfig, ModelFacts, TensorFacts
from interlock.domain.errors import InvalidRequestError, UnavailableError

log = structlog.get_logger()

DEFAULT_FILENAME: Final = "model.onnx"


class OnnxRuntimeBackend:
    """The runtime on this machine's CPU. Any thread of the load pool opens models with it."""

    def __init__(
        self, options: BackendOptions, *, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._now_ns = now_ns
        self._pools = _pools(options)

    @property
    def name(self) -> str:
        return "onnxruntime"

    def open(self, files: VersionFiles, config: ModelConfig) -> "OnnxModel":
        """Open the version's model file.

        Raise UnavailableError where there is none, InvalidRequestError for bad parameters,
        InternalError for what the runtime refuses.
        """
        parameters = read_parameters(config)
        path = _model_file(files, config)
        libraries = [_op_library(name, files) for name in config.op_library_filenames]
        weights = _beside(path, files) if files.is_linked else {}
        options = session_options(parameters, self._pools)
        session = open_session(path, options, libraries, weights)
        return OnnxModel(session, _facts(session, config), parameters, self._now_ns)


class OnnxModel:
    """One version's session, shared by all of its instances: it takes several runs at once."""

    def __init__(
        self,
        session: ort.InferenceSession,
        facts: ModelFacts,
        parameters: OnnxParameters,
        now_ns: Callable[[], int],
    ) -> None:
        self._session = session
        self._facts = facts
        self._parameters = parameters
        self._now_ns = now_ns

    @property
    def facts(self) -> ModelFacts | None:
        return self._facts

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> OnnxInstance:  # noqa: ARG002 - the contract
        return OnnxInstance(
            self._session,
            _plan(self._facts, config),
            name=name,
            options=run_options(self._parameters),
            now_ns=self._now_ns,
        )

    def close(self) -> None:
        del self._session


def _pools(options: BackendOptions) -> Pools:
    """Return where sessions get their threads; sizes the shared pool if it is asked for."""
    if options.get("enable-global-threadpool", "0").lower() not in ("1", "true"):
        return Pools(usable_cores())
    intra, inter = (
        _thread_count(options, key) for key in ("intra_op_thread_count", "inter_op_thread_count")
    )
    share_pool(intra or usable_cores(), inter or 1)
    return Pools(usable_cores(), shared=True)


def _thread_count(options: BackendOptions, key: str) -> int:
    text = options.get(key, "0")
    if not text.isdecimal():
        raise InvalidRequestError(
            f"--backend-config=onnxruntime,{key}={text}: must be a number of threads, 0 or more"
        )
    return int(text)


def _model_file(files: VersionFiles, config: ModelConfig) -> Path:
    name = config.default_model_filename or DEFAULT_FILENAME
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise InvalidRequestError(
            f"unable to load model '{config.name}', default_model_filename '{name}' is outside "
            "the version's directory"
        )
    path = files.version_directory / relative
    try:
        if path.is_dir():
            path /= DEFAULT_FILENAME
        found = path.is_file()
        if found:
            path.open("rb").close()  # the runtime would give the number of the error alone
    except OSError as error:
        raise UnavailableError(
            f"unable to read '{path}' for model instance '{config.name}': {error.strerror}"
        ) from error
    if not found:
        raise UnavailableError(f"unable to find '{path}' for model instance '{config.name}'")
    return path


def _beside(path: Path, files: VersionFiles) -> Mapping[str, Path]:
    """Return what the graph may keep outside of its file, by the names that it has there.

    Raise UnavailableError where it cannot be listed.
    """
    folder = path.parent
    try:
        found = sorted(one for one in folder.rglob("*") if one != path and one.is_file())
        return {str(one.relative_to(folder)): one for one in found if one.stat().st_size}
    except OSError as error:
        raise UnavailableError(
            f"unable to list '{files.version_directory}': {error.strerror}"
        ) from error


def _op_library(name: str, files: VersionFiles) -> str:
    """Return a library of operators: from the model's own folders, else as the system finds it."""
    for directory in (files.version_directory, files.model_directory):
        if (directory / name).is_file():
            return str(directory / name)
    return name


def _facts(session: ort.InferenceSession, config: ModelConfig) -> ModelFacts:
    """Return the graph's tensors.

    An input with a default value in the graph is one only if the configuration names it.
    An output that the protocol cannot carry is left out: the others can still be served.
    """
    named = {tensor.name for tensor in config.inputs}
    nodes = list(session.get_inputs())
    nodes += [node for node in session.get_overridable_initializers() if node.name in named]
    inputs = [_input_facts(node, config) for node in nodes]
    return ModelFacts(tuple(inputs), tuple(_output_facts(session.get_outputs(), config)))


def _input_facts(node: ort.NodeArg, config: ModelConfig) -> TensorFacts:
    facts = facts_of(node)
    if facts is None:
        raise InvalidRequestError(
            f"unable to load model '{config.name}', input '{node.name}' of the graph has type "
            f"{node.type}, which the protocol cannot carry"
        )
    return facts


def _output_facts(nodes: Sequence[ort.NodeArg], config: ModelConfig) -> list[TensorFacts]:
    found = []
    for node in nodes:
        facts = facts_of(node)
        if facts is None:
            log.warning(
                "output cannot be served", model=config.name, output=node.name, type=node.type
            )
        else:
            found.append(facts)
    return found


def _plan(facts: ModelFacts, config: ModelConfig) -> TensorPlan:
    """Return the tensors to serve: those of the graph that the configuration has."""
    inputs = {tensor.name for tensor in config.inputs}
    # A configuration shows a scalar as one element, unless its reshape says otherwise.
    outputs = {tensor.name: (1,) if tensor.reshape is None else () for tensor in config.outputs}
    return TensorPlan(
        {tensor.name: tensor for tensor in facts.inputs if tensor.name in inputs},
        {
            tensor.name: ServedOutput(tensor.datatype, outputs[tensor.name])
            for tensor in facts.outputs
            if tensor.name in outputs
        },
    )
