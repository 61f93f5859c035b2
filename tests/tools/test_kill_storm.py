"""A small storm, for the tool's own sake: each phase is killed in another test."""

from tools import kill_storm


def test_servers_that_are_killed_leave_nothing_that_the_next_one_minds() -> None:
    outcome = kill_storm.run(rounds=1, seed=4, megabytes=1)

    assert outcome.failures == []
    assert outcome.rounds == 1
