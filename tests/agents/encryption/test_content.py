"""What was encrypted comes back whole; what was changed in any way does not come back at all."""

import hmac
import random
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given, settings, strategies as st

from interlock_agents.encryption.content import EncryptedFile, encrypt, vouched
from interlock_agents.encryption.errors import (
    EncryptionError,
    KeyUnavailableError,
    WrongKeyError,
)
from interlock_agents.encryption.header import Header, read_header
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.encryption.secret import Secret
from interlock_agents.encryption.wrapping import unwrap
from tests.support.encryption import (
    MASTER,
    PAIR,
    KeysFake,
    decrypted,
    encrypted,
    read_by_the_document,
)

CHUNK = 64
CLOSED = CHUNK + 16
PATH = "1/model.onnx"


def weights(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def header_of(file: bytes) -> Header:
    return read_header(BytesIO(file))


def split(file: bytes) -> tuple[bytes, list[bytes]]:
    """Return the header and the chunks."""
    at = len(header_of(file).encoded())
    return file[:at], [file[begin : begin + CLOSED] for begin in range(at, len(file), CLOSED)]


def forged(file: bytes, **changes: object) -> bytes:
    """Return the file with a header changed and vouched for by one who has its key."""
    header = header_of(file)
    changed = vouched(replace(header, **changes), unwrap(header.recipients[0], MASTER))  # type: ignore[arg-type]
    return changed.encoded() + file[len(header.encoded()) :]


@settings(deadline=None, max_examples=60)
@given(
    chunk_bytes=st.sampled_from([16, 17, 64, 255]),
    chunks=st.integers(0, 4),
    beside=st.integers(-2, 2),
    recipients=st.permutations([MASTER, PAIR, PAIR.public()]).map(lambda keys: keys[:1]),
)
def test_any_size_comes_back(
    chunk_bytes: int, chunks: int, beside: int, recipients: list[Key]
) -> None:
    content = weights(max(0, chunks * chunk_bytes + beside))

    file = encrypted(content, *recipients, chunk_bytes=chunk_bytes)

    assert decrypted(file) == content
    assert len(file) == header_of(file).file_bytes


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_sizes_around_a_real_chunk_come_back(size: int) -> None:
    assert decrypted(encrypted(weights(size))) == weights(size)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_a_file_is_what_the_document_says(size: int) -> None:
    file = encrypted(weights(size), chunk_bytes=CHUNK)

    wrapped = header_of(file).recipients[0].wrapped
    data_key = aes_key_unwrap(bytes(MASTER.material.content), wrapped)

    assert read_by_the_document(file, data_key) == (PATH, weights(size))


def test_the_same_content_never_looks_the_same() -> None:
    first, second = (split(encrypted(bytes(CHUNK), chunk_bytes=CHUNK)) for _ in range(2))

    assert first[0] != second[0]
    assert first[1] != second[1]


def test_equal_chunks_do_not_look_equal() -> None:
    _, chunks = split(encrypted(bytes(4 * CHUNK), chunk_bytes=CHUNK))

    assert len(set(chunks)) == 4


@pytest.mark.parametrize("key", [MASTER, PAIR])
def test_no_changed_byte_goes_unseen(key: Key) -> None:
    file = encrypted(weights(3 * CHUNK + 5), key, chunk_bytes=CHUNK)
    generator = random.Random(1)

    for at in range(len(file)):
        changed = bytearray(file)
        changed[at] ^= 1 << generator.randrange(8)
        with pytest.raises(EncryptionError):
            decrypted(bytes(changed))


def test_no_flipped_bit_of_a_header_goes_unseen() -> None:
    file = encrypted(b"weights", chunk_bytes=CHUNK)

    for bit in range(8 * len(split(file)[0])):
        changed = bytearray(file)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EncryptionError):
            decrypted(bytes(changed))


def test_no_cut_goes_unseen() -> None:
    file = encrypted(weights(2 * CHUNK + 5), chunk_bytes=CHUNK)

    for length in range(len(file)):
        with pytest.raises(EncryptionError):
            decrypted(file[:length])


def left_out(chunks: list[bytes], at: int) -> list[bytes]:
    return chunks[:at] + chunks[at + 1 :]


def repeated(chunks: list[bytes], at: int) -> list[bytes]:
    return chunks[: at + 1] + chunks[at:]


def swapped(chunks: list[bytes], at: int) -> list[bytes]:
    other = (at + 1) % len(chunks)
    result = list(chunks)
    result[at], result[other] = chunks[other], chunks[at]
    return result


def in_place_of(chunks: list[bytes], at: int) -> list[bytes]:
    """The one after it takes the place, and stays in its own: the length is right."""
    result = list(chunks)
    result[at] = chunks[(at + 1) % len(chunks)]
    return result


@pytest.mark.parametrize("change", [left_out, repeated, swapped, in_place_of])
@pytest.mark.parametrize("at", range(4))
def test_chunks_stay_where_they_are(
    change: Callable[[list[bytes], int], list[bytes]], at: int
) -> None:
    header, chunks = split(encrypted(weights(4 * CHUNK), chunk_bytes=CHUNK))

    with pytest.raises(EncryptionError):
        decrypted(header + b"".join(change(chunks, at)))


