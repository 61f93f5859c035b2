"""Swapping a model under traffic. `tools/swap_stress` does it for longer, and faster."""

import pytest

from tools import swap_stress
from tools.swap_stress import Shown, windows_of
from tools.traffic import Answer, Answers, Window, violations_in

WINDOWS = windows_of([Shown(0, 0, 0), Shown(1, 100, 200), Shown(2, 300, 400)])


def test_no_request_fails_and_every_answer_is_of_its_time() -> None:
    outcome = swap_stress.run(clients=8, loads=10)

    assert outcome.failures == ()
    assert outcome.violations == ()
    assert outcome.files_seen == 11
    assert outcome.requests > 100


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(10, 20, 0), id="before the swap"),
        pytest.param(Answer(110, 150, 1), id="during the load, by the new file"),
        pytest.param(Answer(110, 150, 0), id="during the load, by the old file"),
        pytest.param(Answer(190, 350, 0), id="sent before the load returned"),
        pytest.param(Answer(410, 450, 2), id="after the last swap"),
    ],
)
def test_an_answer_of_its_time_is_accepted(answer: Answer) -> None:
    assert violations_in(Answers.of([answer]), WINDOWS) == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(10, 20, 1), id="a file that was not there yet"),
        pytest.param(Answer(201, 250, 0), id="the old file after the load had returned"),
        pytest.param(Answer(410, 450, 0), id="a much older file"),
        pytest.param(Answer(410, 450, 7), id="a file that there never was"),
    ],
)
def test_an_answer_of_another_time_is_found(answer: Answer) -> None:
    assert len(violations_in(Answers.of([answer]), WINDOWS)) == 1


def test_the_past_is_over_once_anybody_was_answered_by_the_successor() -> None:
    by_successor = Answer(110, 120, 1)
    sent_before = Answer(119, 190, 0)
    sent_after = Answer(121, 190, 0)

    assert violations_in(Answers.of([by_successor, sent_before]), WINDOWS) == []
    (found,) = violations_in(Answers.of([by_successor, sent_after]), WINDOWS)
    assert (found.answers, found.constant) == (1, 0)
    assert "after its file had been replaced" in str(found)


def test_a_file_may_come_back() -> None:
    windows = [Window(1, 0, 200), Window(2, 100, 400), Window(1, 300, 600)]
    answers = Answers.of([Answer(10, 20, 1), Answer(210, 220, 2), Answer(410, 420, 1)])

    assert violations_in(answers, windows) == []
    (found,) = violations_in(Answers.of([Answer(230, 240, 1)]), windows)
    assert found.constant == 1
