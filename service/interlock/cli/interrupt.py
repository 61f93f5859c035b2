"""What Ctrl-C means to a verb that would go on for ever: its regular end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from interlock.cli.verb import DONE


@contextmanager
def interrupt_is_the_end() -> Iterator[None]:
    """End the process, with success, at SIGINT; for what holds nothing and flushes each line.

    Not by KeyboardInterrupt: raised while gRPC runs a callback or a finaliser, it is lost.
    """
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(DONE)
