"""A server that loads only what somebody has signed whom it trusts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.cli.main import main
from interlock_agents.signing.keys import PrivateKey
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.signing import OTHER, P256, public_pem, write_private_key
from tests.support.wire import Client, WireServer, answer_to_zero, serving

SIGNED = 'model_repository_agents { agents [ { name: "signature" } ] }'


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whom the server trusts: `release`."""
    folder = tmp_path_factory.mktemp("signers")
    folder.chmod(0o755)
    (folder / "release.pem").write_bytes(public_pem(P256))
    (folder / "release.pem").chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, signers: Path) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    with serving(repository, f"--signer-directory={signers}") as server:
        yield server


def sign(repository: Repository, model: str, folder: Path, key: PrivateKey = P256) -> None:
    private = write_private_key(folder / "private.pem", key)
    assert main(["sign", str(repository.root / model), "--key", str(private)]) == 0


def test_what_is_signed_serves_and_what_was_changed_after_that_does_not(
    server: WireServer, client: Client, tmp_path: Path
) -> None:
    repository = server.repository
    repository.onnx("signed", onnx_small.add_constant(1.0), extra=SIGNED)
    sign(repository, "signed", tmp_path)
    client.load("signed")
    assert answer_to_zero(client, "signed") == 1.0

    repository.replace("signed", "1/model.onnx", onnx_small.add_constant(2.0))
    refusal = client.load_refusal("signed")

    assert refusal.text.startswith(
        "failed to load 'signed', failed to poll from model repository: model.sig: "
    )
    assert "1/model.onnx" in refusal.text
    assert answer_to_zero(client, "signed") == 1.0

    sign(repository, "signed", tmp_path)
    client.load("signed")
    assert answer_to_zero(client, "signed") == 2.0


def test_the_signature_of_a_stranger_does_not_count(
    server: WireServer, client: Client, tmp_path: Path
) -> None:
    repository = server.repository
    repository.onnx("strange", onnx_small.add_constant(1.0), extra=SIGNED)
    sign(repository, "strange", tmp_path, key=OTHER)

    refusal = client.load_refusal("strange")

    assert "model.sig: " in refusal.text
    assert not client.model_ready("strange")


def test_without_a_signature_nothing_is_loaded(server: WireServer, client: Client) -> None:
    server.repository.onnx("bare", onnx_small.add_constant(1.0), extra=SIGNED)

    assert "model.sig" in client.load_refusal("bare").text


def test_without_a_directory_of_signers_nobody_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    repository = Repository(tmp_path / "models")
    with serving(repository) as server, server.client() as client:
        repository.onnx("signed", onnx_small.add_constant(1.0), extra=SIGNED)
        sign(repository, "signed", tmp_path)
        refusal = client.load_refusal("signed")

    assert "nobody is trusted: --signer-directory is not set" in refusal.text
