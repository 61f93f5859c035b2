"""Send the same bytes again and again, so many at a time, and tell how long each took."""

import asyncio
import time
from dataclasses import dataclass, field

import grpc
import grpc.aio

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(slots=True)
class Load:
    """What one round of load saw. `latencies_s` has one entry for each request."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.latencies_s)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Client:
    """One channel to one server, kept open between rounds."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_UNLIMITED)
        self._call = self._channel.unary_unary(METHOD)

    async def run(self, message: bytes, *, concurrency: int, seconds: float) -> Load:
        """Keep `concurrency` requests under way for so long; raise where one fails."""
        load = Load()
        start = time.perf_counter()
        end = start + seconds

        async def loop() -> None:
            while (sent := time.perf_counter()) < end:
                await self._call(message)
                load.latencies_s.append(time.perf_counter() - sent)

        await asyncio.gather(*(loop() for _ in range(concurrency)))
        load.elapsed_s = time.perf_counter() - start
        return load

    async def once(self, message: bytes) -> bytes:
        answer: bytes = await self._call(message)
        return answer

    async def close(self) -> None:
        await self._channel.close()
