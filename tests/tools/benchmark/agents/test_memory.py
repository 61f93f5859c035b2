"""What the agents may take besides the model."""

import pytest

from tools.benchmark.agents.memory import figure

SIZE = 256_000_000


@pytest.mark.parametrize(
    ("peak", "reached", "remark"),
    [
        pytest.param(1_000_000, True, "", id="of one that only reads"),
        pytest.param(271_900_000, True, "+15.9 MB beyond the model", id="just enough"),
        pytest.param(272_100_000, False, "+16.1 MB beyond the model", id="too much"),
    ],
)
def test_the_model_and_16_mb_are_the_limit(peak: int, reached: bool, remark: str) -> None:
    found = figure(("decrypt",), peak, size=SIZE)

    assert (found.name, found.limit, found.reached, found.remark) == (
        "256 MB: decrypt",
        272,
        reached,
        remark,
    )


def test_several_agents_are_all_three() -> None:
    assert figure(("a", "b", "c"), 1, size=SIZE).name == "256 MB: all three"
