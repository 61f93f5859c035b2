"""Where the server is in its life: starting, serving, draining, and whether it takes requests."""

from collections.abc import Callable
from typing import Protocol

from interlock.domain.readiness import ServerPhase


class Models(Protocol):
    """What the life of the server asks of the models."""

    def strictly_ready(self) -> bool:
        """Whether every version that is known serves, or was unloaded on purpose."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change."""
        ...


class ServerLife:
    """Implements `ports.ServerState`. The main thread moves it on; any thread asks."""

    def __init__(self, models: Models, *, strict_readiness: bool) -> None:
        self._models = models
        self._strict = strict_readiness
        self._listeners: tuple[Callable[[], None], ...] = ()
        self.phase = ServerPhase.STARTING
        self.accepting = True

    def ready(self) -> bool:
        if self.phase is not ServerPhase.SERVING:
            return False
        return not self._strict or self._models.strictly_ready()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners = (*self._listeners, listener)
        end = self._models.subscribe(listener)

        def stop() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)
            end()

        return stop

    def serve(self) -> None:
        """The first loads have ended."""
        self._move(ServerPhase.SERVING)

    def drain(self) -> None:
        """Health says NOT_SERVING from here on; requests are still taken."""
        self._move(ServerPhase.DRAINING)

    def refuse(self) -> None:
        """Take no request any more."""
        self.accepting = False
        self._move(ServerPhase.DRAINING)

    def _move(self, phase: ServerPhase) -> None:
        self.phase = phase
        for listener in self._listeners:
            listener()
