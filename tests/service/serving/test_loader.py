"""Loading and unloading a version, with the backends that there are and with one that fails."""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from interlock.backends.base import BatchResult, VersionFiles
from interlock.backends.catalog import Catalog, built_in
from interlock.domain.config import ModelConfig, ModelFacts, TensorFacts
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from interlock.domain.request import InferRequest
from interlock.domain.tensor import InputTensor
from interlock.serving.freed import Freed
from interlock.serving.load_job import LoadPhase
from interlock.serving.loader import ModelLoader
from interlock.serving.served_model import ServedModel
from tests.support import onnx_models, onnx_small
from tests.support.proving import write_npz
from tests.support.running import answer, config_of, job_of, outputs_of, request

IDENTITY = """
    backend: "identity"
    input { name: "INPUT0" data_type: TYPE_FP32 dims: -1 }
    output { name: "OUTPUT0" data_type: TYPE_FP32 dims: -1 label_filename: "labels.txt" }"""


class Trim:
    """Remembers how often memory was given back."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return 0


@dataclass
class FakeBackend:
    """Remembers what was opened, made and closed; fails where it is told to."""

    name: str = "fake"
    fail_instance: bool = False
    fail_close: bool = False
    facts: ModelFacts | None = None
    events: list[str] = field(default_factory=list)
    opened: list[VersionFiles] = field(default_factory=list)

    def open(self, files: VersionFiles, config: ModelConfig) -> "FakeBackend":
        self.opened.append(files)
        self.events.append(f"open {files.version_directory.name}")
        return self

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> "FakeInstance":
        if self.fail_instance and index == 1:
            raise InternalError("no room")
        self.events.append(f"make {name}")
        return FakeInstance(name, self)

    def close(self) -> None:
        self.events.append("close model")


@dataclass
class FakeInstance:
    name: str
    backend: FakeBackend

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        raise AssertionError("nothing runs here")

    def close(self) -> None:
        self.backend.events.append(f"close {self.name}")
        if self.backend.fail_close:
            raise RuntimeError("stuck")


FAKE = """
    backend: "fake"
    input { name: "x" data_type: TYPE_FP32 dims: 1 }
    output { name: "y" data_type: TYPE_FP32 dims: 1 label_filename: "labels.txt" }
    instance_group { count: 2 kind: KIND_CPU }"""


def loader(
    backends: Catalog | None = None,
    *,
    auto_complete: bool = True,
    default_max_batch_size: int = 4,
    hold: int = 0,
) -> ModelLoader:
    return ModelLoader(
        backends or built_in(),
        trim=Trim(),
        auto_complete=auto_complete,
        default_max_batch_size=default_max_batch_size,
        hold=hold,
    )


def load(directory: Path, config: str, using: ModelLoader | None = None) -> ServedModel:
    return (using or loader()).load(job_of(directory, config_of(config)))


def infer(served: ServedModel, *inputs: InputTensor) -> dict[str, object]:
    asked = request(*inputs)
    served.rules.check(asked)
    served.scheduler.enqueue(asked)
    return dict(outputs_of(answer(asked)))


def fp32(name: str, *values: float) -> InputTensor:
    return InputTensor(name, "FP32", (len(values),), np.array(values, "<f4").tobytes())


def test_an_identity_model_loads_answers_and_unloads(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zero\none\n")
    trim = Trim()
    models = ModelLoader(built_in(), trim=trim)
    job = job_of(tmp_path, config_of(IDENTITY), version=3)
    threads = threading.active_count()

    served = models.load(job)
    outputs = infer(served, fp32("INPUT0", 1.5))
    models.unload(served)

    assert (served.key, served.version_text) == (job.key, "3")
    assert served.labels == {"OUTPUT0": ("zero", "one")}
    assert outputs == {"OUTPUT0": ("FP32", (1,), np.float32(1.5).tobytes())}
    assert served.statistics.snapshot().inference_count == 1
    assert threading.active_count() == threads
    assert trim.calls == 1


def test_an_onnx_model_is_completed_from_its_graph(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.add_constant(2.0, ("n", 2)))

    served = load(tmp_path, "")

    config = served.config
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 4)
    assert [(tensor.name, tensor.datatype, tensor.dims) for tensor in config.inputs] == [
        ("x", "FP32", (2,))
    ]
    data = np.array([[1, 2], [3, 4], [5, 6]], "<f4")
    outputs = infer(served, InputTensor("x", "FP32", (3, 2), data.tobytes()))
    assert outputs == {"y": ("FP32", (3, 2), (data + 2).tobytes())}
    served.scheduler.stop()
    served.instances.close()


@pytest.mark.parametrize(
    ("backend_options", "expected"),
    [
        pytest.param({}, 7, id="of the server"),
        pytest.param({"default-max-batch-size": "9"}, 9, id="of the backend"),
    ],
)
def test_the_default_batch_size_is_an_option(
    tmp_path: Path, backend_options: Mapping[str, str], expected: int
) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))
    models = loader(built_in({"onnxruntime": backend_options}), default_max_batch_size=7)

    served = load(tmp_path, "", models)

    assert served.config.max_batch_size == expected
    served.scheduler.stop()


def test_a_default_batch_size_that_is_no_number_is_refused(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))
    backends = built_in({"onnxruntime": {"default-max-batch-size": "many"}})

    with pytest.raises(InvalidRequestError) as caught:
        load(tmp_path, "", loader(backends))

    assert str(caught.value) == (
        "--backend-config=onnxruntime,default-max-batch-size=many: must be a number, 0 or more"
    )


def test_without_auto_complete_nothing_is_added(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))

    with pytest.raises(InvalidRequestError):
        load(tmp_path, "", loader(auto_complete=False))


def test_a_configuration_that_contradicts_the_graph_is_refused(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32"))
    config = """
        max_batch_size: 0
        input { name: "x" data_type: TYPE_INT32 dims: -1 }
        output { name: "y" data_type: TYPE_FP32 dims: -1 }"""

    with pytest.raises(InvalidRequestError, match="expects datatype TYPE_INT32 for input 'x'"):
        load(tmp_path, config)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        pytest.param(
            IDENTITY + "max_batch_size: 1 sequence_batching { }",
            "model 'm' asks for sequence_batching, and this version has no sequence batcher",
            id="sequences",
        ),
        pytest.param(
            IDENTITY + "model_transaction_policy { decoupled: true }",
            "model 'm' asks for model_transaction_policy { decoupled: true }, and no backend of "
            "this version sends more or less than one response for a request",
            id="decoupled",
        ),
        pytest.param(
            """
            platform: "ensemble"
            input { name: "x" data_type: TYPE_FP32 dims: 1 }
            output { name: "y" data_type: TYPE_FP32 dims: 1 }
            ensemble_scheduling { step {
                model_name: "a" model_version: -1
                input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }""",
            "model 'm' asks for ensemble_scheduling, and this version does not run ensembles",
            id="ensemble",
        ),
    ],
)
def test_what_this_version_lacks_is_refused_by_name(tmp_path: Path, config: str, text: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        load(tmp_path, config)

    assert str(caught.value) == text


def test_a_backend_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="unable to find backend library for backend"):
        load(tmp_path, IDENTITY.replace("identity", "python"))


def test_dynamic_batching_loads_with_one_line_that_requests_run_alone(tmp_path: Path) -> None:
    with capture_logs() as logs:
        served = load(tmp_path, IDENTITY + "max_batch_size: 8 dynamic_batching { }")

    served.scheduler.stop()
    assert [line for line in logs if line["log_level"] == "info"] == [
        {
            "event": "requests run alone",
            "log_level": "info",
            "model": "m",
            "version": 1,
            "ignored": "dynamic_batching",
        }
    ]


def warm_up(name: str, *, count: int = 1, dims: str = "2", file: str = "") -> str:
    data = f'input_data_file: "{file}"' if file else "random_data: true"
    return f"""
        model_warmup {{ name: "{name}" batch_size: 1 count: {count} inputs {{ key: "INPUT0" value {{
            data_type: TYPE_FP32 dims: {dims} {data} }} }} }}"""


def test_every_instance_is_warmed_up_before_the_version_is_there(tmp_path: Path) -> None:
    config = IDENTITY + "instance_group { count: 2 }" + warm_up("first", count=3)
    with capture_logs() as logs:
        served = load(tmp_path, config)

    served.scheduler.stop()
    assert [line["instance"] for line in logs if line["event"] == "warmed up"] == ["m_0_0", "m_0_1"]
    assert served.statistics.snapshot().inference_count == 6


def test_a_passive_instance_is_not_warmed_up(tmp_path: Path) -> None:
    config = IDENTITY + warm_up("first")
    config += 'instance_group [ { name: "a" count: 1 }, { name: "p" count: 1 passive: true } ]'
    with capture_logs() as logs:
        served = load(tmp_path, config)

    served.scheduler.stop()
    assert [line["instance"] for line in logs if line["event"] == "warmed up"] == ["a_0"]


def test_an_onnx_model_runs_its_samples_in_batches(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.identity("FP32", ("n", 2)))
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "raw").write_bytes(bytes(8))
    config = """
        instance_group { count: 1 kind: KIND_CPU }
        model_warmup { name: "s" batch_size: 4 inputs { key: "x" value {
            data_type: TYPE_FP32 dims: 2 input_data_file: "raw" } } }"""

    served = load(tmp_path, config)

    served.scheduler.stop()
    counted = served.statistics.snapshot()
    assert (counted.inference_count, counted.execution_count) == (4, 1)


def test_a_golden_answer_lets_a_version_pass_and_counts_nowhere(tmp_path: Path) -> None:
    onnx_models.write(tmp_path / "1", onnx_small.add_constant(2.0))
    ones = np.ones((1, 1), "<f4")
    write_npz(tmp_path / "golden" / "a.npz", input__x=ones, expect__y=np.array([[3]], "<f4"))
    with capture_logs() as logs:
        served = load(tmp_path, "")

    served.scheduler.stop()
    assert "proven" in [line["event"] for line in logs]
    assert served.statistics.snapshot().execution_count == 0


def test_the_phases_are_told_as_they_begin(tmp_path: Path) -> None:
    write_npz(
        tmp_path / "golden" / "a.npz",
        input__INPUT0=np.ones(1, "<f4"),
        expect__OUTPUT0=np.ones(1, "<f4"),
    )
    job = job_of(tmp_path, config_of(IDENTITY + warm_up("first")))
    told: list[str] = []

    with capture_logs() as logs:

        def tell(phase: LoadPhase) -> None:
            told.extend([line["event"] for line in logs if line["log_level"] == "info"])
            told.append(phase.value)

        served = loader().load(job, tell)

    served.scheduler.stop()
    assert told == ["warming", "warmed up", "proving"]


def test_where_there_is_nothing_to_run_no_phase_is_told(tmp_path: Path) -> None:
    told: list[LoadPhase] = []
    skipped = warm_up("skipped").replace("batch_size: 1", "batch_size: 0")

    served = loader().load(job_of(tmp_path, config_of(IDENTITY + skipped)), told.append)

    served.scheduler.stop()
    assert told == []


@pytest.mark.parametrize(
    ("extra", "files", "text"),
    [
        pytest.param(
            warm_up("s", file="absent"),
            {},
            r"failed to open warmup data file .*/warmup/absent: No such file or directory",
            id="warm-up",
        ),
        pytest.param(
            warm_up("s", dims="[ 2, 2 ]"),
            {},
            r"failed to run warmup sample 's': .*unexpected shape for input 'x'",
            id="sample",
        ),
        pytest.param(
            "",
            {"golden/a.json": b"{}"},
            r"golden file 'golden/a.json' cannot be used: it expects nothing",
            id="golden file",
        ),
        pytest.param(
            "",
            {"1/golden/a.json": b'{"input": {"x": [1]}, "expect": {"y": [1]}}'},
            r"golden request '1/golden/a.json': it failed: AssertionError: nothing runs here",
            id="golden request",
        ),
    ],
)
@pytest.mark.parametrize("is_awaited", [True, False])
def test_a_version_that_does_not_pass_leaves_nothing_behind(
    tmp_path: Path, extra: str, files: Mapping[str, bytes], text: str, is_awaited: bool
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    backend = FakeBackend()
    trim = Trim()
    models = ModelLoader(Catalog({"fake": backend}), trim=trim)
    config = FAKE.replace("labels.txt", "") + extra.replace("INPUT0", "x")
    threads = threading.active_count()

    with pytest.raises(InvalidRequestError, match=text):
        models.load(replace(job_of(tmp_path, config_of(config)), is_awaited=is_awaited))

    assert backend.events[-3:] == ["close m_0_1", "close m_0_0", "close model"]
    assert threading.active_count() == threads
    assert trim.calls == 1


def test_instances_are_made_of_the_configuration_s_groups(tmp_path: Path) -> None:
    backend = FakeBackend()

    served = load(tmp_path, FAKE, loader(Catalog({"fake": backend})))

    served.scheduler.stop()
    assert backend.events == ["open 1", "make m_0_0", "make m_0_1"]


def test_unloading_closes_the_instances_and_then_the_model(tmp_path: Path) -> None:
    backend = FakeBackend()
    models = loader(Catalog({"fake": backend}))
    served = models.load(job_of(tmp_path, config_of(FAKE)))
    backend.events.clear()

    models.unload(served)

    assert sorted(backend.events[:2]) == ["close m_0_0", "close m_0_1"]
    assert backend.events[2:] == ["close model"]


def test_unloading_goes_on_where_something_fails(tmp_path: Path) -> None:
    backend = FakeBackend(fail_close=True)
    trim = Trim()
    models = ModelLoader(Catalog({"fake": backend}), trim=trim)
    served = models.load(job_of(tmp_path, config_of(FAKE)))

    with capture_logs() as logs:
        models.unload(served)

    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["closing failed"]
    assert backend.events[-1] == "close model"
    assert trim.calls == 1


@pytest.mark.parametrize(
    ("backend", "label_filename", "closed"),
    [
        pytest.param(
            FakeBackend(facts=ModelFacts((TensorFacts("z", "FP32", (1,)),), ())),
            "labels.txt",
            ["close model"],
            id="the check",
        ),
        pytest.param(
            FakeBackend(fail_instance=True),
            "labels.txt",
            ["close m_0_0", "close model"],
            id="an instance",
        ),
        pytest.param(
            FakeBackend(),
            "link.txt",
            ["close m_0_1", "close m_0_0", "close model"],
            id="the labels",
        ),
    ],
)
def test_what_was_built_is_closed_when_a_later_step_fails(
    tmp_path: Path, backend: FakeBackend, label_filename: str, closed: list[str]
) -> None:
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    trim = Trim()
    models = ModelLoader(Catalog({"fake": backend}), trim=trim)
    threads = threading.active_count()

    with pytest.raises((InvalidRequestError, InternalError, UnsupportedError)):
        models.load(job_of(tmp_path, config_of(FAKE.replace("labels.txt", label_filename))))

    assert [event for event in backend.events if event.startswith("close")] == closed
    assert threading.active_count() == threads
    assert trim.calls == 1


def test_a_missing_model_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"unable to find '.*/1/model\.onnx'"):
        load(tmp_path, "")


def test_a_hold_keeps_requests_back_until_there_are_enough(tmp_path: Path) -> None:
    served = load(tmp_path, IDENTITY, loader(hold=2))
    requests = [request(fp32("INPUT0", 1.0)), request(fp32("INPUT0", 2.0))]

    served.scheduler.enqueue(requests[0])
    pending = served.scheduler.pending
    served.scheduler.enqueue(requests[1])

    assert pending == 1
    assert all(outputs_of(answer(one)) for one in requests)
    served.scheduler.stop()


@pytest.mark.parametrize(
    ("is_awaited", "hold", "more"), [(True, 0, 1), (True, 2, 0), (False, 0, 0)]
)
def test_a_version_that_is_awaited_has_its_threads_when_it_is_loaded(
    tmp_path: Path, is_awaited: bool, hold: int, more: int
) -> None:
    models = ModelLoader(built_in(), trim=Trim(), hold=hold)
    job = job_of(tmp_path, config_of(IDENTITY.replace("labels.txt", "")))
    threads = threading.active_count()

    served = models.load(replace(job, is_awaited=is_awaited))

    assert threading.active_count() == threads + more
    models.unload(served)
    assert threading.active_count() == threads


def test_several_versions_load_at_once(tmp_path: Path) -> None:
    for version in range(1, 9):
        model = onnx_small.add_constant(float(version))
        onnx_models.write(tmp_path / str(version), model)
    models = loader()
    jobs = [job_of(tmp_path, config_of(""), version=version) for version in range(1, 9)]

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(models.load, jobs))

    constants = [
        infer(served, InputTensor("x", "FP32", (1, 1), bytes(4)))["y"] for served in loaded
    ]
    for served in loaded:
        models.unload(served)
    assert constants == [("FP32", (1,), np.float32(version).tobytes()) for version in range(1, 9)]


@pytest.mark.parametrize("may", [True, False])
def test_a_backend_is_told_whether_code_of_the_files_may_run(tmp_path: Path, may: bool) -> None:
    (tmp_path / "labels.txt").write_text("zero")
    backend = FakeBackend()
    models = loader(Catalog({"fake": backend}))

    served = models.load(replace(job_of(tmp_path, config_of(FAKE)), may_run_host_code=may))

    assert [files.may_run_host_code for files in backend.opened] == [may]
    models.unload(served)


@pytest.mark.parametrize("name", ["model.onnx", "weights/part.bin"])
def test_a_pipe_among_the_files_of_a_version_is_refused_before_anything_is_opened(
    tmp_path: Path, name: str
) -> None:
    backend = FakeBackend()
    pipe = tmp_path / "1" / name
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)

    with pytest.raises(InvalidRequestError) as caught:
        load(tmp_path, 'backend: "fake"', loader(Catalog({"fake": backend})))

    assert str(caught.value) == f"'{pipe}' is a pipe, socket or device, not a file"
    assert backend.events == []


def test_unloading_tells_by_how_much_the_process_shrank(tmp_path: Path) -> None:
    sizes = iter([5000, 3000])
    models = ModelLoader(built_in(), trim=Trim(), resident_bytes=lambda: next(sizes))
    served = models.load(job_of(tmp_path, config_of(IDENTITY)))

    assert models.unload(served) == Freed(freed_bytes=2000, resident_bytes=3000)


def test_a_process_that_grew_meanwhile_gave_nothing_back(tmp_path: Path) -> None:
    sizes = iter([3000, 5000])
    models = ModelLoader(built_in(), trim=Trim(), resident_bytes=lambda: next(sizes))
    served = models.load(job_of(tmp_path, config_of(IDENTITY)))

    assert models.unload(served) == Freed(freed_bytes=0, resident_bytes=5000)
