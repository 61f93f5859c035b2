"""Broken messages harm nobody. `python -m tools.fuzz_wire` sends as many as one likes."""

import os

from tools import fuzz_wire


def test_broken_requests_harm_nobody() -> None:
    transport = os.environ.get("INTERLOCK_TEST_TRANSPORT") or "queue"

    assert fuzz_wire.run(transport, count=3_000, seed=2, threads=8) == []


def test_a_seed_makes_the_same_messages() -> None:
    first, second = fuzz_wire.Generator(5), fuzz_wire.Generator(5)

    assert [first.message() for _ in range(50)] == [second.message() for _ in range(50)]


def test_an_answer_that_shows_code_is_found() -> None:
    findings = fuzz_wire.Findings()

    findings.note("INTERNAL", 'File "x.py", line 1', b"\x0a")

    assert len(findings.wrong) == 1
