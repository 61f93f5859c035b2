"""Readers go on where they were, and who missed something starts anew."""

from interlock.control.events import Events
from interlock.control.index import GenerationView, ModelView
from interlock.domain.ids import ModelName
from interlock.domain.readiness import Readiness
from interlock.domain.transition import News, Phase, Transition, VersionState
from tests.support.control import key


def move(moment: float, version: int = 1) -> Transition:
    return Transition(key(version), Phase.NEW, Phase.LOADING, "asked for", moment)


def test_the_first_reading_is_where_everything_is_in_order() -> None:
    states = {name: VersionState(key(1, 1, name), Phase.READY, Readiness.READY) for name in "ba"}
    events = Events()
    events.publish(
        [],
        {
            ModelName(name): ModelView(
                ModelName(name), (), generations=(GenerationView(state, "f"),)
            )
            for name, state in states.items()
        },
    )

    assert events.news(None) == News(0, snapshot=(states["a"], states["b"]))


def test_a_reader_hears_what_came_since_in_order() -> None:
    events = Events()
    events.publish([move(1.0)], {})
    position = events.news(None).position

    events.publish([move(2.0), move(3.0)], {})
    events.publish([move(4.0)], {})

    assert events.news(position) == News(4, moves=(move(2.0), move(3.0), move(4.0)))
    assert events.news(4) == News(4)


def test_one_who_missed_what_is_no_longer_kept_gets_everything_anew() -> None:
    events = Events(kept=2)
    events.publish([move(1.0), move(2.0), move(3.0)], {})

    assert events.news(1) == News(3, moves=(move(2.0), move(3.0)))
    assert events.news(0) == News(3, snapshot=())
