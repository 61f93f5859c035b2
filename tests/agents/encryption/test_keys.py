"""Keys are read as they are written, and a text that is no key is never repeated."""

import pickle

import pytest

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.keys import Key, KeyKind, parse_keys
from tests.support.encryption import MASTER, PAIR

DIGITS = MASTER.material.content.hex()


def line(key: Key) -> str:
    return key.line().decode().strip()


@pytest.mark.parametrize("key", [MASTER, PAIR, PAIR.public()])
def test_a_key_is_read_as_it_is_written(key: Key) -> None:
    text = bytearray(b"# made today\n\n  " + key.line() + b"\r\n")

    (read,) = parse_keys(text, where="here")

    assert (read.id, read.kind) == (key.id, key.kind)
    assert read.material.content == key.material.content


def test_a_line_says_what_it_is() -> None:
    assert line(MASTER).startswith(f"ilk1:aes256:master:{DIGITS}:")
    assert line(PAIR.public()).startswith("ilk1:x25519-public:pair:")


def test_several_keys_are_read_in_order() -> None:
    keys = parse_keys(MASTER.line() + PAIR.line(), where="here")

    assert [key.id for key in keys] == ["master", "pair"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "here, line 1: no key; it would begin with ilk1:"),
        (f"\n{DIGITS}", "here, line 2: no key; it would begin with ilk1:"),
        (f"ilk2:aes256:k:{DIGITS}:00000000", "here, line 1: no key; it would begin with ilk1:"),
        (f"ilk1:aes:k:{DIGITS}:00000000", "here, line 1: a key of a kind or name that is not"),
        (f"ilk1:aes256:../k:{DIGITS}:00000000", "here, line 1: a key of a kind or name that"),
        (f"ilk1:aes256:k:{DIGITS[2:]}:00000000", "here, line 1: key 'k' is not 64 hexadecimal"),
        (f"ilk1:aes256:k:{DIGITS[1:]}:00000000", "here, line 1: key 'k' is not 64 hexadecimal"),
        (f"ilk1:aes256:k:{DIGITS[2:]}xy:00000000", "here, line 1: key 'k' is not 64 hexadecimal"),
        (f"ilk1:aes256:k:{DIGITS}:00000000", "here, line 1: key 'k' is mistyped: its check"),
        (line(MASTER).replace("master", "other"), "here, line 1: key 'other' is mistyped"),
        (line(PAIR).replace("x25519", "aes256"), "here, line 1: key 'pair' is mistyped"),
        (line(MASTER)[:-1], "here, line 1: key 'master' is not 64 hexadecimal"),
    ],
)
def test_a_text_that_is_no_key_is_not_repeated(text: str, said: str) -> None:
    with pytest.raises(EncryptionError) as raised:
        parse_keys(bytearray(text.encode()), where="here")

    assert str(raised.value).startswith(said)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    for secret in ("hunter2", DIGITS[2:30], PAIR.material.content.hex()[2:30]):
        assert secret not in repr(raised.value)


def test_one_mistyped_digit_is_noticed() -> None:
    text = line(MASTER)
    for at in range(text.index(DIGITS), len(text)):
        digit = "0" if text[at] == "1" else "1"
        if text[at] in (":", digit):
            continue
        with pytest.raises(EncryptionError):
            parse_keys(bytearray((text[:at] + digit + text[at + 1 :]).encode()), where="here")


def test_a_key_does_not_show_itself() -> None:
    for key in (MASTER, PAIR):
        assert repr(key) == f"Key(id='{key.id}', kind={key.kind!r})"
        with pytest.raises(TypeError):
            pickle.dumps(key)


def test_a_key_is_wiped_at_the_end_of_a_block() -> None:
    with Key.new("k", KeyKind.AES256) as key:
        assert key.material.content != bytes(32)
    assert key.material.content == bytes(32)


def test_the_public_half_is_that_of_the_private_one() -> None:
    expected = PAIR.x25519_private().public_key().public_bytes_raw()

    assert PAIR.public().material.content == expected
    assert PAIR.public().public() == PAIR.public()
    assert PAIR.public().x25519_public().public_bytes_raw() == expected


def test_a_symmetric_key_has_no_public_half() -> None:
    with pytest.raises(EncryptionError, match=r"^key 'master' is symmetric and has no public half"):
        MASTER.public()


@pytest.mark.parametrize(
    "key_id", ["", ".", "..", "../k", "a/b", "-k", "k k", "k" * 65, "ü", "k\n"]
)
def test_a_name_that_cannot_be(key_id: str) -> None:
    with pytest.raises(EncryptionError, match=r"is no name of a key: up to 64 letters"):
        Key.new(key_id, KeyKind.AES256)


def test_a_public_key_is_not_made_by_itself() -> None:
    with pytest.raises(EncryptionError, match=r"^a public key comes from a private one$"):
        Key.new("k", KeyKind.X25519_PUBLIC)
