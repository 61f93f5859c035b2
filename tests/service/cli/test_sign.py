"""What `interlock sign` signs, with which keys, and what it leaves behind."""

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interlock_agents.api import DirectoryLocation
from interlock_agents.signing.keys import fingerprint
from interlock_agents.signing.verification import Verdict, Wanted, verify
from tests.support.command_line import CommandLine, Printed
from tests.support.signing import (
    ED25519,
    ISSUER,
    NOW,
    OTHER,
    P256,
    RELEASE,
    ROOT,
    statement_in,
    trusted,
    write_model,
    write_private_key,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_private_key(tmp_path / "release.key", P256)


def sign(command_line: CommandLine, model: Path, key: Path, *words: str) -> Printed:
    return command_line.run("sign", str(model), "--key", str(key), *words)


def verdict(model: Path, name: str = "m") -> Verdict:
    who = [trusted(P256, ED25519, certificates=[ROOT])]
    return verify(DirectoryLocation(model), Wanted(name), who, now=NOW)


def test_signs_all_files(command_line: CommandLine, model: Path, key: Path) -> None:
    printed = sign(command_line, model, key)

    shown = fingerprint(P256.public_key())[:12]
    told = f"{model}/model.sig: 4 files signed as 'm' with key {shown}\n"
    assert (printed.code, printed.out, printed.err) == (0, told, "")
    assert verdict(model).files == 4
    assert [path.name for path in model.iterdir() if path.is_file()].count("model.sig") == 1
    assert not list(model.glob(".*"))


def test_signs_again_what_has_changed(command_line: CommandLine, model: Path, key: Path) -> None:
    sign(command_line, model, key)
    (model / "1" / "model.onnx").write_text("new")

    assert sign(command_line, model, key).code == 0
    assert verdict(model).files == 4


def test_prints_json(command_line: CommandLine, model: Path, key: Path) -> None:
    assert sign(command_line, model, key, "--json").json == {
        "file": f"{model}/model.sig",
        "name": "m",
        "files": 4,
        "key": fingerprint(P256.public_key()),
    }


def test_a_model_can_have_another_name_than_its_directory(
    command_line: CommandLine, model: Path, key: Path
) -> None:
    sign(command_line, model, key, "--name", "digits")

    assert verdict(model, "digits").name == "digits"


def test_the_name_is_that_of_the_directory_however_it_is_spelled(
    command_line: CommandLine, model: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)

    assert sign(command_line, Path(), key).code == 0
    assert verdict(model).name == "m"


def test_a_manifest_that_is_not_the_models_is_not_signed(
    command_line: CommandLine, model: Path, key: Path
) -> None:
    assert command_line.run("manifest", str(model)).code == 0
    assert sign(command_line, model, key).code == 0
    before = (model / "model.sig").read_bytes()
    (model / "1" / "model.onnx").write_text("content of 1/model.onnX" * 1000)

    printed = sign(command_line, model, key)

    assert printed.code == 1
    assert printed.err == (
        f"interlock sign: {model}: manifest.json is not that of the model: version 1: 2 of 3 "
        "files, 1/model.onnx differs from manifest.json; run 'interlock manifest' first\n"
    )
    assert (model / "model.sig").read_bytes() == before

    command_line.run("manifest", str(model))
    assert sign(command_line, model, key).code == 0
    assert verdict(model).files == 5


def test_a_manifest_that_is_none_is_not_signed(
    command_line: CommandLine, model: Path, key: Path
) -> None:
    (model / "manifest.json").write_text("[]")

    printed = sign(command_line, model, key)

    assert printed.code == 1
    assert "manifest.json: must be an object; run 'interlock manifest' first" in printed.err


def test_signs_with_ed25519(command_line: CommandLine, model: Path, tmp_path: Path) -> None:
    key = write_private_key(tmp_path / "ed.key", ED25519)

    assert sign(command_line, model, key).code == 0
    assert verdict(model).signer.fingerprint == fingerprint(ED25519.public_key())


def test_signs_with_certificates(command_line: CommandLine, model: Path, tmp_path: Path) -> None:
    key = write_private_key(tmp_path / "mine.key", RELEASE.key)
    (tmp_path / "mine.pem").write_bytes(RELEASE.pem)
    (tmp_path / "issuer.pem").write_bytes(ISSUER.pem)
    chain = [f"--certificate={tmp_path}/mine.pem", f"--certificate={tmp_path}/issuer.pem"]

    assert sign(command_line, model, key, *chain).code == 0
    assert verdict(model).signer.subject == "CN=release"

    printed = sign(command_line, model, key, *reversed(chain))
    assert (printed.code, printed.err) == (
        2,
        (
            "interlock sign: --certificate: the first, certificate 'CN=issuer', is not that of "
            "the key\n"
        ),
    )


def test_a_passphrase_comes_from_the_environment(
    command_line: CommandLine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write_private_key(tmp_path / "locked.key", P256, b"open sesame")
    words = ("--passphrase-env", "INTERLOCK_TEST_PASSPHRASE")
    assert sign(command_line, model, key, *words).err == (
        "interlock sign: environment variable INTERLOCK_TEST_PASSPHRASE is not set\n"
    )
    monkeypatch.setenv("INTERLOCK_TEST_PASSPHRASE", "open sesame")

    assert sign(command_line, model, key, *words).code == 0
    refused = sign(command_line, model, key)
    assert (refused.code, refused.err) == (
        2,
        f"interlock sign: key '{key}': the private key needs a passphrase; see --passphrase-env\n",
    )


def test_a_key_that_others_can_read_is_refused(
    command_line: CommandLine, model: Path, key: Path
) -> None:
    key.chmod(0o640)
    printed = sign(command_line, model, key)

    assert (printed.code, printed.err) == (
        2,
        f"interlock sign: key '{key}' is open to others (mode 0640); chmod 600 '{key}'\n",
    )
    assert not (model / "model.sig").exists()


def test_a_key_of_another_kind_is_refused(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    key = tmp_path / "rsa.key"
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)

    assert "a key of another kind than ECDSA on P-256" in sign(command_line, model, key).err


def test_what_is_not_there_cannot_be_signed(
    command_line: CommandLine, model: Path, key: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    assert (printed := sign(command_line, tmp_path / "absent", key)).code == 2
    assert printed.err == f"interlock sign: {tmp_path}/absent is no directory\n"
    assert (printed := sign(command_line, tmp_path / "empty", key)).code == 1
    assert printed.err == (
        f"interlock sign: {tmp_path}/empty: no model's directory: neither config.pbtxt nor a "
        "version is in it\n"
    )
    assert (printed := sign(command_line, model, tmp_path / "absent")).code == 1
    assert printed.err == f"interlock sign: {tmp_path}/absent: No such file or directory\n"


def test_what_lies_outside_of_the_model_is_not_signed(
    command_line: CommandLine, model: Path, key: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("x")
    (model / "1" / "link").symlink_to(tmp_path / "outside")

    printed = sign(command_line, model, key)

    assert (printed.code, "leads out of the model directory" in printed.err) == (1, True)


def test_links_in_the_model_are_written_down(
    command_line: CommandLine, model: Path, key: Path
) -> None:
    (model / "1" / "link").symlink_to("model.onnx")
    sign(command_line, model, key)

    assert statement_in(model)["predicate"]["serialization"]["allow_symlinks"] is True
    assert verdict(model).files == 5


def test_where_nothing_can_be_written_the_old_signature_stays(
    command_line: CommandLine, model: Path, key: Path, tmp_path: Path
) -> None:
    sign(command_line, model, key)
    before = (model / "model.sig").read_bytes()
    # Where the new one would be drafted, something else is in the way.
    (model / f".model.sig.{os.getpid()}.swp").mkdir()

    printed = sign(command_line, model, write_private_key(tmp_path / "other.key", OTHER))

    assert printed.code == 1
    assert (model / "model.sig").read_bytes() == before
    assert json.loads(before)["mediaType"].startswith("application/vnd.dev.sigstore.bundle")
