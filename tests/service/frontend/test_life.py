from collections.abc import Callable

from interlock.domain.readiness import ServerPhase
from interlock.frontend.life import ServerLife


class FakeModels:
    """Models that are ready or not, as the test says."""

    def __init__(self) -> None:
        self.are_ready = True
        self.listeners: list[Callable[[], None]] = []

    def strictly_ready(self) -> bool:
        return self.are_ready

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


def life(models: FakeModels | None = None, *, strict: bool = True) -> ServerLife:
    return ServerLife(models or FakeModels(), strict_readiness=strict)


def test_a_server_that_starts_takes_requests_and_is_not_ready() -> None:
    starting = life()

    assert starting.phase is ServerPhase.STARTING
    assert starting.accepting
    assert not starting.ready()


def test_it_is_ready_once_the_first_loads_have_ended() -> None:
    server = life()
    server.serve()

    assert server.ready()


def test_one_model_that_is_not_ready_makes_a_strict_server_unready() -> None:
    models = FakeModels()
    strict, lenient = life(models), life(models, strict=False)
    strict.serve()
    lenient.serve()
    models.are_ready = False

    assert not strict.ready()
    assert lenient.ready()


def test_a_draining_server_is_not_ready_and_takes_requests_until_it_refuses() -> None:
    server = life()
    server.serve()
    server.drain()
    assert (server.ready(), server.accepting) == (False, True)

    server.refuse()

    assert not server.accepting


def test_who_listens_hears_of_every_phase_and_of_the_models() -> None:
    models = FakeModels()
    server = life(models)
    heard: list[ServerPhase] = []
    end = server.subscribe(lambda: heard.append(server.phase))

    server.serve()
    server.drain()
    for listener in models.listeners:
        listener()
    end()
    server.refuse()

    assert heard == [ServerPhase.SERVING, ServerPhase.DRAINING, ServerPhase.DRAINING]
    assert models.listeners == []
