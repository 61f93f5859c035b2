"""What the tests of the wire share. Each module has a `server` of its own."""

from collections.abc import Iterator

import pytest

from tests.support.wire import Client, WireServer


@pytest.fixture(scope="module")
def client(server: WireServer) -> Iterator[Client]:
    """A channel to the server of this module."""
    with server.client() as client:
        yield client
