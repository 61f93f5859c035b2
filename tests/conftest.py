"""What the tests of every folder share."""

from collections.abc import Iterator

import pytest

from tests.support.server_process import EXAMPLE_REPOSITORY, ServerProcess


@pytest.fixture(scope="session")
def example_server() -> Iterator[str]:
    """The address of a server, in a process of its own, that serves the examples."""
    with ServerProcess.start([f"--model-repository={EXAMPLE_REPOSITORY}"]) as server:
        yield server.address
        code = server.terminate()
    assert code == 0, server.log
