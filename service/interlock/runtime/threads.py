"""Start threads that have a name and whose unexpected end is heard of.

The only place that starts a thread. Pools of grpcio handlers are made here as well.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

log = structlog.get_logger()

OnDeath = Callable[[BaseException], None]
Thread = threading.Thread  # noqa: TID251 - the one place


def spawn(name: str, target: Callable[[], None], *, on_death: OnDeath | None = None) -> Thread:
    """Start a daemon thread; what escapes from `target` is logged and handed to `on_death`.

    Threads are daemons so that one that hangs in foreign code cannot keep the process
    from ending; whoever starts one also ends it.
    """

    def supervised() -> None:
        try:
            target()
        except BaseException as error:
            log.exception("thread died", thread=name)
            if on_death is not None:
                on_death(error)

    thread = Thread(target=supervised, name=name, daemon=True)
    thread.start()
    return thread


def pool(name: str, size: int) -> ThreadPoolExecutor:
    """Make a pool of named threads, started as work comes."""
    return ThreadPoolExecutor(max_workers=size, thread_name_prefix=name)
