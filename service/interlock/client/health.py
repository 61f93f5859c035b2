"""Ask grpc.health.v1 for a status.

The two messages have one field each and are written and read here by hand: a container
asks every few seconds in a process of its own, and loading protobuf would double its cost.
"""

from dataclasses import dataclass
from typing import Final

from interlock.client.calls import HEALTH, Client

SERVING: Final = "SERVING"
_STATUSES: Final = ("UNKNOWN", SERVING, "NOT_SERVING", "SERVICE_UNKNOWN")
_FIELD_1_BYTES: Final = b"\x0a"
_FIELD_1_VARINT: Final = b"\x08"
_SEVEN_BITS: Final = 0x7F


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@dataclass(frozen=True, slots=True)
class HealthRequest:
    """`HealthCheckRequest`: the name of a service, "" for the whole server."""

    service: str

    def SerializeToString(self) -> bytes:  # noqa: N802 - the protocol of a message
        name = self.service.encode()
        return _FIELD_1_BYTES + _varint(len(name)) + name if name else b""


@dataclass(frozen=True, slots=True)
class HealthResponse:
    """`HealthCheckResponse`: a status, by its name."""

    status: str

    @classmethod
    def FromString(cls, data: bytes) -> "HealthResponse":  # noqa: N802 - the protocol of a message
        """Read the one field; a value that is newer than we are is UNKNOWN."""
        is_known = data[:1] == _FIELD_1_VARINT and len(data) > 1 and data[1] < len(_STATUSES)
        return cls(_STATUSES[data[1]] if is_known else _STATUSES[0])

    def SerializeToString(self) -> bytes:  # noqa: N802 - the protocol of a message
        return _FIELD_1_VARINT + bytes([_STATUSES.index(self.status)])


def check(client: Client, service: str) -> str:
    """Return the status of a service by its name in the protocol."""
    return client.call("Check", HealthRequest(service), HealthResponse, service=HEALTH).status
