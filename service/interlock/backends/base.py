"""The contract of a backend: open a version's files, say what they are, run batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from interlock.domain.config import ModelConfig, ModelFacts
from interlock.domain.errors import ServiceError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse

Outcome = InferResponse | ServiceError


@dataclass(slots=True)
class BatchResult:
    """What a batch came to: one outcome per request, in order, and when its parts ended.

    Times are nanoseconds of the monotonic clock: the backend begins, has its inputs, has
    run the model, has its outputs.
    """

    outcomes: Sequence[Outcome]
    compute_start_ns: int
    compute_input_end_ns: int
    compute_output_start_ns: int
    compute_end_ns: int


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """Where a version lies: the model's directory and the version's own below it.

    With `is_linked` both hold links alone, and a file is where its link leads: it may be in
    no file system, and can be opened and read by its path all the same. Where not
    `may_run_host_code`, a backend refuses files that carry code for the host, which to
    deserialize them would run.
    """

    model_directory: Path
    version_directory: Path
    version: int
    is_linked: bool = False
    may_run_host_code: bool = True


class Instance(Protocol):
    """One execution context. One thread at a time uses it."""

    @property
    def name(self) -> str: ...

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        """Run one batch. Shapes of the requests are the model's: `reshape` is applied.

        An error that concerns one request is that request's outcome; what is raised
        concerns all of them.
        """
        ...

    def close(self) -> None:
        """Give back what the instance holds. Called once, when nothing runs."""
        ...


class OpenedModel(Protocol):
    """A version's files, opened by a runtime and ready to make instances."""

    @property
    def facts(self) -> ModelFacts | None:
        """The tensors that the files declare; `None` where they declare none."""
        ...

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> Instance:
        """Build one instance; may be called from several threads at once."""
        ...

    def close(self) -> None:
        """Give back what all instances share. Called once, after every instance's `close`."""
        ...


class Backend(Protocol):
    """One runtime. There is one object per backend and server."""

    @property
    def name(self) -> str: ...

    def open(self, files: VersionFiles, config: ModelConfig) -> OpenedModel:
        """Open a version's files. Runs in the load pool; may take minutes. Raise ServiceError."""
        ...


BackendOptions = Mapping[str, str]
