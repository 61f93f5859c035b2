"""The signature agent: what it takes, what it refuses, and in which words."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    Fault,
    FilesLocation,
    Location,
)
from interlock_agents.signature import SignatureAgent
from interlock_agents.signing.signers import SignerDirectory
from tests.support.agent_model import AgentModelFake
from tests.support.signing import (
    ISSUER,
    NOW,
    OTHER,
    P256,
    RELEASE,
    ROOT,
    certified,
    change_bundle,
    public_pem,
    sign_directory,
    write_model,
)


@pytest.fixture
def signers(tmp_path: Path) -> Path:
    directory = tmp_path / "signers"
    directory.mkdir(mode=0o755)
    for name, content in (
        ("release", public_pem(P256)),
        ("nightly", public_pem(OTHER)),
        ("company", ROOT.pem),
    ):
        (directory / f"{name}.pem").write_bytes(content)
        (directory / f"{name}.pem").chmod(0o644)
    return directory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return sign_directory(write_model(tmp_path / "m"))


def load(
    signers: Path,
    location: Location | Path,
    parameters: Mapping[str, str] | None = None,
    *versions: int,
    action: Action = Action.LOAD,
) -> AgentModelFake:
    model = AgentModelFake(location, parameters, versions=versions)
    SignatureAgent(SignerDirectory(signers), lambda: NOW).act(action, model)
    return model


def refusal(
    signers: Path,
    location: Location | Path,
    parameters: Mapping[str, str] | None = None,
    *versions: int,
) -> AgentError:
    with pytest.raises(AgentError) as refused:
        load(signers, location, parameters, *versions)
    return refused.value


def test_a_model_that_is_as_it_was_signed_passes(signers: Path, model: Path) -> None:
    seen = load(signers, model)

    (name, key), *others = seen.notes[1:]
    assert seen.notes[0] == ("signer", "release")
    assert (name, key.split(" ")[0]) == ("signed with", "key")
    assert others == [("signed files", "4")]
    assert not seen.published


def test_only_loading_is_its_business(signers: Path, model: Path) -> None:
    (model / "model.sig").unlink()

    for action in Action:
        if action is not Action.LOAD:
            assert not load(signers, model, action=action).notes


def test_only_the_versions_that_are_loaded_count(signers: Path, model: Path) -> None:
    (model / "2" / "model.onnx").write_text("half there")

    assert load(signers, model, {}, 1).notes[-1] == ("signed files", "3")
    error = refusal(signers, model, {}, 2)
    assert str(error) == "model.sig: file 2/model.onnx is not what was signed"
    assert error.fault is Fault.INVALID


def test_signers_can_be_chosen(signers: Path, model: Path) -> None:
    assert load(signers, model, {"signers": "nightly, release"}).notes
    assert str(refusal(signers, model, {"signers": "nightly"})).endswith(") than those of nightly")


def test_a_certificate_can_be_asked_for(signers: Path, model: Path) -> None:
    sign_directory(model, RELEASE.key, chain=(RELEASE, ISSUER))

    assert load(signers, model, {"subject": "CN=release"}).notes[:2] == [
        ("signer", "company"),
        ("signed with", "CN=release"),
    ]
    assert str(refusal(signers, model, {"subject": "CN=x"})) == (
        "model.sig: signed by 'CN=release', and must be by certificate 'CN=x'"
    )


def test_an_expired_certificate_does_not_count(signers: Path, model: Path) -> None:
    late = certified("late", ISSUER, end=NOW - timedelta(seconds=1))
    sign_directory(model, late.key, chain=(late, ISSUER))

    assert str(refusal(signers, model)) == (
        "model.sig: certificate 'CN=late' has expired on 2030-06-01 11:59:59 UTC"
    )


def test_a_model_goes_by_its_own_name_or_one_that_is_given(signers: Path, model: Path) -> None:
    sign_directory(model, name="digits")

    assert str(refusal(signers, model)) == (
        "model.sig: it is the signature of model 'digits', and not of 'm'"
    )
    assert load(signers, model, {"name": "digits"}).notes
    assert load(signers, model, {"name": "*"}).notes


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"key": "x"}, "unknown parameter 'key'; known are signers, subject, name"),
        ({"signers": " "}, "parameter 'signers' is empty"),
        ({"subject": ""}, "parameter 'subject' is empty"),
        ({"name": ""}, "parameter 'name' is empty"),
    ],
)
def test_parameters_that_are_none_are_refused(
    signers: Path, model: Path, parameters: Mapping[str, str], reason: str
) -> None:
    assert str(refusal(signers, model, parameters)) == reason


@pytest.mark.parametrize("names", ["release,", "../signers/release", "absent"])
def test_signers_who_are_none_are_refused(signers: Path, model: Path, names: str) -> None:
    error = refusal(signers, model, {"signers": names})

    assert "signer" in str(error)
    assert error.fault is Fault.UNAVAILABLE


def test_a_signature_of_another_kind_is_not_called_a_bad_one(signers: Path, model: Path) -> None:
    change_bundle(model, "mediaType", to="x/v1")
    error = refusal(signers, model)

    assert str(error).startswith("model.sig: a bundle of type 'x/v1', not")
    assert error.fault is Fault.UNSUPPORTED


def test_a_model_without_a_signature_is_refused(signers: Path) -> None:
    error = refusal(signers, FilesLocation({}))

    assert str(error) == "model.sig: the model is not signed: it has no file model.sig"


def test_whoever_waits_no_longer_ends_it(signers: Path, model: Path) -> None:
    waiting = AgentModelFake(model, cancel_after=0)

    with pytest.raises(AgentCancelledError):
        SignatureAgent(SignerDirectory(signers), lambda: NOW).act(Action.LOAD, waiting)


def test_the_time_is_todays(signers: Path, model: Path) -> None:
    far = certified("far", ISSUER, start=NOW.replace(year=2990), end=NOW.replace(year=2999))
    sign_directory(model, far.key, chain=(far, ISSUER))

    with pytest.raises(AgentError, match="'CN=far' is not valid before 2990-06-01"):
        SignatureAgent(SignerDirectory(signers)).act(Action.LOAD, AgentModelFake(model))
