"""Decide at start which models lie still, where nobody follows the repositories.

A version that is being copied while the server starts is not touched before it is there. In
poll mode the poller sees to that.
"""

from collections.abc import Callable, Iterable, Iterator

import structlog

from interlock.domain.ids import ModelName
from interlock.repository.scan import Scanning
from interlock.repository.stager import Stager
from interlock.repository.staging import Settling
from interlock.runtime.clock import Clock

log = structlog.get_logger()


class FirstLook:
    """Hands on the models to load at start, those first that lie still.

    `patience_s` is how long to wait for the others: after that they are tried as they are,
    and a load under which files move is refused. `pause` waits for so many seconds, and
    returns whether nobody wants to wait any longer.
    """

    def __init__(
        self,
        *,
        scanner: Scanning,
        stager: Stager,
        patience_s: float,
        clock: Clock,
        pause: Callable[[float], bool],
    ) -> None:
        self._scanner = scanner
        self._stager = stager
        self._patience_s = patience_s
        self._clock = clock
        self._pause = pause

    def as_they_settle(self, models: Iterable[ModelName]) -> Iterator[ModelName]:
        """Yield every model once. Waits, in the caller's thread."""
        left = list(models)
        until = self._clock() + self._patience_s
        while left:
            moving = self._moving()
            yield from (model for model in left if model not in moving)
            left = [model for model in left if model in moving]
            if left and not self._wait(left, until):
                yield from left
                return

    def _moving(self) -> frozenset[str]:
        staging = self._stager.look(self._scanner.scan())
        return frozenset(key.model for key, one in staging.items() if isinstance(one, Settling))

    def _wait(self, left: list[ModelName], until: float) -> bool:
        """Wait for the next look; whether there is to be one."""
        now = self._clock()
        if now >= until:
            return False
        log.info("models are given time to lie still", models=left, at_most_s=until - now)
        due = min(until, self._stager.next_look() or until)
        return not self._pause(max(0.0, due - now))
