"""What is said to those who publish in the wrong order."""

import pytest

from interlock_agents.signing.order import hint_for, hint_for_missing, hint_for_unsigned


def test_a_manifest_comes_before_the_signature() -> None:
    hint = " (sign again: 'interlock sign' comes after 'interlock manifest')"

    assert hint_for("manifest.json") == hint_for("1/x", "manifest.json") == hint
    assert hint_for("1/x", "1/manifest.json") == ""


@pytest.mark.parametrize(
    ("missing", "there", "says"),
    [
        (["1/m"], ["1/m.enc"], "signed before it was encrypted"),
        (["1/m.enc"], ["1/m"], "name 'signature' before 'decrypt'"),
        (["1/m"], ["1/n"], ""),
        (["1/m.enc"], ["1/n"], ""),
    ],
)
def test_encryption_comes_before_the_signature_or_goes_last(
    missing: list[str], there: list[str], says: str
) -> None:
    hint = hint_for_missing(missing, there)

    assert says in hint
    assert bool(hint) == bool(says)


def test_a_signature_that_was_encrypted_is_not_there_yet() -> None:
    assert hint_for_unsigned({"1/m"}, "model.sig") == ""
    assert hint_for_unsigned({"model.sig.enc"}, "model.sig") == (
        " (model.sig was encrypted with it: sign again: 'interlock sign' comes after "
        "'interlock encrypt', or name 'decrypt' before 'signature' in config.pbtxt)"
    )
