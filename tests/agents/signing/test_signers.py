"""Who is trusted, as a directory says, and who of them has signed."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock_agents.signing.bundle import Bundle
from interlock_agents.signing.errors import SignatureError, SignersUnavailableError
from interlock_agents.signing.signers import (
    MAX_BYTES,
    NoSigners,
    SignerDirectory,
    Trusted,
    parse_signer,
    read_signer,
    signer_of,
)
from tests.support.signing import (
    ED25519,
    ISSUER,
    KEYS,
    NOW,
    OTHER,
    P256,
    P384,
    RELEASE,
    ROOT,
    certified,
    envelope,
    private_pem,
    public_pem,
    trusted,
)

CHAIN = (RELEASE, ISSUER)


def test_without_a_directory_nobody_is_trusted() -> None:
    with pytest.raises(SignersUnavailableError, match="nobody is trusted: --signer-directory"):
        NoSigners().trusted()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "signers"
    place.mkdir(mode=0o755)
    (place / "release.pem").write_bytes(public_pem(P256) + public_pem(ED25519))
    (place / "company.pem").write_bytes(b"The root of all.\n" + ROOT.pem)
    (place / "notes.txt").write_text("not a signer")
    for path in place.iterdir():
        path.chmod(0o644)
    return place


def test_what_belongs_to_another_user_is_not_relied_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(directory / "release.pem", 4242, -1)
        with pytest.raises(SignersUnavailableError, match=r"release.pem' belongs to another user"):
            SignerDirectory(directory).trusted(["release"])
        os.chown(directory, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)

    with pytest.raises(SignersUnavailableError, match=r"signers' belongs to another user"):
        SignerDirectory(directory).trusted()


def refusal(bundle: Bundle, *who: Trusted) -> str:
    with pytest.raises(SignatureError) as refused:
        signer_of(bundle, who, NOW)
    return str(refused.value)


def unavailable(directory: Path, names: Sequence[str] = ()) -> str:
    with pytest.raises(SignersUnavailableError) as refused:
        SignerDirectory(directory).trusted(names)
    return str(refused.value).replace(str(directory), "DIR")


@pytest.mark.parametrize("kind", KEYS)
def test_whose_key_has_signed_is_known(kind: str) -> None:
    signer = signer_of(
        envelope(KEYS[kind], b"x"), [trusted(OTHER, name="other"), trusted(*KEYS.values())], NOW
    )

    assert (signer.name, signer.subject) == ("release", "")
    assert str(signer) == f"release (key {signer.fingerprint[:12]})"


def test_a_bundle_that_does_not_tell_its_key_is_tried_with_all() -> None:
    bundle = dataclasses.replace(envelope(P384, b"x"), hint="")

    assert signer_of(bundle, [trusted(P256), trusted(P384, name="b")], NOW).name == "b"
    assert refusal(bundle, trusted(P256), trusted(OTHER, name="b")) == (
        "signed with another key than those of release, b, or changed"
    )


def test_whose_certificate_has_signed_is_known() -> None:
    company = trusted(certificates=[ROOT], name="company")
    signer = signer_of(envelope(RELEASE.key, b"x", CHAIN), [trusted(P256), company], NOW)

    assert (signer.name, signer.subject) == ("company", "CN=release")
    assert str(signer) == "company (CN=release)"


def test_the_key_of_another_does_not_count() -> None:
    bundle = envelope(OTHER, b"x")

    assert refusal(bundle, trusted(P256)) == (
        f"signed with another key ({bundle.hint[:12]}) than those of release"
    )


def test_whoever_claims_the_key_of_another_is_found_out() -> None:
    claimed = dataclasses.replace(envelope(OTHER, b"x"), hint=envelope(P256, b"x").hint)

    assert refusal(claimed, trusted(P256)) == (
        "the signature is not the key's of release: it was changed, or forged"
    )


def test_whoever_shows_the_certificate_of_another_is_found_out() -> None:
    shown = envelope(OTHER, b"x", CHAIN)

    assert refusal(shown, trusted(certificates=[ROOT])) == (
        "the signature is not that of certificate 'CN=release': it was changed, or forged"
    )


@pytest.mark.parametrize("bundle", [envelope(P256, b"ab"), envelope(RELEASE.key, b"ab", CHAIN)])
def test_a_payload_that_was_changed_is_refused(bundle: Bundle) -> None:
    changed = dataclasses.replace(bundle, payload=b"aB")

    assert "it was changed, or forged" in refusal(changed, trusted(P256, certificates=[ROOT]))


def test_keys_do_not_stand_for_certificates_nor_these_for_keys() -> None:
    assert refusal(envelope(RELEASE.key, b"x", CHAIN), trusted(RELEASE.key)) == (
        "signed with a certificate, and of release only keys count"
    )
    assert refusal(envelope(RELEASE.key, b"x"), trusted(certificates=CHAIN)) == (
        "signed with a key, and of release only certificates count"
    )


def test_why_a_certificate_does_not_count_is_said() -> None:
    stranger = certified("stranger")

    assert "'CN=stranger' was not issued by a trusted one" in refusal(
        envelope(stranger.key, b"x", [stranger]), trusted(P256), trusted(certificates=[ROOT])
    )


def test_nobody_is_trusted_without_being_named() -> None:
    assert "and of nobody only certificates count" in refusal(envelope(P256, b"x"))


def test_a_directory_says_who_is_trusted(directory: Path) -> None:
    company, release = SignerDirectory(directory).trusted()

    assert (company.name, company.keys, company.certificates) == (
        "company",
        (),
        (ROOT.certificate,),
    )
    assert (release.name, len(release.keys), release.certificates) == ("release", 2, ())


def test_some_of_them_can_be_asked_for(directory: Path) -> None:
    assert [one.name for one in SignerDirectory(directory).trusted(["release"])] == ["release"]
    assert unavailable(directory, ["release", "absent"]) == (
        "no signer 'absent' in signer directory 'DIR'"
    )


def test_a_signer_who_is_taken_away_is_no_longer_trusted(directory: Path) -> None:
    signers = SignerDirectory(directory)
    assert len(signers.trusted()) == 2
    (directory / "release.pem").unlink()

    assert [one.name for one in signers.trusted()] == ["company"]


@pytest.mark.parametrize("name", ["../release", "/etc/x", "", "a/b", ".", "a\nb"])
def test_a_name_does_not_lead_out_of_the_directory(directory: Path, name: str) -> None:
    (directory.parent / "release.pem").write_bytes(public_pem(OTHER))

    assert unavailable(directory, [name]) == f"{name!r} is no name of a signer"


def test_what_others_can_write_is_not_relied_on(directory: Path) -> None:
    (directory / "release.pem").chmod(0o664)
    assert unavailable(directory) == (
        "'DIR/release.pem' can be written by others (mode 0664); chmod go-w 'DIR/release.pem'"
    )

    (directory / "release.pem").chmod(0o644)
    directory.chmod(0o777)
    assert unavailable(directory) == (
        "'DIR' can be written by others (mode 0777); chmod go-w 'DIR'"
    )


def test_an_empty_directory_trusts_nobody(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    assert unavailable(tmp_path) == "no signer is in signer directory 'DIR'"
    assert unavailable(tmp_path / "absent") == (
        "cannot use signer directory 'DIR': No such file or directory"
    )


def test_a_pipe_does_not_hold_anybody_up(directory: Path) -> None:
    os.mkfifo(directory / "pipe.pem", 0o644)

    assert unavailable(directory, ["pipe"]) == "signer 'DIR/pipe.pem' is no file"


def test_a_directory_in_the_place_of_a_signer_is_told(directory: Path) -> None:
    (directory / "folder.pem").mkdir(0o755)

    assert "folder.pem" in unavailable(directory, ["folder"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it holds neither a public key nor a certificate in PEM"),
        (private_pem(P256), "it holds a private key, which belongs with the signer alone"),
        (public_pem(P256) + private_pem(P256), "it holds a private key, which belongs"),
        (
            public_pem(P256).replace(b"PUBLIC KEY", b"X509 CRL"),
            "something else than keys: X509 CRL",
        ),
        (public_pem(P256).replace(b"M", b"N"), "a public key that cannot be read"),
        (ROOT.pem.replace(b"MII", b"NII"), "a certificate that cannot be read"),
        (b"#" * (MAX_BYTES + 1), "is longer than 1024 KiB"),
    ],
    ids=["empty", "private", "both", "other", "broken key", "broken certificate", "long"],
)
def test_what_is_no_signer_is_refused(directory: Path, content: bytes, reason: str) -> None:
    (directory / "release.pem").write_bytes(content)

    assert reason in unavailable(directory)


def test_whoever_looks_once_may_look_at_what_others_can_write(directory: Path) -> None:
    (directory / "release.pem").chmod(0o664)

    assert len(read_signer(directory / "release.pem").keys) == 2


def test_a_signer_is_called_like_the_file(directory: Path) -> None:
    assert read_signer(directory / "company.pem").name == "company"
    assert parse_signer("x", public_pem(P256)).name == "x"
