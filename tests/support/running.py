"""What runs requests in tests: a responder that remembers, a runner that does as told."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from interlock.backends.base import BatchResult, Outcome
from interlock.domain.config import ModelConfig
from interlock.domain.config_rules import configure
from interlock.domain.errors import ServiceError
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import Buffer, InputTensor, RequestedOutput
from interlock.serving.load_job import LoadJob

PATIENCE_S = 20.0


class RecordingResponder:
    """Remembers how its request ended; `on_send` may fail, or look at the world at that moment."""

    def __init__(self, on_send: Callable[[], None] | None = None) -> None:
        self.ended = False
        self.outcome: Outcome | None = None
        self._on_send = on_send
        self._done = threading.Event()

    def send(self, response: InferResponse) -> None:
        if self._on_send is not None:
            self._on_send()
        self._end(response)

    def fail(self, error: ServiceError) -> None:
        self._end(error)

    def wait(self) -> Outcome | None:
        assert self._done.wait(PATIENCE_S), "the request has not ended"
        return self.outcome

    def _end(self, outcome: Outcome) -> None:
        if not self.ended:
            self.ended = True
            self.outcome = outcome
            self._done.set()


class ScriptedRunner:
    """Answers with an empty response, or as `script` does; remembers the ids of the requests."""

    def __init__(
        self, script: Callable[[InferRequest], Outcome] | None = None, name: str = "m_0"
    ) -> None:
        self.name = name
        self.ran: list[str] = []
        self._script = script or (lambda request: InferResponse())

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        self.ran += [request.id for request in requests]
        outcomes = [self._script(request) for request in requests]
        return BatchResult(outcomes, 1_000, 1_010, 1_030, 1_060)


def request(
    *inputs: InputTensor, outputs: Sequence[str] = (), name: str = "", batch_size: int = 1
) -> InferRequest:
    """A request that passed admission."""
    return InferRequest(
        id=name,
        inputs=list(inputs),
        outputs=[RequestedOutput(name) for name in outputs],
        responder=RecordingResponder(),
        batch_size=batch_size,
    )


def unaligned(data: bytes, offset: int = 3) -> memoryview:
    """The bytes at an odd place inside a message, as they come from the wire."""
    return memoryview(b"\xff" * offset + data)[offset:]


def answer(of: InferRequest) -> Outcome | None:
    """Wait for the end of a request."""
    assert isinstance(of.responder, RecordingResponder)
    return of.responder.wait()


def outputs_of(outcome: Outcome | None) -> dict[str, tuple[str, tuple[int, ...], Buffer]]:
    assert isinstance(outcome, InferResponse), outcome
    return {
        output.name: (output.datatype, output.shape, bytes(output.data))
        for output in outcome.outputs
    }


def config_of(
    text: str, *, model: str = "m", entries: Sequence[str] = ("model.onnx",)
) -> ModelConfig:
    """The configuration that a config.pbtxt comes to."""
    return configure(
        text, model=model, path="config.pbtxt", first_entries=entries, auto_complete=True
    )


def job_of(directory: Path, config: ModelConfig, *, version: int = 1) -> LoadJob:
    key = GenerationKey(ModelName(config.name), Version(version), Generation(1))
    return LoadJob(key, config, directory)
