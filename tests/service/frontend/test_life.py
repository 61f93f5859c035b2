"""The phases of the server, and what ready means."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from interlock.domain.ids import ModelName
from interlock.domain.readiness import ServerPhase
from interlock.frontend.life import ServerLife


class Told:
    """Something that tells its listeners when a test says so."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self) -> None:
        for listener in self.listeners:
            listener()


class FakeModels(Told):
    """Models that are ready or not, as the test says."""

    def __init__(self, *objections: str, lacking: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.found = list(objections)
        self.missing = dict(lacking or {})

    def objections(self) -> Iterator[str]:
        yield from self.found

    def lacking(self, required: Iterable[ModelName]) -> Iterator[tuple[ModelName, str]]:
        for model in required:
            if model in self.missing:
                yield model, self.missing[model]


class FakeRepositories(Told):
    """Repositories of which some cannot be listed, or could not at start."""

    def __init__(
        self, missed: Mapping[str, str] | None = None, *, any_: bool = True, all_: bool = True
    ) -> None:
        super().__init__()
        self.missed: Mapping[str, str] = missed or {}
        self.any_listed = any_
        self.all_listed = all_


def life(
    models: FakeModels | None = None,
    repositories: FakeRepositories | None = None,
    *,
    strict: bool = True,
    required: Iterable[str] = (),
    serving: bool = True,
) -> ServerLife:
    server = ServerLife(
        models or FakeModels(),
        repositories or FakeRepositories(),
        strict_readiness=strict,
        required=tuple(required),
    )
    if serving:
        server.serve()
    return server


def test_a_server_that_starts_takes_requests_and_is_not_ready() -> None:
    starting = life(serving=False)

    assert starting.phase is ServerPhase.STARTING
    assert starting.accepting
    assert starting.live()
    assert not starting.ready()
    assert list(starting.objections()) == ["the first loads have not ended"]


def test_it_is_ready_once_the_first_loads_have_ended() -> None:
    assert life().ready()


def test_one_model_that_is_not_ready_makes_a_strict_server_unready() -> None:
    models = FakeModels("model 'bad' version 1 is LOADING")

    strict = life(models)

    assert not strict.ready()
    assert list(strict.objections()) == ["model 'bad' version 1 is LOADING"]
    assert life(models, strict=False).ready()


@pytest.mark.parametrize("strict", [True, False])
def test_where_models_are_required_these_decide_and_no_other(strict: bool) -> None:
    models = FakeModels(
        "model 'other' version 1 is UNAVAILABLE: Internal: broken",
        lacking={"late": "was not loaded", "other": "was not loaded"},
    )

    assert life(models, strict=strict, required=["good"]).ready()
    assert not life(models, strict=strict, required=["good", "late"]).ready()
    assert list(life(models, strict=strict, required=["late"]).objections()) == [
        "required model 'late' was not loaded"
    ]


def test_an_empty_repository_is_ready_unless_models_are_required() -> None:
    models = FakeModels(lacking={"m": "is not in any model repository"})

    assert life(models).ready()
    assert not life(models, required=["m"]).ready()


@pytest.mark.parametrize("strict", [True, False])
def test_a_repository_that_was_missed_makes_the_server_unready(strict: bool) -> None:
    repositories = FakeRepositories({"/models": "no directory: /models"})

    server = life(FakeModels(), repositories, strict=strict)

    assert list(server.objections()) == ["no directory: /models"]
    assert server.live()
    assert life(FakeModels(), repositories, strict=strict, required=["m"]).ready()


def test_a_server_of_which_no_repository_could_be_listed_is_not_live() -> None:
    repositories = FakeRepositories({"/models": "no directory: /models"}, any_=False)

    server = life(FakeModels(), repositories, serving=False)
    assert server.live()  # not known yet
    server.serve()
    assert (server.live(), server.ready()) == (False, False)

    repositories.any_listed, repositories.missed = True, {}
    assert (server.live(), server.ready()) == (True, True)


def test_a_repository_that_cannot_be_listed_any_more_changes_nothing_but_its_own_name() -> None:
    server = life(FakeModels(), FakeRepositories(all_=False))

    assert (server.live(), server.ready(), server.repositories_listed()) == (True, True, False)
    assert life().repositories_listed()


def test_a_draining_server_is_not_ready_and_takes_requests_until_it_refuses() -> None:
    server = life()
    server.drain()
    assert (server.ready(), server.accepting) == (False, True)

    server.refuse()

    assert not server.accepting
    assert list(server.objections()) == ["the server is stopping"]


def test_who_listens_hears_of_every_phase_of_the_models_and_of_the_repositories() -> None:
    models, repositories = FakeModels(), FakeRepositories()
    server = life(models, repositories, serving=False)
    heard: list[ServerPhase] = []
    end = server.subscribe(lambda: heard.append(server.phase))

    server.serve()
    models.tell()
    repositories.tell()
    server.drain()
    end()
    server.refuse()

    serving = ServerPhase.SERVING
    assert heard == [serving, serving, serving, ServerPhase.DRAINING]
    assert models.listeners == repositories.listeners == []
