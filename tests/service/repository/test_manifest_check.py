"""A version that is said to be complete is what its manifest says, or it is refused."""

from pathlib import Path

import pytest

from interlock.domain.errors import InvalidRequestError, UnavailableError
from interlock.repository.digest import digest_files
from interlock.repository.fingerprint import files_of
from interlock.repository.listing import list_model
from interlock.repository.manifest import manifest_of, write
from interlock.repository.manifest_check import check_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of one version, with a manifest."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "config.pbtxt").write_text('name: "m"')
    digests = digest_files(tmp_path, files_of(1, list_model(tmp_path).entries))
    write(manifest_of(digests, [1]), tmp_path / "manifest.json")
    return tmp_path


def test_what_the_manifest_says_is_fine(model: Path) -> None:
    check_manifest(model, 1)


def test_without_a_manifest_everything_is_fine(model: Path) -> None:
    (model / "manifest.json").unlink()
    (model / "1" / "more").write_bytes(b"unlisted")
    check_manifest(model, 1)
    check_manifest(model, 7)


def test_a_file_that_is_not_there_yet(model: Path) -> None:
    (model / "1" / "model.onnx").unlink()
    with pytest.raises(
        InvalidRequestError, match=r"^version 1 is not what manifest\.json says: 1 of 2 files$"
    ):
        check_manifest(model, 1)


def test_a_file_of_the_same_size_that_contains_something_else(model: Path) -> None:
    (model / "1" / "model.onnx").write_bytes(b"WEIGHTS")
    with pytest.raises(InvalidRequestError, match=r"1/model\.onnx differs from manifest\.json"):
        check_manifest(model, 1)


def test_a_file_that_is_not_listed(model: Path) -> None:
    (model / "1" / "more").write_bytes(b"unlisted")
    with pytest.raises(InvalidRequestError, match=r"1/more is not in manifest\.json"):
        check_manifest(model, 1)


def test_files_of_another_version_are_its_own_business(model: Path) -> None:
    (model / "2").mkdir()
    (model / "2" / "model.onnx").write_bytes(b"half")
    check_manifest(model, 1)
    with pytest.raises(InvalidRequestError, match=r"says: not in manifest\.json"):
        check_manifest(model, 2)


def test_a_manifest_that_is_none(model: Path) -> None:
    (model / "manifest.json").write_text("{")
    with pytest.raises(InvalidRequestError, match=r"manifest\.json is not JSON"):
        check_manifest(model, 1)


def test_a_manifest_that_cannot_be_read_is_not_one_that_is_missing(model: Path) -> None:
    (model / "manifest.json").unlink()
    (model / "manifest.json").symlink_to("nowhere")
    with pytest.raises(UnavailableError, match=r"failed to read .*manifest\.json: No such file"):
        check_manifest(model, 1)
