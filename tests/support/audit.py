"""Read an audit log."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.wire import eventually

WITHIN_S: Final = 30.0

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFile:
    """The file of a server's audit log, which may not be there yet."""

    path: Path

    def lines(self, **fields: object) -> list[Line]:
        """Return the lines in which these fields have these values."""
        text = self.path.read_text() if self.path.exists() else ""
        found: list[Line] = [json.loads(line) for line in text.splitlines()]
        return [line for line in found if fields.items() <= line.items()]

    def wait_for(self, **fields: object) -> None:
        """Wait for a line with these values."""
        eventually(lambda: self.lines(**fields) != [], within_s=WITHIN_S)

    def story(self, model: str) -> list[tuple[str, int | None, str]]:
        """Return what was done to a model, to which version, and what came of it."""
        lines = self.lines(model=model)
        told = [(one["what"], one["version"], one["outcome"]) for one in lines]
        return [one for one in told if one[0] != "digest"]

    def digest_of(self, model: str, version: int, generation: int = 1) -> str:
        """Return the digest that was told last of a generation."""
        of = {"model": model, "version": version, "generation": generation}
        digests = [line["digest"] for line in self.lines(**of)]
        return next((one for one in reversed(digests) if one not in {"", "pending"}), "")
