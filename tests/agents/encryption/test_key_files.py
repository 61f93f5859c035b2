"""A new key is nobody's but ours from its first byte on, and never takes the place of another."""

from pathlib import Path

import pytest

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.key_files import write_new_key
from interlock_agents.encryption.key_sources import KeyDirectory
from interlock_agents.encryption.keys import Key, KeyKind
from tests.support.encryption import MASTER, PAIR


def test_a_pair_is_written_apart(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "keys"

    place = write_new_key(directory, PAIR)

    assert place == directory / "pair.key"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert place.stat().st_mode & 0o777 == 0o600
    found = KeyDirectory(directory).find("pair")
    assert found.material.content == PAIR.material.content
    public = KeyDirectory(directory).find_public("pair")
    assert (public.kind, public.material.content) == (
        KeyKind.X25519_PUBLIC,
        PAIR.public().material.content,
    )


def test_a_symmetric_key_has_one_file(tmp_path: Path) -> None:
    write_new_key(tmp_path / "keys", MASTER)

    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["master.key"]
    assert KeyDirectory(tmp_path / "keys").find_public("master").kind is KeyKind.AES256


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_new_key(tmp_path / "keys", PAIR)

    with pytest.raises(EncryptionError, match=r"^there is a key 'pair' already: "):
        write_new_key(tmp_path / "keys", Key.new("pair", KeyKind.X25519))

    found = KeyDirectory(tmp_path / "keys").find("pair")
    assert found.material.content == PAIR.material.content


def test_no_key_is_put_where_others_look(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)

    with pytest.raises(EncryptionError, match=r"is open to others"):
        write_new_key(tmp_path / "keys", MASTER)

    assert list((tmp_path / "keys").iterdir()) == []
