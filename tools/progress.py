"""Say in one line what is being done, and how long it took.

On a terminal the line shows the seconds and the command's last words while it works;
elsewhere nothing is ever overwritten. Standard library only: it runs before anything is installed.
"""

import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final, TextIO

LOOK_EVERY_S: Final = 0.2
BLOCK_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    seconds: float


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    # Rounded first, so that there are never 60 seconds to a minute.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


class Line:
    """One line on the screen, from the start of a piece of work to its end."""

    def __init__(self, title: str, *, out: TextIO | None = None) -> None:
        self._title = title
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._started = time.monotonic()
        self._out.write(f"  {title} …")
        self._out.flush()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def update(self, words: str) -> None:
        """Show that it is still going on; only a terminal does."""
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            text = f"  {self._title} … {self.seconds:.0f} s  {words}"
            self._out.write(f"\r\x1b[K{text[: columns - 1]}")
            self._out.flush()

    def end(self, words: str) -> None:
        start = f"\r\x1b[K  {self._title} …" if self._terminal else ""
        self._out.write(f"{start} {words}\n")
        self._out.flush()


def run(title: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Ended:
    """Run the command, its output kept, and say on one line that it runs and how it went."""
    line = Line(title)
    with subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        # Popen makes the pipe, since it was told to.
        assert process.stdout is not None
        output = _read(process.stdout, line.update)
    seconds = line.seconds
    line.end(duration(seconds) if process.returncode == 0 else f"failed ({process.returncode})")
    return Ended(process.returncode, output, seconds)


def _read(pipe: IO[bytes], show: Callable[[str], None]) -> str:
    """Return all that comes out of the pipe, and show its last line a few times a second."""
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if selector.select(LOOK_EVERY_S):
                block = os.read(pipe.fileno(), BLOCK_BYTES)
                if not block:
                    return output.decode(errors="replace")
                output += block
            show(last_line(output))


def last_line(output: bytes | bytearray) -> str:
    """Return the last line that says something."""
    lines = bytes(output[-1000:]).decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
