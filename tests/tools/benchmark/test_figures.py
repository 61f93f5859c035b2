"""What was measured against its goal, and how that is told."""

import pytest

from tools.benchmark.figures import (
    Figure,
    all_reached,
    number,
    percentile,
    stall_limit_ms,
    table,
)


@pytest.mark.parametrize(
    ("value", "limit", "reached"),
    [
        pytest.param(11.9, 12.0, True, id="below"),
        pytest.param(12.0, 12.0, True, id="at the limit"),
        pytest.param(12.1, 12.0, False, id="above"),
        pytest.param(1e9, None, None, id="no goal"),
    ],
)
def test_a_goal_is_reached_up_to_its_limit(
    value: float, limit: float | None, reached: bool | None
) -> None:
    assert Figure("part", "name", value, "ms", limit).reached is reached


@pytest.mark.parametrize(("value", "reached"), [(0.79, False), (0.8, True), (0.81, True)])
def test_a_goal_may_be_the_least_that_there_must_be(value: float, reached: bool) -> None:
    assert Figure("part", "name", value, "x", 0.8, is_least=True).reached is reached


def test_one_missed_goal_is_enough() -> None:
    good = [Figure("p", "a", 1, "ms", 2), Figure("p", "b", 9, "ms")]

    assert all_reached(good)
    assert not all_reached([*good, Figure("p", "c", 3, "ms", 2)])


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.5, 50, id="median"),
        pytest.param(0.99, 99, id="the last but one of a hundred"),
        pytest.param(1.0, 99, id="the greatest"),
    ],
)
def test_a_percentile_is_one_of_the_values(share: float, expected: int) -> None:
    assert percentile(list(range(99, -1, -1)), share) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("rest_ms", "limit_ms"),
    [pytest.param(1, 10, id="10 ms"), pytest.param(5, 15, id="three times that at rest")],
)
def test_the_greater_of_two_limits_holds_for_a_stall(rest_ms: float, limit_ms: float) -> None:
    assert stall_limit_ms(rest_ms) == limit_ms


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0.0012345, "0.00123", id="small"),
        pytest.param(3.14159, "3.14", id="three digits"),
        pytest.param(123456.7, "123457", id="large"),
    ],
)
def test_numbers_are_told_without_powers_of_ten(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_says_of_each_goal_whether_it_was_reached() -> None:
    lines = table(
        [
            Figure("start", "ratio", 4.8, "x", 12),
            Figure("start", "memory", 88, "kB", remark="of each"),
            Figure("scan", "CPU", 120, "ms", 100),
            Figure("scan", "speed", 0.9, "x", 0.8, is_least=True),
        ]
    ).splitlines()

    assert [line.split() for line in lines] == [
        ["start"],
        ["ratio", "4.8", "x", "at", "most", "12", "x", "reached"],
        ["memory", "88", "kB", "of", "each"],
        ["scan"],
        ["CPU", "120", "ms", "at", "most", "100", "ms", "MISSED"],
        ["speed", "0.9", "x", "at", "least", "0.8", "x", "reached"],
    ]


def test_a_figure_for_a_program_says_whether_its_goal_was_reached() -> None:
    assert Figure("p", "n", 3, "ms", 2).as_map() == {
        "part": "p",
        "name": "n",
        "value": 3,
        "unit": "ms",
        "limit": 2,
        "remark": "",
        "is_least": False,
        "reached": False,
    }
