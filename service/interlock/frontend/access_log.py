"""The access log: one line for each request, or for a share of them.

Where it is off there is none: whoever ends a request asks `if access_log is not None`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Any thread may write. `draw` gives numbers in [0, 1)."""

    fraction: float
    draw: Callable[[], float] = random.random

    @staticmethod
    def of(fraction: float) -> "AccessLog | None":
        """Return the log for that share of all requests; None for 0."""
        return AccessLog(fraction) if fraction > 0.0 else None

    def record(
        self,
        *,
        rpc: str,
        id: str,  # noqa: A002 - the field's name everywhere
        model: str,
        version: str,
        status: str,
        duration_us: int,
        peer: str,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Write the line of one request, if the lot falls on it; `status` is gRPC's name."""
        if self.fraction < 1.0 and self.draw() >= self.fraction:
            return
        log.info(
            "request",
            rpc=rpc,
            id=id,
            model=model,
            version=version,
            status=status,
            duration_us=duration_us,
            peer=peer,
            request_bytes=request_bytes,
            response_bytes=response_bytes,
        )
