"""The answer to an inference request, and the way back to whoever asked."""

from dataclasses import dataclass, field
from typing import Protocol

from interlock.domain.errors import ServiceError
from interlock.domain.tensor import OutputTensor, ParameterValue


@dataclass(slots=True)
class InferResponse:
    """The outputs of one request, in the order in which the backend produced them."""

    outputs: list[OutputTensor] = field(default_factory=list)
    parameters: dict[str, ParameterValue] = field(default_factory=dict)


class Responder(Protocol):
    """The way back to the client of one request. Any thread may use it.

    A request ends once: the first of `send`, `fail` and the client's own cancellation
    wins, the others do nothing. Ending it gives the request's lease back.
    """

    @property
    def ended(self) -> bool:
        """Whether nobody waits for an answer any more."""
        ...

    def send(self, response: InferResponse) -> None:
        """Answer and end the request."""
        ...

    def fail(self, error: ServiceError) -> None:
        """Refuse and end the request."""
        ...
