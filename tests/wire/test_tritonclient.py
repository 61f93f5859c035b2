"""tritonclient, unmodified, for every RPC that is implemented: blocking and asyncio."""

import asyncio
import queue
from collections.abc import Coroutine, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.support.models import Port, Repository
from tests.support.wire import TIMEOUT_S, WireServer, serving

LABELS = b"cat\ndog\nfox\n"
SCORES = np.array([[0.1, 0.7, 0.2]], "<f4")
WORDS = np.array([[b"one", b"two", b"three"]], dtype=object)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    ports = (Port("FP32", (3,), labels="labels.txt"), Port("BYTES", (3,)))
    repository.identity("model", *ports, max_batch_size=4, files={"labels.txt": LABELS})
    repository.identity("half", Port("FP16"), Port("BF16"))
    repository.identity("spare")
    with serving(repository) as server:
        yield server


@pytest.fixture(scope="module")
def blocking(server: WireServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.address) as client:
        yield client


def inputs() -> list[Any]:
    scores = triton.InferInput("INPUT0", list(SCORES.shape), "FP32")
    scores.set_data_from_numpy(SCORES)
    words = triton.InferInput("INPUT1", list(WORDS.shape), "BYTES")
    words.set_data_from_numpy(WORDS)
    return [scores, words]


def outputs() -> list[Any]:
    return [
        triton.InferRequestedOutput("OUTPUT0", class_count=1),
        triton.InferRequestedOutput("OUTPUT1"),
    ]


def check_answer(result: Any, *, classified: bool = False) -> None:
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), WORDS)
    if classified:
        assert result.as_numpy("OUTPUT0").tolist() == [[b"0.700000:1:dog"]]
    else:
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), SCORES)


def test_health(blocking: Any) -> None:
    assert blocking.is_server_live()
    assert blocking.is_server_ready()
    assert blocking.is_model_ready("model")
    assert blocking.is_model_ready("model", "1")
    assert not blocking.is_model_ready("nowhere")


def test_metadata_and_configuration(blocking: Any) -> None:
    assert blocking.get_server_metadata().name == "triton"
    assert blocking.get_server_metadata(as_json=True)["name"] == "triton"
    assert [one.name for one in blocking.get_model_metadata("model").inputs] == ["INPUT0", "INPUT1"]
    assert blocking.get_model_config("model").config.max_batch_size == 4
    assert blocking.get_model_config("model", as_json=True)["config"]["name"] == "model"


def test_infer(blocking: Any) -> None:
    result = blocking.infer("model", inputs(), request_id="7", client_timeout=TIMEOUT_S)

    check_answer(result)
    assert result.get_response().id == "7"
    assert result.get_response().model_version == "1"


def test_infer_with_everything(blocking: Any) -> None:
    result = blocking.infer(
        "model",
        inputs(),
        model_version="1",
        outputs=outputs(),
        request_id="x",
        priority=1,
        timeout=1_000_000,
        headers={"any": "header"},
        compression_algorithm="gzip",
        parameters={"custom": "value"},
    )

    check_answer(result, classified=True)


def test_half_precision(blocking: Any) -> None:
    fp16 = triton.InferInput("INPUT0", [2], "FP16")
    fp16.set_data_from_numpy(np.array([0.5, -2], np.float16))
    bf16 = triton.InferInput("INPUT1", [2], "BF16")
    bf16.set_data_from_numpy(np.array([0.5, -2], ml_dtypes.bfloat16))

    result = blocking.infer("half", [fp16, bf16])

    assert result.as_numpy("OUTPUT0").tolist() == [0.5, -2]
    assert result.as_numpy("OUTPUT1").tolist() == [0.5, -2]


def test_errors_are_its_own(blocking: Any) -> None:
    with pytest.raises(InferenceServerException) as refused:
        blocking.infer("nowhere", inputs())

    assert refused.value.status() == "StatusCode.NOT_FOUND"
    assert refused.value.message() == "Request for unknown model: 'nowhere' is not found"


