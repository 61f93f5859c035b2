#!/usr/bin/env python3
"""Draw the life of a version, from its table, into docs/lifecycle.md.

With `--check` nothing is written; the exit code is 1 if the picture is stale.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from interlock.control.lifecycle import ON_THE_WAY, OVER, TRANSITIONS, Phase, readiness_of

PICTURE: Final = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"

_HEAD: Final = """\
# The life of a version

Drawn by `tools/draw_lifecycle.py` from `control/lifecycle.py`; change the table, not this file.

Each content of a version, a *generation*, goes this way once. When the content changes, the next
generation begins at `new` while the former one stays `ready`, until the new one takes its place.
A content that is still arriving is `staging`, and no generation yet.
"""

_MIDDLE: Final = """\

A move that is not in the picture is refused. Clients never see a phase, but Triton's words:

| phase | clients see | |
|---|---|---|
"""


def drawn() -> str:
    """Return the whole page."""
    return f"{_HEAD}\n```mermaid\n{_lines(_diagram())}```\n{_MIDDLE}{_lines(_rows())}"


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    yield f"    [*] --> {Phase.NEW.value}"
    for (before, event), after in TRANSITIONS.items():
        yield f"    {before.value} --> {after.value}: {event.value}"
    for phase in Phase:
        if phase in OVER and all(before is not phase for before, _ in TRANSITIONS):
            yield f"    {phase.value} --> [*]"


def _rows() -> Iterator[str]:
    for phase in Phase:
        yield f"| {phase.value} | {readiness_of(phase).value} | {_holds(phase)} |"


def _holds(phase: Phase) -> str:
    if phase is Phase.STAGING:
        return "not complete yet: nobody has touched it"
    if phase in ON_THE_WAY:
        return "on its way: not decided yet whether it will be built"
    if phase in OVER:
        return "over: holds nothing"
    return "built: holds memory"


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether the picture is stale")
    parser.add_argument("--output", type=Path, default=PICTURE, help="where the picture is")
    options = parser.parse_args(arguments)
    if not options.check:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(drawn(), encoding="utf-8")
        return 0
    if options.output.is_file() and options.output.read_text(encoding="utf-8") == drawn():
        return 0
    print(f"{options.output} is stale: run tools/draw_lifecycle.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