@pytest.mark.parametrize("at", range(4))
def test_a_chunk_of_another_file_is_refused(at: int) -> None:
    header, chunks = split(encrypted(weights(4 * CHUNK), chunk_bytes=CHUNK))
    _, others = split(encrypted(weights(4 * CHUNK), chunk_bytes=CHUNK))

    with pytest.raises(EncryptionError, match=f"^chunk {at + 1} of 4 is damaged, or not from th"):
        decrypted(header + b"".join([*chunks[:at], others[at], *chunks[at + 1 :]]))


def test_whoever_has_the_key_cannot_shorten_a_file_by_its_header_alone() -> None:
    file = encrypted(weights(4 * CHUNK), chunk_bytes=CHUNK)

    shortened = forged(file, size=3 * CHUNK)[:-CLOSED]

    assert header_of(shortened).file_bytes == len(shortened)
    with pytest.raises(EncryptionError, match=r"^chunk 1 of 3 is damaged"):
        decrypted(shortened)


@pytest.mark.parametrize(
    "changes", [{"path": "1/other"}, {"salt": bytes(32)}, {"chunk_bytes": 2 * CHUNK}]
)
def test_chunks_belong_to_what_their_header_says(changes: dict[str, object]) -> None:
    file = forged(encrypted(weights(CHUNK), chunk_bytes=CHUNK), **changes)

    with pytest.raises(EncryptionError, match=r"^chunk 1 of 1 is damaged"):
        decrypted(file, path=header_of(file).path)


@pytest.mark.parametrize("more", [b"\0", b"weights", bytes(CLOSED)])
def test_nothing_may_follow(more: bytes) -> None:
    file = encrypted(weights(CHUNK), chunk_bytes=CHUNK)

    with pytest.raises(EncryptionError, match=f"^something follows its end: {len(more)} bytes$"):
        decrypted(file + more)


def test_what_grows_after_it_was_measured_is_refused() -> None:
    file = encrypted(b"weights")
    keys = KeysFake(MASTER)
    stream = BytesIO(file + b"more")

    with (
        EncryptedFile.open(stream, keys, path=PATH, file_bytes=len(file)) as opened,
        pytest.raises(EncryptionError, match=r"^something follows its end$"),
    ):
        opened.read_into(memoryview(bytearray(opened.size)))


def test_what_shrinks_after_it_was_measured_is_refused() -> None:
    file = encrypted(b"weights")

    with (
        EncryptedFile.open(
            BytesIO(file[:-1]), KeysFake(MASTER), path=PATH, file_bytes=len(file)
        ) as opened,
        pytest.raises(EncryptionError, match=r"^it is cut off within chunk 1 of 1$"),
    ):
        opened.read_into(memoryview(bytearray(opened.size)))


def test_a_file_belongs_at_its_path() -> None:
    file = encrypted(b"weights", path="1/other.onnx")

    with pytest.raises(EncryptionError) as raised:
        decrypted(file)

    assert str(raised.value) == (
        "it was encrypted as '1/other.onnx' and is not that of '1/model.onnx'"
    )


def test_a_damaged_chunk_leaves_nothing_of_itself() -> None:
    content = weights(2 * CHUNK)
    file = bytearray(encrypted(content, chunk_bytes=CHUNK))
    file[-1] ^= 1
    keys = KeysFake(MASTER)

    with EncryptedFile.open(BytesIO(bytes(file)), keys, path=PATH, file_bytes=len(file)) as opened:
        memory = bytearray(opened.size)
        with pytest.raises(EncryptionError):
            opened.read_into(memoryview(memory))

    assert memory == content[:CHUNK] + bytes(CHUNK)


def test_the_second_recipient_can_open_a_file_alone() -> None:
    file = encrypted(b"weights", MASTER, PAIR)

    assert decrypted(file, PAIR) == b"weights"


def test_a_wrong_key_does_not_hide_a_right_one() -> None:
    file = encrypted(b"weights", MASTER, PAIR)

    assert decrypted(file, Key.new("master", KeyKind.AES256), PAIR) == b"weights"


def test_a_wrong_key_is_told_from_a_missing_one() -> None:
    file = encrypted(b"weights", MASTER, PAIR)

    with pytest.raises(WrongKeyError, match=r"^key 'master' does not open it: .*no key 'pair'$"):
        decrypted(file, Key.new("master", KeyKind.AES256))
    with pytest.raises(KeyUnavailableError, match=r"^no key 'master'; no key 'pair'$"):
        decrypted(file, Key.new("other", KeyKind.AES256))


def test_no_recipient_can_be_taken_away_unseen() -> None:
    file = encrypted(b"weights", MASTER, PAIR)
    header = header_of(file)
    fewer = replace(header, recipients=header.recipients[:1])

    with pytest.raises(EncryptionError, match=r"^its header is damaged$"):
        decrypted(fewer.encoded() + file[len(header.encoded()) :])