def test_async_infer(blocking: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    for _ in range(3):
        blocking.async_infer("model", inputs(), lambda result, error: answers.put((result, error)))

    for _ in range(3):
        result, error = answers.get(timeout=TIMEOUT_S)
        assert error is None
        check_answer(result)


def test_streams(blocking: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    blocking.start_stream(lambda result, error: answers.put((result, error)))

    for model in ("model", "nowhere", "model"):
        blocking.async_stream_infer(model, inputs(), request_id=model)

    first, second, third = (answers.get(timeout=TIMEOUT_S) for _ in range(3))
    blocking.stop_stream()
    check_answer(first[0])
    assert second[1].message() == "Request for unknown model: 'nowhere' is not found"
    check_answer(third[0])


def test_statistics(blocking: Any) -> None:
    blocking.infer("model", inputs())

    statistics = blocking.get_inference_statistics("model").model_stats[0]

    assert statistics.inference_count >= 1
    assert "model_stats" in blocking.get_inference_statistics(as_json=True)


def test_the_repository(blocking: Any) -> None:
    blocking.unload_model("spare")
    assert not blocking.is_model_ready("spare")

    blocking.load_model("spare")

    assert blocking.is_model_ready("spare")
    names = {model.name for model in blocking.get_model_repository_index().models}
    assert names == {"model", "half", "spare"}


def test_log_settings(blocking: Any) -> None:
    before = blocking.get_log_settings(as_json=True)["settings"]

    after = blocking.update_log_settings({"log_verbose_level": 1}, as_json=True)["settings"]

    assert after["log_verbose_level"] == {"uint32_param": 1}
    level = int(before["log_verbose_level"]["uint32_param"])
    blocking.update_log_settings({"log_verbose_level": level})


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.get_system_shared_memory_status(), id="system"),
        pytest.param(lambda client: client.get_cuda_shared_memory_status(), id="cuda"),
        pytest.param(lambda client: client.get_trace_settings(), id="trace"),
        pytest.param(
            lambda client: client.register_system_shared_memory("a", "/a", 16), id="register"
        ),
    ],
)
def test_what_is_not_implemented_says_so_in_a_sentence(blocking: Any, call: Any) -> None:
    with pytest.raises(InferenceServerException) as refused:
        call(blocking)

    assert refused.value.status() == "StatusCode.UNIMPLEMENTED"
    assert "not implemented" in refused.value.message()


async def use_everything(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("model")
        assert (await client.get_server_metadata()).name == "triton"
        assert len((await client.get_model_metadata("model")).outputs) == 2
        assert (await client.get_model_config("model")).config.name == "model"
        check_answer(await client.infer("model", inputs(), outputs=outputs()), classified=True)
        answers = await asyncio.gather(*(client.infer("model", inputs()) for _ in range(20)))
        for answer in answers:
            check_answer(answer)
        statistics = await client.get_inference_statistics("model")
        assert statistics.model_stats[0].inference_count >= 21
        await client.unload_model("spare")
        await client.load_model("spare")
        assert len((await client.get_model_repository_index()).models) == 3
        assert "log_info" in (await client.get_log_settings()).settings
        await client.update_log_settings({"log_info": True})
        with pytest.raises(InferenceServerException, match="unknown model: 'nowhere'"):
            await client.infer("nowhere", inputs())
        await use_a_stream(client)


async def use_a_stream(client: Any) -> None:
    async def requests() -> Any:
        for name in ("model", "nowhere", "model"):
            yield {"model_name": name, "inputs": inputs(), "request_id": name}

    answers = [answer async for answer in client.stream_infer(requests())]

    assert [str(error is None) for _, error in answers] == ["True", "False", "True"]
    check_answer(answers[0][0])


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


def test_everything_with_asyncio(server: WireServer) -> None:
    run(use_everything(server.address))


def test_a_cancelled_task_leaves_the_server_well(server: WireServer) -> None:
    async def give_up_then_go_on() -> None:
        async with triton_aio.InferenceServerClient(server.address) as client:
            tasks = [asyncio.create_task(client.infer("model", inputs())) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            check_answer(await client.infer("model", inputs()))

    run(give_up_then_go_on())
