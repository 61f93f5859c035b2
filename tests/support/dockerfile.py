"""Read a Dockerfile as far as ours needs it: enough to do by hand what an engine would do."""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a stage, continuation lines joined."""

    keyword: str
    text: str

    @property
    def command(self) -> list[str]:
        """The JSON form of a command, which needs no shell."""
        return [str(word) for word in json.loads(self.text[self.text.index("[") :])]


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands between two FROM lines, the first of them included."""

    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        return [one for one in self.instructions if one.keyword == keyword]

    def only(self, keyword: str) -> Instruction:
        (found,) = self.all(keyword)
        return found

    @property
    def image(self) -> str:
        return self.only("FROM").text.split()[0]

    @property
    def environment(self) -> dict[str, str]:
        return dict(one.text.split("=", 1) for one in self.all("ENV"))


def read_stages(path: Path) -> list[Stage]:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    instructions = [Instruction(*line.split(maxsplit=1)) for line in lines]
    starts = [index for index, one in enumerate(instructions) if one.keyword == "FROM"]
    borders = [*starts, len(instructions)]
    return [Stage(tuple(instructions[start:end])) for start, end in itertools.pairwise(borders)]
