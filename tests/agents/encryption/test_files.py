"""A file is encrypted or given to another key in one step, or stays as it was."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.files import (
    Recipients,
    encrypt_file,
    read_recipients,
    replace_file,
    rewrap_file,
)
from interlock_agents.encryption.header import Recipient
from interlock_agents.encryption.keys import Key, KeyKind
from tests.support.encryption import MASTER, PAIR, KeysFake, decrypted, encrypted

PATH = "1/model.onnx"


def to_pair(_: Sequence[Recipient]) -> Recipients:
    return [PAIR.public()]


def test_a_file_is_encrypted_beside_itself(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"weights")
    source.chmod(0o640)

    header = encrypt_file(source, tmp_path / "out", path=PATH, recipients=[PAIR.public()])

    assert header.size == 7
    assert decrypted((tmp_path / "out").read_bytes(), PAIR) == b"weights"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "out"]


def test_what_cannot_be_encrypted_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"weights")
    (tmp_path / "out").write_bytes(b"before")

    with pytest.raises(EncryptionError):
        encrypt_file(source, tmp_path / "out", path=PATH, recipients=[])

    assert (tmp_path / "out").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "out"]


def test_a_file_is_given_to_another_key(tmp_path: Path) -> None:
    place = tmp_path / "model.onnx.enc"
    content = bytes(3 << 20)
    place.write_bytes(encrypted(content))
    place.chmod(0o640)

    assert rewrap_file(place, path=PATH, keys=KeysFake(MASTER), recipients=to_pair)

    assert decrypted(place.read_bytes(), PAIR) == content
    with pytest.raises(KeyUnavailableError):
        decrypted(place.read_bytes(), MASTER)
    assert [recipient.key_id for recipient in read_recipients(place)] == ["pair"]
    assert place.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_that_is_for_the_same_stays_untouched(tmp_path: Path) -> None:
    place = tmp_path / "model.onnx.enc"
    place.write_bytes(encrypted(b"weights"))
    before = place.stat().st_ino, place.stat().st_ctime_ns

    assert not rewrap_file(place, path=PATH, keys=KeysFake(), recipients=lambda present: present)

    assert (place.stat().st_ino, place.stat().st_ctime_ns) == before


@pytest.mark.parametrize(
    "keys", [KeysFake(), KeysFake(Key.new("master", KeyKind.AES256))], ids=["missing", "wrong"]
)
def test_nobody_gives_away_what_he_cannot_open(tmp_path: Path, keys: KeysFake) -> None:
    place = tmp_path / "model.onnx.enc"
    content = encrypted(b"weights")
    place.write_bytes(content)

    with pytest.raises(EncryptionError):
        rewrap_file(place, path=PATH, keys=keys, recipients=to_pair)

    assert place.read_bytes() == content
    assert list(tmp_path.iterdir()) == [place]


def test_a_damaged_file_is_not_given_on(tmp_path: Path) -> None:
    place = tmp_path / "model.onnx.enc"
    place.write_bytes(encrypted(b"weights") + b"more")

    with pytest.raises(EncryptionError, match=r"^something follows its end: 4 bytes$"):
        rewrap_file(place, path=PATH, keys=KeysFake(MASTER), recipients=to_pair)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    replace_file(tmp_path / "config.pbtxt", b"one")
    replace_file(tmp_path / "config.pbtxt", b"two")

    assert (tmp_path / "config.pbtxt").read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 1
