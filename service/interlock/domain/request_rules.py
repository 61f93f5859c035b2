"""Check a request against its model's configuration: what Triton's core refuses, in its order.

Compiled once for a version. Texts and order follow Triton's `InferenceRequest::Normalize`,
inputs in the reverse of the request's order, as its hash map yields them. A request like
one that passed before takes a short way that looks at each input once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
_SHAPES_KEPT: Final = 1024

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


@dataclass(frozen=True, slots=True)
class _InputRules:
    """One input of the configuration."""

    name: str
    datatype: str
    size_bytes: int
    dims: Shape
    reshape: Shape | None
    optional: bool


class RequestRules:
    """The checks of one version. Any thread may call."""

    __slots__ = (
        "_inputs",
        "_max_batch_size",
        "_model",
        "_outputs",
        "_passed",
        "_required",
        "_reshapes",
        "_reshapes_inputs",
        "reshapes_outputs",
    )

    def __init__(self, config: ModelConfig) -> None:
        self._model = config.name
        self._max_batch_size = config.max_batch_size
        self._inputs = {tensor.name: _compiled(tensor) for tensor in config.inputs}
        self._outputs = frozenset(tensor.name for tensor in config.outputs)
        # Name, datatype and shape of inputs that passed; not of BYTES, which are always counted.
        self._passed: dict[tuple[str, str, Shape], _Fit] = {}
        self._reshapes_inputs = any(tensor.reshape is not None for tensor in config.inputs)
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
        """Check names, batch size, datatypes, shapes and sizes.

        The data must be in its raw form, and the duplicates refused.
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

    # Flat, without a call: this is all that most requests need.
    def _fits(self, request: InferRequest) -> bool:  # noqa: C901
        """Whether all of it is like what passed before: then take it, else change nothing."""
        inputs = request.inputs
        if len(inputs) != len(self._inputs):
            return False
        batch_size = 0
        fits = self._passed
        for tensor in inputs:
            fit = fits.get((tensor.name, tensor.datatype, tensor.shape))
            if fit is None or fit.size_bytes != len(tensor.data):
                return False
            if batch_size and fit.batch_size != batch_size:
                return False
            batch_size = fit.batch_size
        for output in request.outputs:
            if output.name not in self._outputs:
                return False
        request.batch_size = batch_size or 1
        if self._reshapes_inputs:
            for tensor in inputs:
                tensor.shape = fits[tensor.name, tensor.datatype, tensor.shape].shape
        return True

    def _check_slowly(self, request: InferRequest) -> None:
        for output in request.outputs:
            if output.name not in self._outputs:
                raise InvalidRequestError(
                    f"unexpected inference output '{output.name}' for model '{self._model}'"
                )
        inputs = request.inputs[::-1]
        if not self._required <= len(inputs) <= len(self._inputs):
            raise self._wrong_inputs(request.tag, inputs)
        if self._max_batch_size == 0:
            for tensor in inputs:
                self._check_input(request.tag, tensor, ())
        else:
            batch_size = self._batch_size(request.tag, inputs)
            for tensor in inputs:
                self._check_input(request.tag, tensor, (batch_size,) if batch_size else ())
            # A batch of 0 passes with the bytes of one: it is one.
            request.batch_size = batch_size or 1
        if len(inputs) < len(self._inputs) and self._missing(inputs):
            # Triton leaves it to the backend where an optional input makes up the number.
            raise self._wrong_inputs(request.tag, inputs)

    def _missing(self, inputs: Iterable[InputTensor]) -> list[str]:
        names = {tensor.name for tensor in inputs}
        return [
            rules.name
            for rules in self._inputs.values()
            if not rules.optional and rules.name not in names
        ]

    def _wrong_inputs(self, tag: str, inputs: Sequence[InputTensor]) -> InvalidRequestError:
        total = len(self._inputs)
        expected = (
            f"{total} inputs"
            if self._required == total
            else f"number of inputs between {self._required} and {total}"
        )
        return InvalidRequestError(
            f"{tag}expected {expected} but got {len(inputs)} inputs for model '{self._model}'. Got "
            f"input(s) {_quoted(tensor.name for tensor in inputs)}, but missing required input(s) "
            f"{_quoted(self._missing(inputs))}. Please provide all required input(s)."
        )

    def _batch_size(self, tag: str, inputs: Iterable[InputTensor]) -> int:
        batch_size = 0
        for tensor in inputs:
            self._rules_of(tensor)
            if not tensor.shape:
                raise InvalidRequestError(
                    f"{tag}input '{tensor.name}' has no shape but model requires batch dimension "
                    f"for '{self._model}'"
                )
            if batch_size == 0:
                batch_size = tensor.shape[0]
            elif tensor.shape[0] != batch_size:
                raise InvalidRequestError(
                    f"{tag}input '{tensor.name}' batch size does not match other inputs for "
                    f"'{self._model}'"
                )
        if batch_size > self._max_batch_size:
            raise InvalidRequestError(
                f"{tag}inference request batch-size must be <= {self._max_batch_size} for "
                f"'{self._model}'"
            )
        # A negative one is refused for its size in bytes, computed as Triton does, in uint32.
        return batch_size if batch_size >= 0 else batch_size & 0xFFFF_FFFF

    def _rules_of(self, tensor: InputTensor) -> _InputRules:
        rules = self._inputs.get(tensor.name)
        if rules is None:
            raise InvalidRequestError(
                f"unexpected inference input '{tensor.name}' for model '{self._model}'"
            )
        return rules

    def _check_input(self, tag: str, tensor: InputTensor, batch: Shape) -> None:
        """Check one input; `batch` is its batch dimension, where it has one that is not 0."""
        rules = self._rules_of(tensor)
        if tensor.datatype != rules.datatype:
            datatype = tensor.datatype if tensor.datatype in BY_WIRE else "<invalid>"
            raise InvalidRequestError(
                f"{tag}inference input '{rules.name}' data-type is '{datatype}', but model "
                f"'{self._model}' expects '{rules.datatype}'"
            )
        dims = tensor.shape[1:] if self._max_batch_size > 0 else tensor.shape
        self._check_dims(tag, rules, tensor, dims)
        count = _element_count(rules.name, batch + dims)
        reshaped = dims if rules.reshape is None else _mapped(dims, rules.dims, rules.reshape)
        shape = (batch or (1,)) + reshaped if self._max_batch_size > 0 else reshaped
        if rules.datatype == BYTES:
            self._check_elements(tag, tensor, count)
        else:
            self._check_size(tag, rules, tensor, count)
            if batch or self._max_batch_size == 0:
                self._remember(tensor, _Fit(len(tensor.data), batch[0] if batch else 1, shape))
        tensor.shape = shape

    def _remember(self, tensor: InputTensor, fit: _Fit) -> None:
        # Any thread may come here: a request that finds half of this takes the long way.
        if len(self._passed) >= _SHAPES_KEPT:
            self._passed = {}
        self._passed[tensor.name, tensor.datatype, tensor.shape] = fit

    def _check_dims(self, tag: str, rules: _InputRules, tensor: InputTensor, dims: Shape) -> None:
        matches = len(dims) == len(rules.dims)
        for size, expected in zip(dims, rules.dims, strict=False):
            if not matches:
                break
            if size == _ANY:
                raise InvalidRequestError(
                    f"{tag}All input dimensions should be specified for input '{rules.name}' for "
                    f"model '{self._model}', got {_listed(tensor.shape)}"
                )
            matches = expected in (_ANY, size)
        if matches:
            return
        batched = self._max_batch_size > 0
        raise InvalidRequestError(
            f"{tag}unexpected shape for input '{rules.name}' for model '{self._model}'. Expected "
            f"{_listed((_ANY, *rules.dims) if batched else rules.dims)}, got "
            f"{_listed(tensor.shape)}. {_BATCH_NOTE if batched else ''}"
        )

    def _check_size(self, tag: str, rules: _InputRules, tensor: InputTensor, count: int) -> None:
        expected = count * rules.size_bytes
        if expected > _MAX_INT64:
            raise InvalidRequestError(
                f"byte size for tensor '{rules.name}' exceeds maximum size of {_MAX_INT64}"
            )
        if len(tensor.data) != expected:
            raise InvalidRequestError(
                f"{tag}input byte size mismatch for input '{rules.name}' for model "
                f"'{self._model}'. Expected {expected}, got {len(tensor.data)}"
            )

    def _check_elements(self, tag: str, tensor: InputTensor, expected: int) -> None:
        counted = count_elements(tensor.data, limit=expected)
        of_input = f"for inference input '{tensor.name}' for model '{self._model}'"
        if counted.count > expected:
            raise InvalidRequestError(
                f"{tag}unexpected number of string elements {counted.count} {of_input}, "
                f"expecting {expected}"
            )
        if counted.dangling_bytes:
            raise InvalidRequestError(
                f"{tag}incomplete string length indicator {of_input}, expecting {LENGTH_BYTES} "
                f"bytes but only {counted.dangling_bytes} bytes available. Please make sure the "
                "string length indicator is in one buffer."
            )
        if counted.count != expected:
            raise InvalidRequestError(
                f"{tag}expected {expected} string elements {of_input}, got {counted.count}"
            )
        if counted.wanted_bytes:
            raise InvalidRequestError(
                f"incomplete string data for inference input '{tensor.name}', expecting string of "
                f"length {counted.wanted_bytes} but only {counted.available_bytes} bytes available"
            )


