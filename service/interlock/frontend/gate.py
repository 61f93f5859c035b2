"""Decide whether a call may go on.

The server must take calls, and the call must carry the header that its group needs.

The order is Triton's: drain first, then the restricted protocols. Every RPC passes here
before its handler sees it.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from interlock.domain.errors import UnavailableError
from interlock.domain.readiness import ServerPhase
from interlock.frontend.ports import ServerState
from interlock.settings import RestrictedProtocols

Category = Literal[
    "health",
    "metadata",
    "inference",
    "shared-memory",
    "model-config",
    "model-repository",
    "statistics",
    "trace",
    "logging",
]
"""The groups of RPCs that can be restricted: the values of `settings.ProtocolCategory`."""

DRAINING: Final = "GRPC server is shutting down and has stopped accepting new requests."
EXITING: Final = "Server exiting"
NOT_READY: Final = "Server not ready"

_HEADER_PREFIX: Final = "triton-grpc-protocol-"


class Gate:
    """Lets calls pass or raises. Any thread may ask; nothing blocks."""

    def __init__(
        self, *, state: ServerState, restricted: Sequence[RestrictedProtocols] = ()
    ) -> None:
        self._state = state
        self._expected = {
            category.value: (f"{_HEADER_PREFIX}{group.key}", group.value.encode())
            for group in restricted
            for category in group.categories
        }

    def restricts(self, category: Category) -> bool:
        """Whether calls of this group need a header; fixed for the life of the server."""
        return category in self._expected

    def key_name(self, category: Category) -> str:
        """Return the header that calls of this group need to pass, "" where they need none."""
        expected = self._expected.get(category)
        return "" if expected is None else expected[0]

    def check(self, category: Category, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Let the call pass, or raise UnavailableError.

        Health passes while the server drains: whoever asks has to learn that it does.
        """
        if category != "health" and not self._state.accepting:
            raise UnavailableError(DRAINING)
        expected = self._expected.get(category)
        if expected is None:
            return
        header, value = expected
        if not _carries(metadata, header, value):
            raise UnavailableError(f"This protocol is restricted, expecting header '{header}'")

    def check_started(self) -> None:
        """Raise UnavailableError until the first loads have ended.

        Asked where something is not there: it may only not be there yet.
        """
        if self._state.phase is ServerPhase.STARTING:
            raise UnavailableError(NOT_READY)

    def check_not_exiting(self) -> None:
        """Raise UnavailableError once new requests are refused."""
        if not self._state.accepting:
            raise UnavailableError(EXITING)


def _carries(metadata: Iterable[tuple[str, str | bytes]], header: str, value: bytes) -> bool:
    wanted = header.lower()  # as every key is on the wire
    found = False
    for key, given in metadata:
        if key == wanted:
            data = given if isinstance(given, bytes) else given.encode(errors="surrogatepass")
            # In constant time, and no early way out: how long we take says nothing of the value.
            found |= hmac.compare_digest(data, value)
    return found
