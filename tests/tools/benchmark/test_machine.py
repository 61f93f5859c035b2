"""When the machine is too busy to measure on."""

import pytest

from tools.benchmark.machine import remark_on


def test_says_that_others_wait_for_a_processor() -> None:
    pressure = "some avg10=47.31 avg60=5.00 avg300=1.00 total=7\nfull avg10=0.00\n"

    assert remark_on(pressure) == (
        "the machine is busy: in 47 % of the last 10 s somebody waited for a processor. "
        "Latencies will be too high"
    )


@pytest.mark.parametrize(
    "pressure",
    [
        pytest.param("some avg10=1.50 avg60=90.00 avg300=80.00 total=7\n", id="quiet now"),
        pytest.param("", id="a kernel that does not tell"),
    ],
)
def test_says_nothing_of_a_quiet_machine(pressure: str) -> None:
    assert remark_on(pressure) == ""
