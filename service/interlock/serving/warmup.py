"""Warm a version up: run the samples of `model_warmup` on its instances before it serves.

Straight on the instance, past the scheduler. Whoever owns an instance that nobody else uses
yet calls `warm`: the loader, and later whoever adds an instance to a version that serves.
"""

import stat
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from interlock.backends.base import BatchResult, Instance
from interlock.domain.bytes_tensor import encode_elements
from interlock.domain.config import ModelConfig, WarmupData, WarmupInput, WarmupSample
from interlock.domain.datatypes import BY_WIRE, BYTES
from interlock.domain.errors import InvalidRequestError, ServiceError
from interlock.domain.ids import GenerationKey
from interlock.domain.request import InferRequest
from interlock.domain.request_rules import RequestRules
from interlock.domain.tensor import InputTensor
from interlock.repository.layout import is_inside
from interlock.serving.load_job import Inside
from interlock.telemetry.statistics import VersionStatistics

log = structlog.get_logger()

_FOLDER: Final = "warmup"
_NS_PER_MS: Final = 1_000_000

_Read = Callable[[WarmupInput, int], bytes]
"""Return so many bytes for an input from its file."""


@dataclass(frozen=True, slots=True)
class WarmupBatch:
    """One sample, ready to run: all its requests at once, so many times."""

    sample: str
    count: int
    requests: tuple[InferRequest, ...]


def warmup_batches(
    config: ModelConfig, model_directory: Path, rules: RequestRules, inside: Inside = is_inside
) -> tuple[WarmupBatch, ...]:
    """Return what the configuration wants run, in its order.

    Raise InvalidRequestError for a sample that the model could not take, or whose file is
    not what the sample says.
    """
    folder = model_directory / _FOLDER
    return tuple(
        _batch(sample, config, rules, lambda tensor, size: _from_file(tensor, folder, size, inside))
        for sample in config.warmup_samples
        if sample.batch_size > 0
    )


def warm(
    instance: Instance,
    batches: Iterable[WarmupBatch],
    statistics: VersionStatistics,
    *,
    key: GenerationKey,
    now_ns: Callable[[], int],
) -> None:
    """Run every batch on one instance; blocks. Nobody else may use the instance meanwhile.

    The executions are counted. Raise InvalidRequestError at the first sample that fails.
    """
    took_ns: list[int] = []
    for batch in batches:
        for iteration in range(1, batch.count + 1):
            headline = (
                f"model '{key.model}' instance {instance.name} is running warmup sample "
                f"'{batch.sample}' for iteration {iteration}"
            )
            log.debug(headline)
            began_ns = now_ns()
            result = _run(instance, batch)
            took_ns.append(now_ns() - began_ns)
            _count(statistics, batch.requests, result, took_ns[-1])
    if took_ns:
        log.info(
            "warmed up",
            model=key.model,
            version=key.version,
            instance=instance.name,
            runs=len(took_ns),
            first_ms=took_ns[0] / _NS_PER_MS,
            last_ms=took_ns[-1] / _NS_PER_MS,
        )


def _run(instance: Instance, batch: WarmupBatch) -> BatchResult:
    try:
        result = instance.run(batch.requests)
    except Exception as error:
        raise _failed(batch.sample, [error]) from error
    errors = [outcome for outcome in result.outcomes if isinstance(outcome, ServiceError)]
    if errors:
        raise _failed(batch.sample, errors)
    return result


def _failed(sample: str, errors: Iterable[Exception]) -> InvalidRequestError:
    """Return Triton's sentence: what went wrong, each kind of it once."""
    texts = dict.fromkeys(
        str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
        for error in errors
    )
    clauses = "".join(f"{text}; " for text in texts)
    return InvalidRequestError(f"failed to run warmup sample '{sample}': {clauses}")


