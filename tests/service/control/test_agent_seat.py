"""One agent's place: what it hears, in which thread, and what is left to be heard."""

from pathlib import Path

from structlog.testing import capture_logs

from interlock.control.agent_model import Found, HeldModel, Subject
from interlock.control.agent_pool import CutOff
from interlock.control.agent_seat import Seat
from interlock_agents.api import Action, AgentCancelledError, AgentError, RepositoryAgent
from tests.support.agents import NOWHERE, Act, Player, ScratchFake, nothing, raising

L, C, F, U, D = Action


class Place:
    """A seat with a player on it."""

    def __init__(self, act: Act = nothing) -> None:
        self.scratch = ScratchFake()
        self.cut_off = CutOff()
        self.player = Player(act, "a", [], lambda: None)
        self.model = HeldModel(
            Subject("m"), {}, Found(NOWHERE), scratch_root=self.scratch, cut_off=self.cut_off
        )
        self.seat = Seat("a", self.player.make, self.model)

    def tell(self, *actions: Action) -> None:
        for action in actions:
            assert self.seat.post(action)
            self.seat.work()


def test_acts_on_what_it_is_told() -> None:
    place = Place()

    place.tell(L, C)

    assert place.player.story == [L, C]
    assert not place.seat.is_busy


def test_what_comes_while_it_is_at_work_is_heard_after_that() -> None:
    place = Place(lambda action, _: action is L and place_of[0].seat.post(F))
    place_of = [place]

    place.tell(L)

    assert place.player.story == [L, F]
    assert not place.seat.is_busy


def test_nobody_else_is_to_work_while_it_is_at_work() -> None:
    place = Place()

    assert place.seat.post(L)
    assert not place.seat.post(F)
    assert place.seat.is_busy

    place.seat.work()
    assert place.player.story == [L, F]


def test_a_refusal_is_told_once() -> None:
    refusal = AgentError("no")

    def refuse(_: Action, __: object) -> None:
        raise refusal

    place = Place(refuse)
    place.tell(L)

    assert place.seat.take_refusal() is refusal
    assert place.seat.take_refusal() is None


def test_what_it_gives_up_when_asked_to_is_not_logged() -> None:
    def give_up(action: Action, _: object) -> None:
        if action is F:
            raise AgentCancelledError

    place = Place(give_up)

    with capture_logs() as logs:
        place.tell(L, F)

    assert logs == []


def test_an_agent_that_was_never_made_hears_nothing() -> None:
    def cannot_be_made() -> RepositoryAgent:
        raise ImportError

    place = Place()
    seat = Seat("a", cannot_be_made, place.model)
    for action in (L, F):
        assert seat.post(action)
        seat.work()

    assert isinstance(seat.take_refusal(), ImportError)
    assert place.player.story == []


def test_a_load_that_nobody_wants_is_not_begun() -> None:
    place = Place()
    assert place.seat.post(L)
    place.cut_off.cut()

    place.seat.work()

    assert isinstance(place.seat.take_refusal(), AgentCancelledError)
    assert place.player.made == 0


def test_without_a_thread_a_load_is_forgotten_and_the_rest_is_not() -> None:
    place = Place()
    assert place.seat.post(L)
    place.seat.take_back()
    place.tell(F)
    assert place.player.story == []

    other = Place()
    other.tell(L, C)
    assert other.seat.post(U)
    other.seat.take_back()
    other.tell(D)
    assert other.player.story == [L, C, U, D]


def test_everything_is_given_back_with_the_end_of_the_story(tmp_path: Path) -> None:
    place = Place(lambda _, model: model.scratch())
    place.tell(L, C, U)
    assert len(place.scratch.there) == 1

    place.tell(D)

    assert place.scratch.there == set()


class UnspeakableError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_that_says_nothing_leaves_the_place_as_any_other() -> None:
    place = Place(raising(UnspeakableError()))

    with capture_logs() as logs:
        place.tell(L, C, U, D)

    assert place.player.story == [L, C, U, D]
    assert not place.seat.is_busy
    assert [line["event"].rpartition(": ")[2] for line in logs] == ["UnspeakableError"] * 3
