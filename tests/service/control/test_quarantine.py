"""When a version that failed is tried again."""

import pytest

from interlock.control.quarantine import delay_after, next_try, note


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [(1, 15), (2, 30), (3, 60), (6, 480), (7, 600), (8, 600), (10**9, 600)],
)
def test_the_delay_doubles_up_to_ten_minutes(failures: int, delay_s: float) -> None:
    assert delay_after(failures) == delay_s


def test_the_next_try_counts_from_the_failure() -> None:
    assert next_try(100.0, 2) == 130.0


def test_the_note_says_how_often_it_failed_and_when_the_next_try_is() -> None:
    assert note(1) == "quarantined, next try in 15 s"
    assert note(3) == "quarantined after 3 failures, next try in 60 s"
    assert note(1, by_itself=False) == "quarantined, until its content changes or somebody asks"
