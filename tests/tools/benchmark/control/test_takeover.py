"""When a version was proven, and when it first answered."""

import json

from tools.benchmark.control.takeover import gaps_ns, proven_ns
from tools.traffic import Answer, Answers

MS = 1_000_000


def line(event: str, model: str, time: str) -> str:
    return json.dumps({"time": time, "level": "info", "event": event, "model": model})


def test_reads_from_the_log_when_the_adder_was_proven() -> None:
    lines = [
        "not JSON",
        line("proven", "adder", "1970-01-01T00:00:01.500000Z"),
        line("proven", "another", "1970-01-01T00:00:02.000Z"),
        line("version moved", "adder", "1970-01-01T00:00:02.500Z"),
        line("proven", "adder", "1970-01-01T00:00:03.001250Z"),
    ]

    assert proven_ns(lines) == [1500 * MS, 3001 * MS + 250_000]


def test_counts_to_the_first_answer_of_each_version_whoever_got_it() -> None:
    answers = Answers.of(
        [
            Answer(0, 1 * MS, 0),
            Answer(0, 19 * MS, 1),
            Answer(0, 14 * MS, 1),
            Answer(0, 25 * MS, 2),
        ]
    )

    assert gaps_ns([10 * MS, 20 * MS], answers) == [4 * MS, 5 * MS]


def test_a_version_that_nobody_saw_is_left_out() -> None:
    assert gaps_ns([10 * MS, 20 * MS], Answers.of([Answer(0, 25 * MS, 2)])) == [5 * MS]
