"""What all agents in one load may take."""

import pytest

from tools.benchmark.agents.together import figures
from tools.benchmark.agents.turns import Turn, Turns


@pytest.mark.parametrize(
    ("together_s", "times", "reached"),
    [
        pytest.param(6, 1.0, True, id="the sum"),
        pytest.param(7.8, 1.3, True, id="the limit"),
        pytest.param(9, 1.5, False, id="too much"),
    ],
)
def test_holds_all_in_one_load_against_the_sum_of_the_parts(
    together_s: float, times: float, reached: bool
) -> None:
    seconds = {"checksum": 1.0, "signature": 2.0, "decrypt": 3.0, "all three": together_s}
    turns = Turns({name: [(Turn(one, one), Turn(one, one))] for name, one in seconds.items()})

    first, *others = figures(turns, size=16_000_000)

    assert first.value == pytest.approx(times)
    assert first.reached is reached
    assert [(one.name, one.value, one.unit) for one in others] == [
        (f"16 MB: {name}", 1e3 * one, "ms") for name, one in seconds.items()
    ]
