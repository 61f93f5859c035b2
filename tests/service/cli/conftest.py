"""What the tests of the command line share."""

import os

import pytest

from tests.support.command_line import CommandLine


@pytest.fixture
def command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, with none of our variables in its environment."""
    for variable in [name for name in os.environ if name.startswith("INTERLOCK_")]:
        monkeypatch.delenv(variable)
    # The command sets it for itself; the other tests keep theirs.
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.setenv("COLUMNS", "100")
    return CommandLine(capsys)
