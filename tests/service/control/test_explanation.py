"""Why a version does not serve, in one sentence."""

from dataclasses import replace

import pytest

from interlock.control.explanation import Surroundings, why_not_ready
from interlock.domain.readiness import Readiness
from interlock.domain.transition import Phase, VersionState
from tests.support.control import key

HERE = Surroundings(policy="latest 1")
NOW = 100.0


def state(phase: Phase, reason: str = "") -> VersionState:
    return VersionState(key(1), phase, Readiness.UNKNOWN, reason)


FAILED = state(Phase.FAILED, "Internal: broken")
UNLOADED = state(Phase.UNLOADED, "no longer asked for")
NEXT = "its next content is staging: settling"
POLICY = "the version policy (latest 1) does not select it"
HELD = replace(HERE, hold="held: rolled back")


@pytest.mark.parametrize(
    ("states", "around", "why"),
    [
        ([state(Phase.READY), FAILED], HERE, ""),
        ([state(Phase.LOADING, "asked for")], HERE, "loading: asked for"),
        ([state(Phase.NEW)], HERE, "new"),
        ([FAILED], HERE, "failed: Internal: broken"),
        (
            [replace(FAILED, failures=1, next_try=NOW + 15)],
            HERE,
            "failed: Internal: broken; quarantined, next try in 15 s",
        ),
        (
            [replace(FAILED, failures=3, next_try=NOW - 1)],
            replace(HERE, staging="staging: settling"),
            "failed: Internal: broken; quarantined after 3 failures, next try in 0 s; " + NEXT,
        ),
        ([UNLOADED], HERE, "unloaded: no longer asked for"),
        ([UNLOADED], replace(HERE, is_selected=False), POLICY),
        ([UNLOADED], replace(HERE, staging="staging: settling"), "staging: settling"),
        ([state(Phase.UNLOADED)], replace(HERE, is_on_disk=False), "unloaded"),
        ([], HERE, "nothing has asked to load it since its files came"),
        ([], replace(HERE, trouble="Internal: no"), "Internal: no"),
        ([], replace(HERE, is_selected=False), POLICY),
        ([], replace(HERE, is_selected=False, problem="no config"), "no config"),
        ([], replace(HERE, is_on_disk=False), "its directory is not in the repository"),
        ([], replace(HERE, is_on_disk=False, problem="no root"), "no root"),
        ([], replace(HERE, staging="staging: 1 of 2 files"), "staging: 1 of 2 files"),
        ([state(Phase.READY)], HELD, ""),
        ([], HELD, "held: rolled back"),
        ([UNLOADED], HELD, "unloaded: no longer asked for; held: rolled back"),
        ([state(Phase.STANDBY, "replaced")], HELD, "standby: replaced; held: rolled back"),
        ([], replace(HELD, staging="staging: settling"), "staging: settling; held: rolled back"),
        ([], replace(HELD, trouble="Internal: no"), "Internal: no; held: rolled back"),
        ([UNLOADED], replace(HELD, is_selected=False), POLICY),
        ([], replace(HELD, is_on_disk=False), "its directory is not in the repository"),
        ([], replace(HELD, is_on_disk=False, problem="no config"), "no config"),
    ],
)
def test_there_is_one_sentence_for_each_reason(
    states: list[VersionState], around: Surroundings, why: str
) -> None:
    assert why_not_ready(states, around, NOW) == why
