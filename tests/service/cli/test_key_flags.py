"""Whom `--recipient` means, however it is written, and what must not be written there."""

from pathlib import Path

import pytest

from interlock.cli.key_flags import recipient_of
from interlock.cli.verb import UsageError
from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.keys import Key, KeyKind
from tests.support.encryption import MASTER, PAIR, write_key


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "keys"
    write_key(place, MASTER)
    write_key(place, PAIR)
    return place


def line(key: Key) -> str:
    return key.line().decode().strip()


def test_a_public_key_that_is_written_out() -> None:
    key = recipient_of(line(PAIR.public()), None)

    assert (key.id, key.kind) == ("pair", KeyKind.X25519_PUBLIC)
    assert key.material.content == PAIR.public().material.content


@pytest.mark.parametrize("key", [MASTER, PAIR])
def test_a_secret_that_is_written_out_is_not_repeated(key: Key) -> None:
    with pytest.raises(UsageError) as raised:
        recipient_of(line(key), None)

    assert "is secret, and others see the arguments" in str(raised.value)
    assert key.material.content.hex() not in str(raised.value)


@pytest.mark.parametrize("change", [1, -1])
def test_a_mistyped_secret_is_not_repeated_either(change: int) -> None:
    with pytest.raises(
        UsageError, match=r"^a recipient that is written out is no key, or mistyped$"
    ):
        recipient_of(line(MASTER)[:-1] + chr(ord(line(MASTER)[-1]) + change), None)


def test_a_file(directory: Path) -> None:
    public = directory / "pair.pub"
    public.write_bytes(PAIR.public().line())

    assert recipient_of(str(directory / "master.key"), None).kind is KeyKind.AES256
    assert recipient_of(str(directory / "pair.key"), None).kind is KeyKind.X25519
    assert recipient_of(str(public), None).kind is KeyKind.X25519_PUBLIC


def test_a_file_of_several_keys_says_not_which(directory: Path) -> None:
    place = directory / "both.pub"
    place.write_bytes(PAIR.public().line() * 2)

    with pytest.raises(EncryptionError, match=r"does not hold one key but 2$"):
        recipient_of(str(place), None)


def test_a_secret_file_that_others_can_read(directory: Path) -> None:
    (directory / "master.key").chmod(0o644)

    with pytest.raises(KeyUnavailableError, match=r"is open to others \(mode 0644\)"):
        recipient_of(str(directory / "master.key"), None)


def test_a_name_in_the_directory(directory: Path) -> None:
    assert recipient_of("master", directory).kind is KeyKind.AES256
    (directory / "pair.pub").write_bytes(PAIR.public().line())
    assert recipient_of("pair", directory).kind is KeyKind.X25519_PUBLIC


def test_a_name_elsewhere(tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Key.new("other", KeyKind.AES256)
    monkeypatch.setenv("OTHER_KEYS", line(other))

    assert recipient_of("other", None, ["env:OTHER_KEYS"]).material.content == (
        other.material.content
    )
    assert recipient_of("other", directory, ["env:OTHER_KEYS"]).id == "other"
    with pytest.raises(KeyUnavailableError, match=r"^no key 'third': no key 'third' in key dire"):
        recipient_of("third", directory, ["env:OTHER_KEYS"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "recipient '' is no key, no file and no name of a key"),
        ("no key", "recipient 'no key' is no key, no file and no name of a key"),
        ("pair", "recipient 'pair' is a name; --key-directory says where its key is"),
    ],
)
def test_what_means_nobody(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        recipient_of(text, None)

    assert str(raised.value) == said
