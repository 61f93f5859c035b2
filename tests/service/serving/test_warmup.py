"""The samples of `model_warmup`: what is run, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from interlock.domain.config import (
    ModelConfig,
    TensorConfig,
    WarmupData,
    WarmupInput,
    WarmupSample,
)
from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.response import InferResponse
from interlock.serving.warmup import WarmupBatch, warm, warmup_batches
from interlock.telemetry.statistics import VersionStatistics
from tests.support.inference import texts
from tests.support.proving import KEY, CountingClock, ScriptedInstance

NOWHERE = Path("/nowhere")


def batches(
    *samples: WarmupSample,
    datatype: str = "FP32",
    dims: tuple[int, ...] = (-1,),
    max_batch_size: int = 0,
    directory: Path = NOWHERE,
    reshape: tuple[int, ...] | None = None,
) -> tuple[WarmupBatch, ...]:
    config = ModelConfig(
        "m",
        inputs=(TensorConfig("x", datatype, dims, reshape=reshape),),
        max_batch_size=max_batch_size,
        warmup_samples=samples,
    )
    return warmup_batches(config, directory, RequestRules.of(config))


def sample(
    data: WarmupData = WarmupData.ZERO,
    *,
    datatype: str = "FP32",
    dims: tuple[int, ...] = (2,),
    batch_size: int = 1,
    count: int = 0,
    file: str = "",
    name: str = "s",
) -> WarmupSample:
    tensor = WarmupInput("x", datatype, dims, data, file)
    return WarmupSample(name, batch_size, count, (tensor,))


def data_of(batch: WarmupBatch) -> bytes:
    return bytes(batch.requests[0].inputs[0].data)


def warmed(instance: ScriptedInstance, *of: WarmupBatch) -> VersionStatistics:
    statistics = VersionStatistics()
    warm(instance, of, statistics, key=KEY, now_ns=CountingClock())
    return statistics


def raw_file(directory: Path, content: bytes, name: str = "raw") -> Path:
    path = directory / "warmup" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_zeroes_have_the_shape_that_the_sample_says() -> None:
    (batch,) = batches(sample(dims=(3,)))

    (tensor,) = batch.requests[0].inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", "FP32", (3,))
    assert data_of(batch) == bytes(12)


def test_a_batch_is_so_many_requests_of_one_row() -> None:
    (batch,) = batches(sample(batch_size=3), max_batch_size=4)

    assert [request.inputs[0].shape for request in batch.requests] == [(1, 2)] * 3
    assert [request.batch_size for request in batch.requests] == [1, 1, 1]


def test_the_backend_s_shape_is_used_where_the_configuration_reshapes() -> None:
    (batch,) = batches(sample(), dims=(2,), reshape=(2, 1))

    assert batch.requests[0].inputs[0].shape == (2, 1)


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [("FP32", "<f4"), ("FP64", "<f8"), ("FP16", "<f2"), ("INT64", "<i8"), ("UINT8", "u1")],
)
def test_random_data_fills_the_tensor_and_is_the_same_each_time(datatype: str, dtype: str) -> None:
    random = sample(WarmupData.RANDOM, datatype=datatype, dims=(64,))

    (first,) = batches(random, datatype=datatype)
    (second,) = batches(random, datatype=datatype)

    array = np.frombuffer(data_of(first), dtype)
    assert data_of(first) == data_of(second)
    assert array.size == 64
    assert len(set(array.tolist())) > 16
    assert np.isfinite(array).all()


def test_random_data_differs_between_samples() -> None:
    first, second = batches(
        sample(WarmupData.RANDOM, name="a"), sample(WarmupData.RANDOM, name="b")
    )

    assert data_of(first) != data_of(second)


def test_random_booleans_are_booleans() -> None:
    (batch,) = batches(sample(WarmupData.RANDOM, datatype="BOOL", dims=(64,)), datatype="BOOL")

    assert set(data_of(batch)) == {0, 1}


def test_random_bf16_are_numbers_from_0_to_1() -> None:
    (batch,) = batches(sample(WarmupData.RANDOM, datatype="BF16", dims=(64,)), datatype="BF16")

    words = np.frombuffer(data_of(batch), "<u2").astype(np.uint32)
    values = (words << 16).view(np.float32)
    assert ((values >= 0) & (values < 1)).all()
    assert len(set(values.tolist())) > 16


@pytest.mark.parametrize("data", [WarmupData.ZERO, WarmupData.RANDOM])
def test_strings_are_empty_whatever_is_asked_for(data: WarmupData) -> None:
    (batch,) = batches(sample(data, datatype="BYTES", dims=(3,)), datatype="BYTES")

    assert data_of(batch) == texts(b"", b"", b"")


def test_a_file_gives_the_first_of_its_bytes(tmp_path: Path) -> None:
    raw_file(tmp_path, b"01234567 and more")

    (batch,) = batches(sample(WarmupData.FILE, file="raw"), directory=tmp_path)

    assert data_of(batch) == b"01234567"


def test_a_file_of_strings_is_their_raw_form(tmp_path: Path) -> None:
    content = texts(b"one", b"four")
    raw_file(tmp_path, content)

    (batch,) = batches(
        sample(WarmupData.FILE, datatype="BYTES", dims=(2,), file="raw"),
        datatype="BYTES",
        directory=tmp_path,
    )

    assert data_of(batch) == content


def test_a_batch_size_of_zero_skips_the_sample() -> None:
    assert batches(sample(batch_size=0), sample(name="kept")) == batches(sample(name="kept"))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        pytest.param(
            sample(dims=(2, -1)),
            "warmup setting expects all variable-size dimensions are specified for input 'x'",
            id="variable size",
        ),
        pytest.param(
            sample(WarmupData.UNSET),
            "warmup setting expects input 'x' to have input_data_type set",
            id="no data",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="raw", dims=(3,)),
            "warmup setting expects 12 bytes, but the data provided from raw only has 8 bytes",
            id="short file",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="../secret"),
            "warmup data file '../secret' for input 'x' is outside the model's directory 'warmup'",
            id="dots",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="link"),
            "warmup data file 'link' for input 'x' is outside the model's directory 'warmup'",
            id="link",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="loop"),
            "warmup data file 'loop' for input 'x' is outside the model's directory 'warmup'",
            id="circle of links",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="absent"),
            "failed to open warmup data file {}/warmup/absent: No such file or directory",
            id="no file",
        ),
        pytest.param(
            sample(WarmupData.FILE, file="pipe"),
            "warmup data file {}/warmup/pipe is not a regular file",
            id="a pipe",
        ),
        pytest.param(
            sample(WarmupData.FILE),
            "warmup data file {}/warmup is not a regular file",
            id="no name",
        ),
        pytest.param(
            sample(batch_size=2),
            "failed to run warmup sample 's': batch_size 2 is more than the model's 1; ",
            id="too many rows",
        ),
        pytest.param(
            sample(datatype="INT32"),
            "failed to run warmup sample 's': [request id: s] inference input 'x' data-type is "
            "'INT32', but model 'm' expects 'FP32'; ",
            id="another datatype",
        ),
        pytest.param(
            sample(datatype=""),
            "failed to run warmup sample 's': [request id: s] inference input 'x' data-type is "
            "'<invalid>', but model 'm' expects 'FP32'; ",
            id="no datatype",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(
    tmp_path: Path, bad: WarmupSample, text: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    folder = raw_file(tmp_path, bytes(8)).parent
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")

    with pytest.raises(InvalidRequestError) as caught:
        batches(bad, directory=tmp_path)

    assert str(caught.value) == text.format(tmp_path)


def test_each_sample_runs_as_often_as_it_says() -> None:
    instance = ScriptedInstance()

    warmed(instance, *batches(sample(count=3), sample(name="once"), sample(count=1, name="one")))

    assert [batch[0].id for batch in instance.batches] == ["s", "s", "s", "once", "one"]


def test_the_runs_are_counted_as_requests() -> None:
    instance = ScriptedInstance()

    statistics = warmed(instance, *batches(sample(batch_size=2, count=3), max_batch_size=2))

    counted = statistics.snapshot()
    assert (counted.inference_count, counted.execution_count) == (6, 3)
    assert counted.inference_stats.success.count == 6
    assert counted.inference_stats.queue.ns == 0
    assert [(one.batch_size, one.compute_infer.count) for one in counted.batch_stats] == [(2, 3)]


def test_each_run_is_a_line_that_scripts_look_for() -> None:
    with capture_logs() as lines:
        warmed(ScriptedInstance(name="m_0_1"), *batches(sample(count=2, name="a sample")))

    assert [line["event"] for line in lines if line["log_level"] == "debug"] == [
        "model 'm' instance m_0_1 is running warmup sample 'a sample' for iteration 1",
        "model 'm' instance m_0_1 is running warmup sample 'a sample' for iteration 2",
    ]


def test_one_line_tells_the_first_run_from_the_last() -> None:
    clock = CountingClock([0, 9_000_000, 0, 1_000_000])
    with capture_logs() as lines:
        warm(
            ScriptedInstance(),
            batches(sample(count=2)),
            VersionStatistics(),
            key=KEY,
            now_ns=clock,
        )

    assert [line for line in lines if line["log_level"] == "info"] == [
        {
            "event": "warmed up",
            "log_level": "info",
            "model": "m",
            "version": 1,
            "instance": "m_0_0",
            "runs": 2,
            "first_ms": 9.0,
            "last_ms": 1.0,
        }
    ]


def test_without_samples_nothing_is_run_or_said() -> None:
    instance = ScriptedInstance()
    with capture_logs() as lines:
        warmed(instance)

    assert (instance.batches, lines) == ([], [])


def test_an_outcome_that_is_an_error_fails_the_warm_up() -> None:
    def half(request: InferRequest) -> InternalError | InferResponse:
        return InternalError("no room") if request.id == "bad" else InferResponse()

    instance = ScriptedInstance(half)
    two = batches(sample(), sample(name="bad", batch_size=2, count=5), max_batch_size=2)

    with pytest.raises(InvalidRequestError) as caught:
        warmed(instance, *two)

    # Both requests of the batch say the same, and that once.
    assert str(caught.value) == "failed to run warmup sample 'bad': no room; "
    assert len(instance.batches) == 2


def test_each_kind_of_error_of_a_batch_is_told() -> None:
    errors = iter([InternalError("one"), InternalError("two")])
    instance = ScriptedInstance(lambda request: next(errors))

    with pytest.raises(InvalidRequestError) as caught:
        warmed(instance, *batches(sample(batch_size=2), max_batch_size=2))

    assert str(caught.value) == "failed to run warmup sample 's': one; two; "


@pytest.mark.parametrize(
    ("error", "text"),
    [(InternalError("broken"), "broken"), (KeyError("y"), "KeyError: 'y'")],
    ids=["refused", "unexpected"],
)
def test_what_a_run_raises_fails_the_warm_up(error: Exception, text: str) -> None:
    def fail(request: InferRequest) -> InferResponse:
        raise error

    with pytest.raises(InvalidRequestError) as caught:
        warmed(ScriptedInstance(fail), *batches(sample()))

    assert str(caught.value) == f"failed to run warmup sample 's': {text}; "
    assert caught.value.__cause__ is error