def test_rewrapping_changes_who_can_open_a_file_and_no_chunk() -> None:
    file = encrypted(weights(2 * CHUNK), chunk_bytes=CHUNK)
    with EncryptedFile.open(
        BytesIO(file), KeysFake(MASTER), path=PATH, file_bytes=len(file)
    ) as opened:
        header = opened.rewrapped([PAIR.public()])

    moved = header.encoded() + b"".join(split(file)[1])

    assert header.fixed() == header_of(file).fixed()
    assert decrypted(moved, PAIR) == weights(2 * CHUNK)
    with pytest.raises(KeyUnavailableError):
        decrypted(moved, MASTER)


def test_rewrapping_can_leave_a_recipient_alone() -> None:
    file = encrypted(b"weights")
    with EncryptedFile.open(
        BytesIO(file), KeysFake(MASTER), path=PATH, file_bytes=len(file)
    ) as opened:
        header = opened.rewrapped([*opened.header.recipients, PAIR])

    assert header.recipients[0] == header_of(file).recipients[0]
    assert [recipient.key_id for recipient in header.recipients] == ["master", "pair"]


@pytest.mark.parametrize(
    ("recipients", "said"),
    [
        ([], "nobody could open it: it needs a recipient"),
        ([PAIR, PAIR.public()], "key 'pair' is a recipient twice"),
        ([Key.new(f"k{n}", KeyKind.AES256) for n in range(17)], "more than 16 recipients"),
    ],
)
def test_recipients_that_cannot_be(recipients: list[Key], said: str) -> None:
    target = BytesIO()

    with pytest.raises(EncryptionError, match=f"^{said}$"):
        encrypt(BytesIO(), target, path=PATH, size=0, recipients=recipients)

    assert target.getvalue() == b""


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/x", "../x", "a/../b", "a//b", "\udcff", "ü" * 2049]
)
def test_a_path_that_cannot_be(path: str) -> None:
    with pytest.raises(EncryptionError, match=r"is no path that can be written down"):
        encrypt(BytesIO(), BytesIO(), path=path, size=0, recipients=[MASTER])


@pytest.mark.parametrize(("size", "said"), [(8, "shorter"), (6, "longer")])
def test_a_source_of_another_size_is_refused(size: int, said: str) -> None:
    with pytest.raises(EncryptionError, match=f"^it became {said} while it was read$"):
        encrypt(BytesIO(b"weights"), BytesIO(), path=PATH, size=size, recipients=[MASTER])


def test_keys_are_wiped_however_it_ends() -> None:
    file = encrypted(b"weights")
    damaged = file[:-1] + bytes([file[-1] ^ 1])
    for content, keys in (
        (file, KeysFake(MASTER)),
        (damaged, KeysFake(MASTER)),
        (file + b"more", KeysFake(MASTER)),
        (file, KeysFake(Key.new("master", KeyKind.AES256))),
    ):
        try:
            with EncryptedFile.open(
                BytesIO(content), keys, path=PATH, file_bytes=len(content)
            ) as opened:
                opened.read_into(memoryview(bytearray(opened.size)))
        except EncryptionError:
            pass

        assert [key.material.content for key in keys.given] == [bytes(32)]


def test_whoever_waits_can_end_it_between_chunks() -> None:
    file = encrypted(weights(3 * CHUNK), chunk_bytes=CHUNK)
    looks: list[tuple[int, int]] = []

    class NobodyWaitsError(Exception):
        pass

    def look(begin: int, size: int) -> None:
        looks.append((begin, size))
        if len(looks) == 3:
            raise NobodyWaitsError

    with EncryptedFile.open(
        BytesIO(file), KeysFake(MASTER), path=PATH, file_bytes=len(file)
    ) as opened:
        memory = bytearray(opened.size)
        with pytest.raises(NobodyWaitsError):
            opened.read_into(memoryview(memory), before=look)

    assert looks == [(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, CHUNK)]
    assert memory == weights(3 * CHUNK)[: 2 * CHUNK] + bytes(CHUNK)


def test_a_stream_may_give_less_than_it_is_asked_for() -> None:
    class Trickle(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 7) if size and size > 0 else size)

        def readinto(self, memory: Any) -> int:
            return super().readinto(memoryview(memory)[:7])

    file = encrypted(weights(2 * CHUNK + 1), chunk_bytes=CHUNK)

    with EncryptedFile.open(
        Trickle(file), KeysFake(MASTER), path=PATH, file_bytes=len(file)
    ) as opened:
        memory = bytearray(opened.size)
        opened.read_into(memoryview(memory))

    assert memory == weights(2 * CHUNK + 1)


def test_the_mac_is_of_the_data_key_and_not_of_the_wrapping_one() -> None:
    header = header_of(encrypted(b"weights"))

    assert not hmac.compare_digest(vouched(header, Secret(bytearray(32))).mac, header.mac)
