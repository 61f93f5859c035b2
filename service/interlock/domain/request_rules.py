"""Check a request against its model's configuration: what Triton's core refuses, in its order.

Compiled once for a version. Texts and order follow Triton's `InferenceRequest::Normalize`,
inputs in the reverse of the request's order, as its hash map yields them. A request like
one that passed before takes a short way that looks at each input once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

from interlock.domain.bytes_tensor import LENGTH_BYTES, count_elements
from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.tensor import InputTensor

Shape = tuple[int, ...]

_ANY: Final = -1
_MAX_INT64: Final = 2**63 - 1
_SHAPES_KEPT: Final = 256

_BATCH_NOTE: Final = (
    "NOTE: the first dimension is the batch size, which the model configuration does not list "
    "for a model with max_batch_size > 0."
)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What a client's shape of an input came to: its bytes, its batch, the backend's shape."""

    size_bytes: int
    batch_size: int
    shape: Shape


@dataclass(slots=True)
class _InputRules:
    """One input of the configuration. `fits` keeps the shapes that passed, never BYTES."""

    name: str
    datatype: str
    size_bytes: int
    dims: Shape
    reshape: Shape | None
    optional: bool
    fits: dict[Shape, _Fit] = field(default_factory=dict)

    def remember(self, shape: Shape, fit: _Fit) -> None:
        # Any thread may come here: each step is one that the interpreter does not interrupt.
        if len(self.fits) >= _SHAPES_KEPT:
            self.fits.clear()
        self.fits[shape] = fit


class RequestRules:
    """The checks of one version. Any thread may call."""

    __slots__ = (
        "_inputs",
        "_max_batch_size",
        "_model",
        "_outputs",
        "_required",
        "_reshapes",
        "reshapes_outputs",
    )

    def __init__(self, config: ModelConfig) -> None:
        self._model = config.name
        self._max_batch_size = config.max_batch_size
        self._inputs = {tensor.name: _compiled(tensor) for tensor in config.inputs}
        self._outputs = frozenset(tensor.name for tensor in config.outputs)
        self._required = sum(not tensor.optional for tensor in config.inputs)
        self._reshapes = {
            tensor.name: (tensor.reshape, tensor.dims)
            for tensor in config.outputs
            if tensor.reshape is not None
        }
        self.reshapes_outputs = bool(self._reshapes)

    @classmethod
    def of(cls, config: ModelConfig) -> "RequestRules":
        return cls(config)

    def refuse_duplicates(self, request: InferRequest) -> None:
        """Raise InvalidRequestError where an input, or a requested output, is there twice."""
        if len(request.inputs) > 1:
            _refuse_twice("input", (tensor.name for tensor in request.inputs), request)
        if len(request.outputs) > 1:
            _refuse_twice("output", (output.name for output in request.outputs), request)

    def check(self, request: InferRequest) -> None:
        """Check names, batch size, datatypes, shapes and sizes; the data must be in its raw form.

        From here on the batch size is set, and shapes are the backend's. Raise
        InvalidRequestError with the first fault.
        """
        if not self._fits(request):
            self._check_slowly(request)

    def output_shape(self, name: str, shape: Shape) -> Shape:
        """Return the client's shape of an output for the backend's."""
        mapping = self._reshapes.get(name)
        if mapping is None:
            return shape
        batch = 1 if self._max_batch_size > 0 else 0
        inner, outer = mapping
        if len(shape) - batch != len(inner):
            return shape
        return shape[:batch] + _mapped(shape[batch:], inner, outer)

    def _fits(self, request: InferRequest) -> bool:
        """Whether every input, and every output's name, is one that passes; changes nothing if not."""
        inputs = request.inputs
        if len(inputs) != len(self._inputs):
            return False
        fits = []
        for tensor in inputs:
            rules = self._inputs.get(tensor.name)
            if rules is None or rules.datatype != tensor.datatype:
                return False
            fit = rules.fits.get(tensor.shape)
            if fit is None or fit.size_bytes != len(tensor.data):
                return False
            fits.append(fit)
        return self._take(request, fits)
