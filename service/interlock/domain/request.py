"""An inference request on its way through the server."""

from dataclasses import dataclass, field

from interlock.domain.response import Responder
from interlock.domain.tensor import InputTensor, ParameterValue, RequestedOutput


@dataclass(slots=True)
class InferRequest:
    """What a client asked, as plain values.

    The codec fills the first block. Admission (`frontend.admission`) resolves the data of
    every input, checks all of it against the model's rules and fills the second block.
    From then on the request belongs to the scheduler, which ends it through `responder`.
    Times are nanoseconds of the monotonic clock.

    `running` is the scheduler's: it sets it first and then asks whether the request has
    ended. Whoever ends a request that is not running lets go of its inputs, because what
    lies in a queue would otherwise keep its message alive until it is somebody's turn.
    """

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    inputs: list[InputTensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)

    responder: Responder | None = None
    batch_size: int = 1
    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    priority: int = 0
    timeout_us: int = 0
    received_ns: int = 0
    queued_ns: int = 0
    running: bool = False

    @property
    def tag(self) -> str:
        """The prefix of the errors that name the request."""
        return f"[request id: {self.id or '<id_unknown>'}] "
