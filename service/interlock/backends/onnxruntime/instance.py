"""Run requests through a session that several instances may share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import onnxruntime as ort

from interlock.backends.base import BatchResult, Outcome
from interlock.backends.onnxruntime.errors import translate
from interlock.backends.onnxruntime.tensors import (
    BF16,
    Array,
    Reader,
    array_of,
    raw_of,
    reader_of,
    value_of,
)
from interlock.domain.config import TensorFacts
from interlock.domain.errors import InvalidRequestError, ServiceError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import OutputTensor

Run = Callable[[Sequence[str], dict[str, Array], ort.RunOptions | None], Sequence[Array]]
Execute = Callable[[Sequence[str], dict[str, Array]], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class ServedOutput:
    """An output: its datatype, and the shape that its readers see where the graph has a scalar."""

    datatype: str
    scalar_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """The tensors that a model serves, by name; outputs in the graph's order."""

    inputs: Mapping[str, TensorFacts]
    outputs: Mapping[str, ServedOutput]

    @property
    def has_bf16(self) -> bool:
        inputs = [facts.datatype for facts in self.inputs.values()]
        return BF16 in [*inputs, *(output.datatype for output in self.outputs.values())]


class OnnxInstance:
    """One execution context. Its thread alone runs it; the session behind takes several at once."""

    def __init__(
        self,
        session: ort.InferenceSession,
        plan: TensorPlan,
        *,
        name: str,
        options: ort.RunOptions | None,
        now_ns: Callable[[], int],
    ) -> None:
        self._name = name
        self._now_ns = now_ns
        self._outputs = plan.outputs
        self._output_names = list(plan.outputs)
        self._readers: dict[str, Reader] = {
            tensor: reader_of(facts) for tensor, facts in plan.inputs.items()
        }
        self._execute = (
            _execute_values(session, plan.inputs, options)
            if plan.has_bf16
            else _execute_arrays(session, options)
        )

    @property
    def name(self) -> str:
        return self._name

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        if len(requests) == 1:
            return self._run_one(requests[0])
        return self._run_each(requests)

    def close(self) -> None:
        # It holds the session, whose memory must go with the model and not with the thread.
        del self._execute

    def _run_one(self, request: InferRequest) -> BatchResult:
        now_ns = self._now_ns
        start = now_ns()
        feed = self._feed(request)
        names = self._wanted(request)
        input_end = now_ns()
        arrays = self._execute(names, feed)
        output_start = now_ns()
        outputs = [
            _output(name, self._outputs[name], array)
            for name, array in zip(names, arrays, strict=True)
        ]
        return BatchResult((InferResponse(outputs),), start, input_end, output_start, now_ns())

    def _run_each(self, requests: Sequence[InferRequest]) -> BatchResult:
        """Run the requests one after the other; the times are the sums of theirs."""
        outcomes: list[Outcome] = []
        start = self._now_ns()
        input_ns = infer_ns = 0
        for request in requests:
            try:
                result = self._run_one(request)
            except ServiceError as error:
                outcomes.append(error)
                continue
            outcomes.extend(result.outcomes)
            input_ns += result.compute_input_end_ns - result.compute_start_ns
            infer_ns += result.compute_output_start_ns - result.compute_input_end_ns
        input_end = start + input_ns
        return BatchResult(outcomes, start, input_end, input_end + infer_ns, self._now_ns())

    def _feed(self, request: InferRequest) -> dict[str, Array]:
        readers = self._readers
        try:
            return {tensor.name: readers[tensor.name](tensor) for tensor in request.inputs}
        except ValueError as error:
            # A shape such as [0,2^62] passes every check of its size, and is none for an array.
            shapes = ", ".join(f"'{tensor.name}' {tensor.shape}" for tensor in request.inputs)
            raise InvalidRequestError(
                f"the runtime cannot represent the shapes of the inputs: {shapes}"
            ) from error

    def _wanted(self, request: InferRequest) -> list[str]:
        """Return the outputs to compute, in the graph's order: those asked for, or all."""
        if not request.outputs:
            return self._output_names
        asked = {output.name for output in request.outputs}
        return [name for name in self._output_names if name in asked]


def _output(name: str, served: ServedOutput, array: Array) -> OutputTensor:
    shape = array.shape or served.scalar_shape
    return OutputTensor(name, served.datatype, shape, raw_of(array))


def _execute_arrays(session: ort.InferenceSession, options: ort.RunOptions | None) -> Execute:
    """Return the way to run on arrays: the cheapest, 5 µs a run (values cost 35)."""
    # It may return lists and sparse tensors too, but not for the outputs that we serve.
    run = cast("Run", session.run)

    def execute(names: Sequence[str], feed: dict[str, Array]) -> Sequence[Array]:
        try:
            return run(names, feed, options)
        except Exception as error:
            raise translate(error) from error

    return execute


def _execute_values(
    session: ort.InferenceSession,
    inputs: Mapping[str, TensorFacts],
    options: ort.RunOptions | None,
) -> Execute:
    """Return the way to run on the runtime's own values, for types that NumPy does not have."""
    run = session.run_with_ort_values

    def execute(names: Sequence[str], feed: dict[str, Array]) -> Sequence[Array]:
        try:
            values = {name: value_of(array, inputs[name].datatype) for name, array in feed.items()}
            return [array_of(value) for value in run(names, values, options)]
        except Exception as error:
            raise translate(error) from error

    return execute
