"""What `interlock verify` says of a signed model, and by whose word."""

from pathlib import Path

import pytest

from interlock_agents.signature import utc_now
from interlock_agents.signing.keys import fingerprint
from tests.support.command_line import CommandLine, Printed
from tests.support.signing import (
    OTHER,
    P256,
    certified,
    public_pem,
    sign_directory,
    write_model,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return sign_directory(write_model(tmp_path / "m"))


@pytest.fixture
def signer(tmp_path: Path) -> str:
    return write(tmp_path / "signers" / "release.pem", public_pem(P256))


def write(path: Path, content: bytes) -> str:
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    path.write_bytes(content)
    path.chmod(0o644)
    return str(path)


def verify(command_line: CommandLine, model: Path, *words: str) -> Printed:
    return command_line.run("verify", str(model), *words)


def test_says_who_has_signed(command_line: CommandLine, model: Path, signer: str) -> None:
    printed = verify(command_line, model, "--signer", signer)

    shown = fingerprint(P256.public_key())[:12]
    told = f"{model}: 4 files as signed by release (key {shown}) as 'm'\n"
    assert (printed.code, printed.out, printed.err) == (0, told, "")


def test_prints_json(command_line: CommandLine, model: Path, signer: str) -> None:
    assert verify(command_line, model, "--signer", signer, "--json").json == {
        "name": "m",
        "files": 4,
        "signer": "release",
        "subject": "",
        "key": fingerprint(P256.public_key()),
    }


def test_says_what_is_wrong(command_line: CommandLine, model: Path, signer: str) -> None:
    (model / "2" / "model.onnx").write_text("changed")
    printed = verify(command_line, model, "--signer", signer)

    told = f"interlock verify: {model}: model.sig: file 2/model.onnx is not what was signed\n"
    assert (printed.code, printed.out, printed.err) == (1, "", told)


def test_several_signers_may_count(
    command_line: CommandLine, model: Path, signer: str, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.pem", public_pem(OTHER))

    assert verify(command_line, model, "--signer", other).code == 1
    assert verify(command_line, model, "--signer", other, "--signer", signer).code == 0
    assert verify(command_line, model, "--signer-directory", str(Path(signer).parent)).code == 0


def test_a_certificate_can_be_asked_for(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    now = utc_now()
    owner = certified("x", start=now.replace(year=now.year - 1, day=1), end=now.replace(year=9000))
    certificate = write(tmp_path / "x.pem", owner.pem)
    sign_directory(model, owner.key, chain=[owner])

    printed = verify(command_line, model, "--signer", certificate, "--subject", "CN=x")
    assert (printed.code, "signed by x (CN=x)" in printed.out) == (0, True)
    printed = verify(command_line, model, "--signer", certificate, "--subject", "CN=y")
    assert (printed.code, "must be by certificate 'CN=y'" in printed.err) == (1, True)


def test_a_model_can_have_another_name_than_its_directory(
    command_line: CommandLine, model: Path, signer: str
) -> None:
    sign_directory(model, name="digits")

    printed = verify(command_line, model, "--signer", signer)
    assert printed.err == (
        f"interlock verify: {model}: model.sig: it is the signature of model 'digits', and not of "
        "'m'\n"
    )
    assert verify(command_line, model, "--signer", signer, "--name", "digits").code == 0
    assert verify(command_line, model, "--signer", signer, "--name", "*").code == 0


def test_somebody_must_be_trusted(command_line: CommandLine, model: Path, tmp_path: Path) -> None:
    printed = verify(command_line, model)
    assert (printed.code, printed.err) == (
        2,
        "interlock verify: whose signature counts? see --signer and --signer-directory\n",
    )
    printed = verify(command_line, model, "--signer", f"{tmp_path}/absent.pem")
    assert (printed.code, printed.err) == (
        2,
        f"interlock verify: signer '{tmp_path}/absent.pem': No such file or directory\n",
    )
    empty = write(tmp_path / "empty.pem", b"")
    printed = verify(command_line, model, "--signer", empty)
    assert (printed.code, printed.err) == (
        2,
        (
            f"interlock verify: signer '{empty}': it holds neither a public key nor a certificate "
            "in PEM\n"
        ),
    )


def test_a_model_that_is_not_there_is_told(
    command_line: CommandLine, tmp_path: Path, signer: str
) -> None:
    printed = verify(command_line, tmp_path / "absent", "--signer", signer)

    assert (printed.code, printed.err) == (
        2,
        f"interlock verify: {tmp_path}/absent is no directory\n",
    )
