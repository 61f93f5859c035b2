"""How those who take turns are compared, from times that are given."""

from collections.abc import Callable

import pytest

from tools.benchmark.agents.turns import Turn, Turns, rounds_for, take_turns, timed


def turns(**seconds: list[tuple[float, float]]) -> Turns:
    return Turns(
        {
            name: [(Turn(one, one / 2), Turn(two, two / 2)) for one, two in rows]
            for name, rows in seconds.items()
        }
    )


def test_everyone_works_there_and_back_in_every_round_and_once_before() -> None:
    calls: list[str] = []

    def working(name: str) -> Callable[[], Turn]:
        def work() -> Turn:
            calls.append(name)
            return Turn(len(calls), 0)

        return work

    taken = take_turns({name: working(name) for name in "abc"}, 2)

    assert "".join(calls) == "abc" + "abccba" * 2
    assert taken.rounds["a"] == [(Turn(4, 0), Turn(9, 0)), (Turn(10, 0), Turn(15, 0))]


def test_takes_the_mean_of_a_round_and_the_median_of_the_rounds() -> None:
    taken = turns(a=[(1, 3), (10, 10), (4, 4)])

    assert taken.seconds("a") == 4
    assert taken.cpu_seconds("a") == 2


def test_compares_within_a_round() -> None:
    taken = turns(a=[(1, 1), (100, 100)], b=[(2, 2), (200, 200)])

    assert taken.times("b", ["a"]) == [2, 2]
    assert taken.times("b", ["a", "b"]) == [pytest.approx(2 / 3)] * 2


def test_the_fastest_is_so_in_the_median() -> None:
    taken = turns(a=[(5, 5), (1, 1), (5, 5)], b=[(4, 4), (4, 4), (4, 4)])

    assert taken.fastest("ab") == "b"


def test_noise_is_how_much_the_same_work_differs_within_a_round() -> None:
    assert turns(a=[(8, 10), (10, 8), (5, 5)]).noise("a") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(1000, 3, id="the largest"),
        pytest.param(400, 6, id="twice for less than half"),
        pytest.param(1, 48, id="sixteen times at most"),
    ],
)
def test_short_rounds_are_made_more_often(size: int, expected: int) -> None:
    assert rounds_for(size, largest=1000, rounds=3) == expected


def test_times_what_is_done() -> None:
    done = timed(lambda: sum(range(200_000)))

    assert done.seconds > 0
    assert done.cpu_seconds > 0
