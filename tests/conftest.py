"""What the tests of every folder share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.server_process import EXAMPLE_REPOSITORY, ServerProcess

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def example_server() -> Iterator[str]:
    """The address of a server, in a process of its own, that serves the examples."""
    with ServerProcess.start([f"--model-repository={EXAMPLE_REPOSITORY}"]) as server:
        yield server.address
        code = server.terminate()
    assert code == 0, server.log
