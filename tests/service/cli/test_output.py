import math

import pytest

from interlock.cli.output import finite, shape, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "BBB"), [("aaa", "b"), ("a", "")]) == "A    BBB\naaa  b\na"


def test_a_shape_is_written_as_in_the_protocol() -> None:
    assert shape([-1, 3]) == "[-1,3]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN"), (1.5, 1.5), (2, 2)],
)
def test_numbers_that_json_lacks_have_names(value: object, expected: object) -> None:
    assert finite(value) == expected
