"""Data keys are wrapped as the RFCs say: by their test vectors, and an HPKE made from them."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock_agents.encryption.errors import WrongKeyError
from interlock_agents.encryption.header import Method, Recipient
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.encryption.secret import Secret
from interlock_agents.encryption.wrapping import info_of, unwrap, wrap
from tests.support.encryption import MASTER, PAIR, Hpke

# RFC 3394, 4.6: 256 bits of key data with a 256-bit KEK.
KEK = bytes(range(32))
KEY_DATA = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
WRAPPED = bytes.fromhex(
    "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
)
# RFC 9180, A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
PRIVATE = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
PUBLIC = bytes.fromhex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d")
ENC = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
SHARED = bytes.fromhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc")
SEALED = bytes.fromhex(
    "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
)


def symmetric(material: bytes) -> Key:
    return Key("k", KeyKind.AES256, Secret(bytearray(material)))


def test_a_symmetric_key_wraps_as_in_rfc_3394() -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), symmetric(KEK))

    assert recipient == Recipient(Method.AES_KW, "k", WRAPPED)
    assert unwrap(recipient, symmetric(KEK)).content == KEY_DATA


def test_the_hpke_of_these_tests_is_that_of_rfc_9180() -> None:
    private = X25519PrivateKey.from_private_bytes(PRIVATE)

    assert private.public_key().public_bytes_raw() == PUBLIC
    assert Hpke(16).shared_secret(ENC, private) == SHARED
    opened = Hpke(16).open(ENC, SEALED, private, info=INFO, aad=b"Count-0")
    assert opened == b"Beauty is truth, truth beauty"


def test_a_public_key_wraps_as_in_rfc_9180() -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), PAIR.public())

    assert (recipient.method, recipient.key_id) == (Method.HPKE_X25519, "pair")
    enc, sealed = recipient.wrapped[:32], recipient.wrapped[32:]
    opened = Hpke(32).open(enc, sealed, PAIR.x25519_private(), info=info_of("pair"), aad=b"")
    assert opened == KEY_DATA
    assert unwrap(recipient, PAIR).content == KEY_DATA


def test_a_private_key_wraps_for_its_public_half() -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), PAIR)

    assert unwrap(recipient, PAIR).content == KEY_DATA


@pytest.mark.parametrize("key", [MASTER, PAIR])
def test_no_flipped_bit_of_a_wrapped_key_goes_unseen(key: Key) -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), key)

    for bit in range(8 * len(recipient.wrapped)):
        flipped = bytearray(recipient.wrapped)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged = Recipient(recipient.method, recipient.key_id, bytes(flipped))
        with pytest.raises(WrongKeyError):
            unwrap(damaged, key)


@pytest.mark.parametrize("kind", [KeyKind.AES256, KeyKind.X25519])
def test_another_key_of_the_name_does_not_fit(kind: KeyKind) -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), Key.new("k", kind))

    with pytest.raises(WrongKeyError, match=r"^key 'k' does not open it: it is not the key"):
        unwrap(recipient, Key.new("k", kind))


@pytest.mark.parametrize(
    ("wrapping", "opening", "kind"),
    [(MASTER, PAIR, "x25519"), (PAIR, MASTER, "aes256"), (PAIR, PAIR.public(), "x25519-public")],
)
def test_a_key_of_another_kind_does_not_fit(wrapping: Key, opening: Key, kind: str) -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), wrapping)

    with pytest.raises(WrongKeyError, match=f"its kind is {kind}, "):
        unwrap(recipient, opening)


def test_a_key_cannot_be_taken_for_that_of_another_name() -> None:
    recipient = wrap(Secret(bytearray(KEY_DATA)), PAIR)
    renamed = Recipient(recipient.method, "other", recipient.wrapped)

    with pytest.raises(WrongKeyError):
        unwrap(renamed, PAIR)
