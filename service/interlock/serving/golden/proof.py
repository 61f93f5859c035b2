"""Prove a version: ask it its golden requests before anybody else may ask it anything."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from interlock.backends.base import Instance
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InvalidRequestError, ServiceError
from interlock.domain.ids import GenerationKey
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.response import InferResponse
from interlock.domain.tensor import InputTensor, OutputTensor, RequestedOutput
from interlock.repository.layout import is_inside
from interlock.serving.golden.comparison import disagreement, number_text
from interlock.serving.golden.file import read_golden
from interlock.serving.golden.request import Declared, GoldenRequest
from interlock.serving.load_job import Inside

log = structlog.get_logger()

_ATTEMPTS: Final = 3
"""How often a request that took too long is asked: other loads may have slowed it down."""
_NS_PER_MS: Final = 1_000_000


class Proof:
    """Asks one version its golden requests, by the rules that clients' requests go by."""

    def __init__(
        self,
        config: ModelConfig,
        model_directory: Path,
        rules: RequestRules,
        *,
        now_ns: Callable[[], int],
        inside: Inside = is_inside,
    ) -> None:
        self._config = config
        self._directory = model_directory
        self._rules = rules
        self._now_ns = now_ns
        self._inside = inside

    def run(self, files: Sequence[Path], instance: Instance, key: GenerationKey) -> None:
        """Ask everything, one after the other; nobody else may use the instance meanwhile.

        The executions are not counted: no client asked. Raise InvalidRequestError with the
        first answer that is not the expected one, GoldenFileError for a file that is none.
        """
        slowest_ms = 0.0
        for path in files:
            golden = read_golden(
                path, self._declared(), model_directory=self._directory, inside=self._inside
            )
            try:
                slowest_ms = max(slowest_ms, self._ask(golden, instance))
            except InvalidRequestError as error:
                raise InvalidRequestError(f"golden request '{golden.name}': {error}") from error
        log.info(
            "proven",
            model=key.model,
            version=key.version,
            requests=len(files),
            slowest_ms=slowest_ms,
        )

    def _declared(self) -> Declared:
        return Declared(
            inputs={tensor.name: tensor.datatype for tensor in self._config.inputs},
            outputs={tensor.name: tensor.datatype for tensor in self._config.outputs},
        )

    def _ask(self, golden: GoldenRequest, instance: Instance) -> float:
        """Return how long the answer took, at best. Raise InvalidRequestError."""
        request = InferRequest(
            model_name=self._config.name,
            id=golden.name,
            inputs=[
                InputTensor(tensor.name, tensor.datatype, tensor.shape, tensor.data)
                for tensor in golden.inputs
            ],
            outputs=[RequestedOutput(tensor.name) for tensor in golden.expected],
        )
        self._rules.refuse_duplicates(request)
        self._rules.check(request)
        times_ms: list[float] = []
        budget_ms = golden.latency_budget_ms
        while not times_ms or (
            budget_ms is not None and min(times_ms) > budget_ms and len(times_ms) < _ATTEMPTS
        ):
            began_ns = self._now_ns()
            response = _answer(instance, request)
            times_ms.append((self._now_ns() - began_ns) / _NS_PER_MS)
            self._compare(golden, response)
        best_ms = min(times_ms)
        if budget_ms is not None and best_ms > budget_ms:
            raise InvalidRequestError(
                f"took {best_ms:.1f} ms at the best of {len(times_ms)} attempts, more than the "
                f"{number_text(budget_ms)} ms of its latency budget"
            )
        return best_ms

    def _compare(self, golden: GoldenRequest, response: InferResponse) -> None:
        outputs = {output.name: output for output in response.outputs}
        for text in self._disagreements(golden, outputs):
            raise InvalidRequestError(text)

    def _disagreements(
        self, golden: GoldenRequest, outputs: dict[str, OutputTensor]
    ) -> Iterator[str]:
        for expected in golden.expected:
            output = outputs.get(expected.name)
            if output is None:
                yield f"output {expected.name}: it is not in the answer"
                continue
            shape = self._rules.output_shape(output.name, output.shape)
            if text := disagreement(golden, expected, output.datatype, shape, output.data):
                yield text


def _answer(instance: Instance, request: InferRequest) -> InferResponse:
    try:
        (outcome,) = instance.run((request,)).outcomes
    except ServiceError as error:
        raise InvalidRequestError(f"it failed: {error}") from error
    except Exception as error:
        raise InvalidRequestError(f"it failed: {type(error).__name__}: {error}") from error
    if isinstance(outcome, ServiceError):
        raise InvalidRequestError(f"it failed: {outcome}")
    return outcome
