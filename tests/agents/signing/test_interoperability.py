"""What the reference implementation of the format signs is accepted, and the other way round.

`reference/` holds what its version 1.1.1 has signed. Where its command `model_signing` is found,
or MODEL_SIGNING names it, both directions are tried anew.
"""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from interlock_agents.api import DirectoryLocation, FilesLocation
from interlock_agents.signing.errors import SignatureError, UnsupportedSignatureError
from interlock_agents.signing.signers import read_signer
from interlock_agents.signing.verification import Verdict, Wanted, verify
from tests.support.signing import (
    ISSUER,
    P256,
    P384,
    P521,
    RELEASE,
    ROOT,
    public_pem,
    sign_directory,
    write_model,
    write_private_key,
)

REFERENCE: Final = Path(__file__).with_name("reference")
SIGNED_AT: Final = datetime(2026, 6, 1, tzinfo=UTC)
"""The certificates of `reference/` are valid in this year."""
COMMAND: Final = os.environ.get("MODEL_SIGNING") or shutil.which("model_signing")
CURVES: Final = {"p256": P256, "p384": P384, "p521": P521}

needs_reference = pytest.mark.skipif(
    COMMAND is None, reason="model_signing is not installed; MODEL_SIGNING may name it"
)


def verify_recorded(signature: str, signer: str, *, leave_out: str = "") -> Verdict:
    files = dict(DirectoryLocation(REFERENCE / "digits").files())
    files["model.sig"] = DirectoryLocation(REFERENCE).file(f"{signature}.sig")
    files.pop(leave_out, None)
    trusted = [read_signer(REFERENCE / f"{signer}.pem")]
    return verify(FilesLocation(files), Wanted("digits", (1,)), trusted, now=SIGNED_AT)


@pytest.mark.parametrize("curve", CURVES)
def test_what_it_has_signed_with_a_key_is_accepted(curve: str) -> None:
    verdict = verify_recorded(curve, curve)

    assert (verdict.name, verdict.files, verdict.signer.name) == ("digits", 3, curve)


def test_what_it_has_signed_with_a_certificate_is_accepted() -> None:
    verdict = verify_recorded("chain", "root")

    assert (verdict.files, verdict.signer.subject) == (3, "CN=release")


def test_what_it_has_left_out_and_digested_otherwise_is_accepted() -> None:
    assert verify_recorded("blake2b", "p256").files == 2


def test_what_it_has_signed_is_refused_with_a_file_too_few_or_by_another() -> None:
    with pytest.raises(SignatureError, match=r"signed and not there: labels\.txt"):
        verify_recorded("p256", "p256", leave_out="labels.txt")
    with pytest.raises(SignatureError, match=r"signed with another key \(.*\) than those of p384"):
        verify_recorded("p256", "p384")


def test_what_it_has_signed_in_shards_is_not_taken_for_a_bad_signature() -> None:
    with pytest.raises(UnsupportedSignatureError, match="a signature of 'shards'"):
        verify_recorded("shards", "p256")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m")


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    assert COMMAND is not None
    return subprocess.run(
        [COMMAND, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


@needs_reference
@pytest.mark.parametrize("curve", CURVES)
def test_it_accepts_what_is_signed_here_and_is_accepted(
    model: Path, tmp_path: Path, curve: str
) -> None:
    secret = write_private_key(tmp_path / "secret.pem", CURVES[curve])
    public = tmp_path / "public.pem"
    public.write_bytes(public_pem(CURVES[curve]))
    signature = model / "model.sig"
    judge = ("verify", "key", model, "--signature", signature, "--public_key", public)

    sign_directory(model, CURVES[curve])
    accepted = call(*judge)
    assert accepted.returncode == 0, accepted.stderr

    (model / "1" / "model.onnx").write_text("changed")
    assert call(*judge).returncode != 0

    signed = call("sign", "key", model, "--signature", signature, "--private_key", secret)
    assert signed.returncode == 0, signed.stderr
    trusted = [read_signer(public)]
    assert verify(DirectoryLocation(model), Wanted("m"), trusted, now=SIGNED_AT).files == 4


@needs_reference
def test_it_accepts_certificates_as_here(model: Path, tmp_path: Path) -> None:
    root, issuer, mine = (tmp_path / name for name in ("root.pem", "issuer.pem", "mine.pem"))
    for path, owner in ((root, ROOT), (issuer, ISSUER), (mine, RELEASE)):
        path.write_bytes(owner.pem)
    secret = write_private_key(tmp_path / "secret.pem", RELEASE.key)
    signature = model / "model.sig"

    sign_directory(model, RELEASE.key, chain=(RELEASE, ISSUER))
    accepted = call(
        "verify", "certificate", model, "--signature", signature, "--certificate_chain", root
    )
    assert accepted.returncode == 0, accepted.stderr

    signature.unlink()
    words = ("--private_key", secret, "--signing_certificate", mine, "--certificate_chain", issuer)
    signed = call("sign", "certificate", model, "--signature", signature, *words)
    assert signed.returncode == 0, signed.stderr
    now = RELEASE.certificate.not_valid_before_utc
    verdict = verify(DirectoryLocation(model), Wanted("m"), [read_signer(root)], now=now)
    assert (verdict.files, verdict.signer.subject) == (4, "CN=release")
