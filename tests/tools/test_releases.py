"""Releases are what the commands make, and what is shown changes in one step."""

from pathlib import Path

import pytest

from interlock.control.agent_policy_file import PolicySource
from tools.releases import STRANGER, CommandError, Releases, content_of, interlock


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path, "adder")
    releases.prepare("first")
    return releases


def test_a_release_is_encrypted_and_signed_and_a_rotation_keeps_it_so(releases: Releases) -> None:
    releases.show(releases.release({1: 1, 2: 2}, key="first"))
    before = releases.shown
    assert content_of(2)[-64:] not in (before / "2" / "model.onnx.enc").read_bytes()
    assert releases.files_for("first") == 3

    releases.show(releases.rotated("first", "second"))

    assert releases.shown != before
    assert (releases.files_for("first"), releases.files_for("second")) == (0, 3)
    assert "as signed by release" in interlock(
        "verify", releases.shown, "--signer-directory", releases.signers
    )


def test_a_stranger_is_none_of_the_signers(releases: Releases) -> None:
    forged = releases.release({1: 1}, key="first", signer=STRANGER)

    with pytest.raises(CommandError, match=r"^interlock verify .*signed with another key"):
        interlock("verify", forged, "--signer-directory", releases.signers)


def test_the_policy_of_the_example_is_one_that_a_server_takes(releases: Releases) -> None:
    policy, _ = PolicySource(releases.policy, repositories=(releases.repository,)).read()

    rule = policy.rule_for("whatever")
    assert rule is not None
    assert [agent.name for agent in rule.required] == ["signature", "decrypt"]
    assert rule.forbidden == ("*",)
