"""What the agents of a load take of memory, from the system's own account of a process."""

from pathlib import Path

import pytest

from tools.benchmark.agents import models
from tools.benchmark.agents.loads import DECRYPT
from tools.benchmark.agents.peak import field_bytes, peak_bytes, taken_bytes

KIB = 1 << 10
SIZE = 24_000_000


def status(*, peak: int, now: int, shared: int) -> str:
    return f"Name:\tx\nVmHWM:\t{peak:8} kB\nVmRSS:\t{now:8} kB\nRssShmem:\t{shared:8} kB\n"


def test_reads_a_field() -> None:
    assert field_bytes(status(peak=7, now=5, shared=3), "VmRSS") == 5 * KIB


def test_says_that_there_is_no_such_field() -> None:
    with pytest.raises(ValueError, match="no field VmLck"):
        field_bytes(status(peak=7, now=5, shared=3), "VmLck")


@pytest.mark.parametrize(
    ("allocated", "expected"),
    [
        pytest.param(0, 900, id="no file"),
        pytest.param(700, 900, id="all of a file is mapped"),
        pytest.param(1000, 1200, id="some of it is not mapped, and is there all the same"),
    ],
)
def test_counts_from_before_the_load_to_the_peak(allocated: int, expected: int) -> None:
    before = status(peak=200, now=100, shared=0)
    after = status(peak=1000, now=800, shared=700)

    assert taken_bytes(before, after, allocated=allocated * KIB) == expected * KIB


def test_a_model_that_was_decrypted_is_there_once(tmp_path: Path) -> None:
    model = models.write(tmp_path / "m", SIZE)

    taken = peak_bytes(model, [DECRYPT])

    assert SIZE < taken < 2 * SIZE
