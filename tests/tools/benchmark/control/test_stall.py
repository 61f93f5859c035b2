"""What was sent while another model was loaded, and what it waited for."""

import shutil
from pathlib import Path

import pytest

from tools.benchmark.control.stall import (
    Sent,
    Span,
    Spans,
    Waits,
    figures,
    wait_of,
    waited_s,
    within,
)


def test_what_counts_for_a_span_is_what_was_sent_in_it() -> None:
    spans = [Span(1.0, 2.0, 0), Span(3.0, 4.0, 0)]
    sent = [Sent(0, moment, 9.0) for moment in (0.9, 1.0, 1.9, 2.0, 3.5, 4.0)]

    assert [one.sent for one in within(sent, spans)] == [1.0, 1.9, 3.5]


def test_the_kernel_tells_waiting_after_running_in_nanoseconds() -> None:
    assert waited_s("100 2500000000 7\n") == 2.5


def test_a_thread_that_ends_has_waited_as_long_as_when_it_was_last_seen(tmp_path: Path) -> None:
    for thread, text in (("7", "0 1000000000 1"), ("8", "0 500000000 1")):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    waits = Waits(tmp_path)
    assert waits.seconds() == 1.5

    shutil.rmtree(tmp_path / "7")
    (tmp_path / "8" / "schedstat").write_text("0 750000000 2")

    assert waits.seconds() == 1.75


def test_waiting_is_told_for_one_second() -> None:
    assert wait_of([Span(0.0, 2.0, 0.3), Span(5.0, 7.0, 0.1)]) == pytest.approx(0.1)


def test_the_p99_while_loading_has_a_limit_that_comes_from_rest() -> None:
    spans = Spans(
        rest=[Span(0.0, 1.0, 0.0)], loading=[Span(1.0, 2.0, 0.5)], unloading=[Span(2.0, 3.0, 0.0)]
    )
    sent = [Sent(begin, begin, begin + took) for begin, took in ((0, 0.005), (1, 0.02), (2, 0.03))]

    found = {one.name: one for one in figures("small", "large-inline", 100.0, sent, spans)}

    assert found["'small', inline weights: p99 at rest"].value == pytest.approx(5)
    while_loading = found["'small', inline weights: p99 while it loads"]
    assert (while_loading.value, while_loading.limit) == pytest.approx((20, 15))
    assert while_loading.reached is False
