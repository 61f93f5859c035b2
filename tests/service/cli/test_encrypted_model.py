"""A model is encrypted whole, and changes hands file by file."""

from pathlib import Path

import pytest

from interlock.cli.encrypted_model import (
    Done,
    ModelError,
    encrypt_model,
    files_of,
    recipients_of,
    rewrap_model,
)
from interlock_agents.encryption.errors import EncryptionError
from tests.support.encryption import MASTER, PAIR, KeysFake, encrypted


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").write_text("weights")
    (directory / "config.pbtxt").write_text('backend: "identity"')
    return directory


def test_what_editors_leave_behind_is_no_file_of_a_model(model: Path) -> None:
    (model / "config.pbtxt~").write_text("old")

    assert files_of(model) == {"1/model.onnx", "config.pbtxt"}


def test_empty_versions_are_carried_over(model: Path, tmp_path: Path) -> None:
    (model / "2").mkdir()

    done = encrypt_model(model, recipients=[MASTER], out=tmp_path / "out")

    assert done == Done(files=2, size_bytes=26)
    assert (tmp_path / "out" / "2").is_dir()


def test_nothing_of_a_refused_copy_stays(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nobody could open it"):
        encrypt_model(model, recipients=[], out=tmp_path / "out")

    assert list(tmp_path.iterdir()) == [model]


def test_nothing_of_a_refused_change_stays(model: Path) -> None:
    with pytest.raises(ModelError):
        encrypt_model(model, recipients=[PAIR, PAIR.public()])

    assert files_of(model) == {"1/model.onnx", "config.pbtxt"}


def test_recipients_are_those_of_each_file(model: Path) -> None:
    encrypt_model(model, recipients=[MASTER, PAIR])

    assert recipients_of(model) == {
        "1/model.onnx.enc": ("master", "pair"),
        "config.pbtxt.enc": ("master", "pair"),
    }


def test_files_that_are_for_others_are_left_alone(model: Path) -> None:
    encrypt_model(model, recipients=[MASTER])
    (model / "1" / "other.enc").write_bytes(encrypted(b"other", PAIR, path="1/other"))

    assert rewrap_model(model, KeysFake(MASTER), old="master", new=PAIR.public()) == Done(files=2)


def test_a_rotation_that_was_broken_off_can_be_done_again(model: Path) -> None:
    encrypt_model(model, recipients=[MASTER])
    place = model / "config.pbtxt.enc"
    whole = place.read_bytes()
    place.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=r"config.pbtxt.enc: it is cut off: 1 of"):
        rewrap_model(model, KeysFake(MASTER), old="master", new=PAIR)
    assert set(recipients_of(model).values()) == {("pair",), ("master",)}
    place.write_bytes(whole)

    assert rewrap_model(model, KeysFake(MASTER), old="master", new=PAIR) == Done(files=1)

    assert set(recipients_of(model).values()) == {("pair",)}


def test_two_files_of_one_name_stop_a_rotation(model: Path) -> None:
    (model / "1" / "model.onnx.enc").write_bytes(encrypted(b"weights"))

    with pytest.raises(EncryptionError, match=r"which of them counts\?$"):
        rewrap_model(model, KeysFake(MASTER), old="master", new=PAIR)


def test_a_name_that_is_no_text_is_refused(model: Path) -> None:
    (model / "1" / "\udcff").write_text("")

    with pytest.raises(ModelError, match=r"is no path that can be written down"):
        encrypt_model(model, recipients=[MASTER])

    assert "1/model.onnx.enc" not in files_of(model)