def _compiled(tensor: TensorConfig) -> _InputRules:
    return _InputRules(
        name=tensor.name,
        datatype=tensor.datatype,
        size_bytes=BY_WIRE[tensor.datatype].size_bytes,
        dims=tensor.dims,
        reshape=tensor.reshape,
        optional=tensor.optional,
    )


def _refuse_twice(kind: str, names: Iterable[str], request: InferRequest) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise InvalidRequestError(f"{request.tag}{kind} '{name}' already exists in request")
        seen.add(name)


def _element_count(name: str, shape: Shape) -> int:
    for size in shape:
        if size < 0:
            raise InvalidRequestError(f"tensor '{name}' contains an invalid dimension {size}")
    count = prod(shape)
    if count > _MAX_INT64:
        raise InvalidRequestError(
            f"element count for tensor '{name}' exceeds maximum size of {_MAX_INT64}"
        )
    return count


def _mapped(sizes: Shape, before: Shape, after: Shape) -> Shape:
    """Return `sizes`, which fill in `before`, as `after` has them: open sizes keep their order."""
    opened = iter([size for size, dim in zip(sizes, before, strict=True) if dim == _ANY])
    return tuple([next(opened) if dim == _ANY else dim for dim in after])


def _listed(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def _quoted(names: Iterable[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"
