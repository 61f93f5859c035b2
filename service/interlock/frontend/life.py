"""Where the server is in its life: starting, serving, draining, and whether it takes requests."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from interlock.domain.ids import ModelName
from interlock.domain.readiness import ServerPhase

Listener = Callable[[], None]


class Models(Protocol):
    """What the life of the server asks of the models. Any thread; nothing blocks."""

    def objections(self) -> Iterator[str]:
        """Yield a sentence for each model that strict readiness minds."""
        ...

    def lacking(self, required: Iterable[ModelName]) -> Iterator[tuple[ModelName, str]]:
        """Yield which of these models do not serve, each with the reason."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every change."""
        ...


class Repositories(Protocol):
    """What the life of the server asks of the repositories. Any thread; nothing blocks."""

    @property
    def missed(self) -> Mapping[str, str]:
        """Of which of them nothing could be loaded since the start, by path, and why."""
        ...

    @property
    def any_listed(self) -> bool:
        """Whether any of them was of use since the start."""
        ...

    @property
    def all_listed(self) -> bool:
        """Whether it is known what each of them holds now."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every change."""
        ...


class ServerLife:
    """Implements `ports.ServerState`. The main thread moves it on; any thread asks.

    Where models are `required`, ready means that these serve, and the others do not count.
    """

    def __init__(
        self,
        models: Models,
        repositories: Repositories,
        *,
        strict_readiness: bool,
        required: Sequence[str] = (),
    ) -> None:
        self._models = models
        self._repositories = repositories
        self._strict = strict_readiness
        self._required = tuple(map(ModelName, required))
        self._listeners: tuple[Listener, ...] = ()
        self.phase = ServerPhase.STARTING
        self.accepting = True

    def live(self) -> bool:
        """Whether there is a point in going on: without any repository there never was."""
        return self.phase is not ServerPhase.SERVING or self._repositories.any_listed

    def ready(self) -> bool:
        return next(self.objections(), None) is None

    def objections(self) -> Iterator[str]:
        """Yield why the server is not ready, the weightiest first; nothing where it is."""
        if self.phase is ServerPhase.STARTING:
            yield "the first loads have not ended"
        elif self.phase is ServerPhase.DRAINING:
            yield "the server is stopping"
        elif self._required:
            for model, why in self._models.lacking(self._required):
                yield f"required model '{model}' {why}"
        else:
            yield from self._repositories.missed.values()
            if self._strict:
                yield from self._models.objections()

    def repositories_listed(self) -> bool:
        return self._repositories.all_listed

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners = (*self._listeners, listener)
        ends = (self._models.subscribe(listener), self._repositories.subscribe(listener))

        def stop() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)
            for end in ends:
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
