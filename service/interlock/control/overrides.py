"""What stands in the place of the repository's own, and for how long.

A configuration that came with a load *sticks*, as in Triton: later loads go on to use it
until what lies beside the versions on disk changes, the configuration first of all, or the
model is unloaded. Files that came with a load do not: the next plain load returns to the
repository.
"""

import threading
from dataclasses import dataclass, replace

import structlog

from interlock.control.polling import PLAIN, Look, Repository
from interlock.control.wishes import Polled
from interlock.domain.ids import ModelName

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Kept:
    config: str
    common: str


class Overrides:
    """Polls models with what was put in the place of their files. Any thread may call.

    For one model, one at a time: whoever has the model's turn.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        # Guards the dictionary. A leaf.
        self._lock = threading.Lock()
        self._kept: dict[ModelName, _Kept] = {}

    def poll(self, model: ModelName, look: Look = PLAIN) -> Polled:
        """Poll as asked; without a configuration of its own, with the one that sticks."""
        polled, lasts = self._poll(model, look)
        if not lasts:
            log.info("config override ends, the files have changed", model=model)
            self.forget(model)
        return polled

    def peek(self, model: ModelName) -> Polled:
        """Poll as a plain load would, and leave everything as it is. Any thread, any time."""
        return self._poll(model, replace(PLAIN, fetches=False))[0]

    def _poll(self, model: ModelName, look: Look) -> tuple[Polled, bool]:
        """Return what there is, and whether the configuration that sticks goes on to."""
        with self._lock:
            kept = self._kept.get(model)
        if look.origin or kept is None:
            return self._repository.poll(model, look), True
        polled = self._repository.poll(model, replace(look, config=kept.config))
        if polled.common == kept.common:
            return polled, True
        return self._repository.poll(model, look), False

    def keep(self, polled: Polled, look: Look) -> None:
        """Let what was loaded stick, if it does; called when it serves."""
        if look.origin:
            log.info(look.origin, model=polled.model)
        if look.files:
            self.forget(polled.model)
        elif look.config is not None:
            with self._lock:
                self._kept[polled.model] = _Kept(look.config, polled.common)

    def forget(self, model: ModelName) -> None:
        """Use again what the repository has."""
        with self._lock:
            self._kept.pop(model, None)
