"""Of what a model's signature speaks, whoever has made it."""

from pathlib import Path

import pytest

from interlock.cli.signed_model import has_outlived, is_of_encrypted, needs_signing
from tests.support.signing import sign_directory, write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = write_model(tmp_path / "m")
    (model / "manifest.json").write_text("{}")
    return model


def test_a_model_that_nobody_has_signed_needs_nothing(model: Path) -> None:
    assert not needs_signing(model)
    assert not has_outlived(model, ["1/model.onnx"])


def test_a_manifest_must_be_signed_as_it_is(model: Path) -> None:
    sign_directory(model)
    assert not needs_signing(model)

    (model / "manifest.json").write_text("{ }")
    assert needs_signing(model)

    (model / "manifest.json").unlink()
    assert needs_signing(model)


def test_a_manifest_that_came_later_is_not_signed(model: Path) -> None:
    (model / "manifest.json").unlink()
    sign_directory(model)
    (model / "manifest.json").write_text("{}")

    assert needs_signing(model)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_signature_that_is_none_says_nothing(model: Path, content: str) -> None:
    (model / "model.sig").write_text(content)

    assert needs_signing(model)
    assert not has_outlived(model, ["1/model.onnx"])


def test_knows_a_signature_of_encrypted_files(model: Path) -> None:
    assert not is_of_encrypted(sign_directory(model))

    (model / "1" / "model.onnx").rename(model / "1" / "model.onnx.enc")

    assert is_of_encrypted(sign_directory(model))
    (model / "model.sig").unlink()
    assert not is_of_encrypted(model)


def test_a_signature_outlives_files_that_change_and_no_others(model: Path) -> None:
    sign_directory(model)
    paths = ["1/model.onnx", "2/model.onnx"]
    assert not has_outlived(model, [*paths, "1/model.onnx.enc"])

    (model / "2" / "model.onnx").write_text("another")

    assert has_outlived(model, paths)
    assert not has_outlived(model, paths[:1])