def _count(
    statistics: VersionStatistics,
    requests: Sequence[InferRequest],
    result: BatchResult,
    took_ns: int,
) -> None:
    input_ns = result.compute_input_end_ns - result.compute_start_ns
    infer_ns = result.compute_output_start_ns - result.compute_input_end_ns
    output_ns = result.compute_end_ns - result.compute_output_start_ns
    batch_size = sum(request.batch_size for request in requests)
    statistics.record_execution(batch_size, input_ns, infer_ns, output_ns)
    for request in requests:
        statistics.record_success(
            batch_size=request.batch_size,
            request_ns=took_ns,
            queue_ns=0,
            input_ns=input_ns,
            infer_ns=infer_ns,
            output_ns=output_ns,
        )


def _batch(
    sample: WarmupSample, config: ModelConfig, rules: RequestRules, read: _Read
) -> WarmupBatch:
    limit = max(1, config.max_batch_size)
    if sample.batch_size > limit:
        raise _failed(
            sample.name,
            [
                InvalidRequestError(
                    f"batch_size {sample.batch_size} is more than the model's {limit}"
                )
            ],
        )
    batch = (1,) if config.max_batch_size > 0 else ()
    data = [_data(sample, tensor, read) for tensor in sample.inputs]
    requests = []
    for _ in range(sample.batch_size):
        inputs = [
            InputTensor(tensor.name, tensor.datatype, (*batch, *tensor.dims), content)
            for tensor, content in zip(sample.inputs, data, strict=True)
        ]
        request = InferRequest(model_name=config.name, id=sample.name, inputs=inputs)
        try:
            rules.check(request)
        except InvalidRequestError as error:
            raise _failed(sample.name, [error]) from error
        requests.append(request)
    return WarmupBatch(sample.name, max(1, sample.count), tuple(requests))


def _data(sample: WarmupSample, tensor: WarmupInput, read: _Read) -> bytes:
    if any(size < 0 for size in tensor.dims):
        raise InvalidRequestError(
            "warmup setting expects all variable-size dimensions are specified for input "
            f"'{tensor.name}'"
        )
    count = prod(tensor.dims)
    # A datatype that is not given has no size; the model's rules refuse it.
    size_bytes = BY_WIRE[tensor.datatype].size_bytes if tensor.datatype else 0
    match tensor.data:
        case WarmupData.UNSET:
            raise InvalidRequestError(
                f"warmup setting expects input '{tensor.name}' to have input_data_type set"
            )
        case WarmupData.FILE:
            return read(tensor, count * size_bytes)
        case WarmupData.RANDOM if size_bytes:
            return _random(f"{sample.name}/{tensor.name}", tensor.datatype, count)
    if tensor.datatype == BYTES:
        return encode_elements([b""] * count)
    return bytes(count * size_bytes)


def _random(seed: str, datatype: str, count: int) -> bytes:
    """Return values that are the same at each load.

    Floats from 0 to 1, since among random bits are numbers that no model is made for.
    """
    values = np.random.default_rng(zlib.crc32(seed.encode()))
    dtype = BY_WIRE[datatype].dtype
    if datatype == "BOOL":
        return values.integers(0, 2, count).astype(dtype).tobytes()
    if datatype == "BF16":
        return (values.random(count, np.float32).view(np.uint32) >> 16).astype(dtype).tobytes()
    if dtype.kind == "f":
        return values.random(count).astype(dtype).tobytes()
    return values.bytes(count * dtype.itemsize)


def _from_file(tensor: WarmupInput, folder: Path, size_bytes: int, inside: Inside) -> bytes:
    """Return the tensor's bytes from a file; that of a BYTES tensor holds its raw form."""
    path = folder / tensor.file
    if not inside(path, folder):
        raise InvalidRequestError(
            f"warmup data file '{tensor.file}' for input '{tensor.name}' is outside the model's "
            f"directory '{_FOLDER}'"
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(f"warmup data file {path} is not a regular file")
        if status.st_size < size_bytes:
            raise InvalidRequestError(
                f"warmup setting expects {size_bytes} bytes, but the data provided from "
                f"{tensor.file} only has {status.st_size} bytes"
            )
        with path.open("rb") as file:
            return file.read() if tensor.datatype == BYTES else file.read(size_bytes)
    except OSError as error:
        raise InvalidRequestError(
            f"failed to open warmup data file {path}: {error.strerror}"
        ) from error
