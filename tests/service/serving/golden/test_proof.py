"""Asking a version its golden requests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from interlock.backends.base import Outcome
from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.response import InferResponse
from interlock.serving.golden.file import golden_files
from interlock.serving.golden.proof import Proof
from tests.support.proving import (
    KEY,
    CountingClock,
    Script,
    ScriptedInstance,
    answering,
    golden,
    write_npz,
)

ONE = np.ones(2, "<f4")
RIGHT = golden("y", [2.0, 2.0])


def config(
    *, max_batch_size: int = 0, reshape: tuple[int, ...] | None = None, dims: Sequence[int] = (-1,)
) -> ModelConfig:
    shape = tuple(dims)
    return ModelConfig(
        "m",
        inputs=(TensorConfig("x", "FP32", shape, reshape=reshape),),
        outputs=(
            TensorConfig("y", "FP32", shape, reshape=reshape),
            TensorConfig("z", "FP32", (-1,)),
        ),
        max_batch_size=max_batch_size,
    )


def prove(
    directory: Path,
    script: Script,
    *,
    of: ModelConfig | None = None,
    clock: CountingClock | None = None,
) -> ScriptedInstance:
    of = of or config()
    instance = ScriptedInstance(script)
    proof = Proof(of, directory, RequestRules.of(of), now_ns=clock or CountingClock())
    proof.run(golden_files(directory, 1), instance, KEY)
    return instance


def refusal(directory: Path, script: Script, clock: CountingClock | None = None) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        prove(directory, script, clock=clock)
    return str(caught.value)


def test_every_request_is_asked_once_and_for_what_it_expects(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_npz(tmp_path / "golden" / f"{name}.npz", input__x=ONE, expect__y=2 * ONE)

    instance = prove(tmp_path, answering(RIGHT))

    asked = [batch[0] for batch in instance.batches]
    assert [request.id for request in asked] == ["golden/a.npz", "golden/b.npz"]
    assert [(one.name, one.data) for one in asked[0].inputs] == [("x", ONE.tobytes())]
    assert [output.name for output in asked[0].outputs] == ["y"]


def test_a_proof_is_one_line_of_the_log(tmp_path: Path) -> None:
    write_npz(tmp_path / "golden" / "a.npz", input__x=ONE, expect__y=2 * ONE)

    with capture_logs() as lines:
        prove(tmp_path, answering(RIGHT))

    assert lines == [
        {
            "event": "proven",
            "log_level": "info",
            "model": "m",
            "version": 1,
            "requests": 1,
            "slowest_ms": 1.0,
        }
    ]


def test_a_wrong_answer_is_told_with_its_place_and_its_request(tmp_path: Path) -> None:
    write_npz(tmp_path / "golden" / "seven.npz", input__x=ONE, expect__y=2 * ONE)

    assert refusal(tmp_path, answering(golden("y", [2.0, 3.2]))) == (
        "golden request 'golden/seven.npz': output y[1]: got 3.2, expected 2.0 (tolerance 1e-3)"
    )


def test_the_tolerance_is_the_file_s_own(tmp_path: Path) -> None:
    write_npz(tmp_path / "golden" / "a.npz", input__x=ONE, expect__y=2 * ONE, tolerance=0.5)

    assert prove(tmp_path, answering(golden("y", [2.0, 3.2]))).batches


@pytest.mark.parametrize(
    ("script", "text"),
    [
        pytest.param(answering(), "output y: it is not in the answer", id="no output"),
        pytest.param(
            lambda request: InternalError("no room"), "it failed: no room", id="an outcome"
        ),
    ],
)
def test_what_is_no_answer_at_all_is_told(tmp_path: Path, script: Script, text: str) -> None:
    write_npz(tmp_path / "golden" / "a.npz", input__x=ONE, expect__y=2 * ONE)

    assert refusal(tmp_path, script) == f"golden request 'golden/a.npz': {text}"


@pytest.mark.parametrize(
    ("error", "text"),
    [(InternalError("broken"), "broken"), (KeyError("y"), "KeyError: 'y'")],
    ids=["refused", "unexpected"],
)
def test_what_a_run_raises_is_told(tmp_path: Path, error: Exception, text: str) -> None:
    def fail(request: InferRequest) -> InferResponse:
        raise error

    write_npz(tmp_path / "golden" / "a.npz", input__x=ONE, expect__y=2 * ONE)

    assert refusal(tmp_path, fail) == f"golden request 'golden/a.npz': it failed: {text}"


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        pytest.param(
            {"input__x": np.ones(2), "expect__y": ONE},
            "[request id: golden/a.npz] inference input 'x' data-type is 'FP64', but model 'm' "
            "expects 'FP32'",
            id="datatype",
        ),
        pytest.param(
            {"input__x": ONE, "expect__q": ONE},
            "unexpected inference output 'q' for model 'm'",
            id="unknown output",
        ),
        pytest.param(
            {"expect__y": ONE},
            "[request id: golden/a.npz] expected 1 inputs but got 0 inputs for model 'm'. Got "
            "input(s) [], but missing required input(s) ['x']. Please provide all required "
            "input(s).",
            id="no input",
        ),
    ],
)
def test_a_request_that_the_model_would_refuse_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], text: str
) -> None:
    write_npz(tmp_path / "golden" / "a.npz", **arrays)

    assert refusal(tmp_path, answering(RIGHT)) == f"golden request 'golden/a.npz': {text}"


def test_a_file_that_cannot_be_read_fails_the_proof(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "golden" / "a.npz", expect__y=ONE)
    path.write_bytes(b"not an archive")

    text = refusal(tmp_path, answering(RIGHT))

    assert text.startswith("golden file 'golden/a.npz' cannot be read: ")


def test_shapes_are_those_that_clients_see(tmp_path: Path) -> None:
    """Batch dimension first, and before `reshape`."""
    write_npz(
        tmp_path / "golden" / "a.npz",
        input__x=np.ones((1, 2), "<f4"),
        expect__y=np.full((1, 2), 2, "<f4"),
    )

    instance = prove(
        tmp_path,
        answering(golden("y", [[[2.0], [2.0]]])),
        of=config(max_batch_size=4, dims=(2,), reshape=(2, 1)),
    )

    assert instance.batches[0][0].inputs[0].shape == (1, 2, 1)


def budgeted(directory: Path, budget_ms: float) -> None:
    write_npz(
        directory / "golden" / "a.npz",
        input__x=ONE,
        expect__y=2 * ONE,
        latency_budget_ms=budget_ms,
    )


def test_an_answer_within_its_budget_is_asked_for_once(tmp_path: Path) -> None:
    budgeted(tmp_path, 5)

    instance = prove(tmp_path, answering(RIGHT), clock=CountingClock([0, 5_000_000]))

    assert len(instance.batches) == 1


def test_an_answer_that_was_slow_by_chance_has_another_chance(tmp_path: Path) -> None:
    budgeted(tmp_path, 5)
    clock = CountingClock([0, 90_000_000, 0, 5_000_000])

    instance = prove(tmp_path, answering(RIGHT), clock=clock)

    assert len(instance.batches) == 2


def test_an_answer_that_is_slow_each_time_fails_the_proof(tmp_path: Path) -> None:
    budgeted(tmp_path, 50)
    clock = CountingClock([0, 90_000_000, 0, 73_200_000, 0, 80_000_000])

    assert refusal(tmp_path, answering(RIGHT), clock) == (
        "golden request 'golden/a.npz': took 73.2 ms at the best of 3 attempts, more than the "
        "50 ms of its latency budget"
    )


def test_a_later_attempt_must_be_right_too(tmp_path: Path) -> None:
    budgeted(tmp_path, 5)
    scripts = iter([answering(RIGHT), answering(golden("y", [2.0, 9.0]))])

    def right_at_first(request: InferRequest) -> Outcome:
        script = next(scripts)
        return script(request)

    text = refusal(tmp_path, right_at_first, CountingClock([0, 90_000_000, 0, 1]))

    assert "output y[1]: got 9.0, expected 2.0" in text
