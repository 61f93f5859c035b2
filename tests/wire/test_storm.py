"""One model, loaded and unloaded by many at once. `tools/load_storm` does it for longer."""

from tools import load_storm


def test_no_call_fails_and_nothing_is_left_over() -> None:
    outcome = load_storm.run(callers=16, rounds=5)

    assert outcome.failures == ()
    assert outcome.answers > 0
