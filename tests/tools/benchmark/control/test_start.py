"""What many models cost at start."""

import pytest

from tools.benchmark.control.start import Start, figures


def test_compares_medians_of_starts_with_few_and_with_many_models() -> None:
    starts = {
        1000: [Start(9.0, 1014, 200_000_000), Start(5.0, 1014, 200_000_000)] * 2,
        100: [Start(1.0, 114, 110_000_000)] * 3,
    }

    found = {figure.name: figure for figure in figures(starts)}

    assert found["T(1000) / T(100)"].value == 7.0
    assert found["T(1000) / T(100)"].limit == 12.0
    assert found["threads for each model"].value == 1.0
    assert found["memory for each model"].value == pytest.approx(100.0)


def test_the_limit_is_for_ten_times_the_models() -> None:
    starts = {20: [Start(1.0, 1, 1)], 100: [Start(2.0, 1, 1)]}

    (ratio,) = (one for one in figures(starts) if one.limit is not None)

    assert ratio.limit == 6.0
