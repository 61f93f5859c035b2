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
        # The last one may be half there.
        whole = text[: text.rfind("\n") + 1]
        found: list[Line] = [json.loads(line) for line in whole.splitlines()]
        return [line for line in found if fields.items() <= line.items()]

    def wait_for(self, *, at_least: int = 1, **fields: object) -> list[Line]:
        """Wait for lines with these values, and return them."""
        eventually(lambda: len(self.lines(**fields)) >= at_least, within_s=WITHIN_S)
        return self.lines(**fields)

    def wait_for_story(self, model: str, *ends: tuple[str, int | None, str]) -> None:
        """Wait until all of this has been told of a model."""
        eventually(lambda: set(ends) <= set(self.story(model)), within_s=WITHIN_S)

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
