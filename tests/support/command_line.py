"""Run one `interlock` command in this process and keep what it printed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from interlock.cli.main import main
from tests.support.scripted_server import ScriptedServer


@dataclass(frozen=True, slots=True)
class Printed:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines of the output, blanks between the columns as one."""
        return [" ".join(line.split()) for line in self.out.splitlines()]


class CommandLine:
    """Runs commands, by default against one server."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def run(self, *words: str) -> Printed:
        code = main(words)
        out, err = self._capture.readouterr()
        return Printed(code, out, err)

    def ask(self, server: ScriptedServer, words: Sequence[str]) -> Printed:
        """Run a client verb against `server`."""
        return self.run(*words, f"--server={server.address}")
