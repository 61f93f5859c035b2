"""Whose releases a server takes that has the policy of the example."""

from pathlib import Path

import pytest

from interlock.control.agent_policy_file import PolicySource
from tools.releases import STRANGER, CommandError, Releases, interlock


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path, "adder")
    releases.prepare("first")
    return releases


def test_a_stranger_is_none_of_the_signers(releases: Releases) -> None:
    forged = releases.release({1: 1}, key="first", signer=STRANGER)

    with pytest.raises(CommandError, match=r"^interlock verify .*signed with another key"):
        interlock("verify", forged, "--signer-directory", releases.signers)


def test_the_policy_of_the_example_is_one_that_a_server_takes(releases: Releases) -> None:
    policy, _ = PolicySource(releases.policy, repositories=(releases.repository,)).read()

    rule = policy.rule_for("whatever")
    assert rule is not None
    assert [agent.name for agent in rule.agents()] == ["snapshot", "signature", "decrypt"]
    assert rule.forbidden == ("*",)
