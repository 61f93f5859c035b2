"""Headers that are read are those that were written, and what is none is said to be none."""

import struct
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, strategies as st

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.header import Header, Method, Recipient, is_encrypted, read_header

HEADER = Header(
    path="1/model.onnx",
    size=100,
    salt=bytes(range(32)),
    recipients=(Recipient(Method.AES_KW, "k", b"wrapped"),),
    chunk_bytes=64,
    mac=bytes(32),
)
PATH_AT = 56


def changed(at: int, content: bytes) -> bytes:
    encoded = bytearray(HEADER.encoded())
    encoded[at : at + len(content)] = content
    return bytes(encoded)


@given(
    path=st.sampled_from(["1/model.onnx", "config.pbtxt", "1/größe", "a" * 4096]),
    size=st.integers(0, 2**64 - 1),
    recipients=st.lists(
        st.builds(
            Recipient,
            st.sampled_from(Method),
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
            st.binary(min_size=1, max_size=1024),
        ),
        min_size=1,
        max_size=16,
    ),
    chunk_bytes=st.integers(16, 16 << 20),
)
def test_what_is_written_is_read(
    path: str, size: int, recipients: list[Recipient], chunk_bytes: int
) -> None:
    header = replace(
        HEADER, path=path, size=size, recipients=tuple(recipients), chunk_bytes=chunk_bytes
    )
    stream = BytesIO(header.encoded() + b"chunks")

    assert read_header(stream) == header
    assert stream.read() == b"chunks"


@pytest.mark.parametrize(
    ("size", "chunks"), [(0, 1), (1, 1), (63, 1), (64, 1), (65, 2), (128, 2), (129, 3)]
)
def test_chunks_are_full_but_for_the_last(size: int, chunks: int) -> None:
    header = replace(HEADER, size=size)

    assert header.chunks == chunks
    assert header.content_bytes == size + 16 * chunks
    assert header.file_bytes == len(header.encoded()) + header.content_bytes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not encrypted, or its beginning is damaged"),
        (b"name: 'm'", "it is not encrypted, or its beginning is damaged"),
        (changed(0, b"\x88"), "it is not encrypted, or its beginning is damaged"),
        (HEADER.encoded().replace(b"\r\n", b"\n"), "it is not encrypted, or its beginning is dam"),
        (changed(8, b"\2"), "its format is version 2; only 1 is known"),
        (changed(8, b"\2")[:9], "its format is version 2; only 1 is known"),
        (changed(9, b"\2"), "its cipher 2 is not known"),
        (changed(10, struct.pack(">I", 15)), "its header is damaged: chunks of 15 bytes"),
        (changed(10, b"\xff" * 4), "its header is damaged: chunks of 4294967295 bytes"),
        (changed(54, b"\xff\xff"), "its header is damaged: a path of 65535 bytes"),
        (changed(54, b"\0\0"), "its header is damaged: it names no path"),
        (changed(PATH_AT, b"/"), "its header is damaged: it names no path"),
        (changed(PATH_AT, b"../"), "its header is damaged: it names no path"),
        (changed(PATH_AT, b"./"), "its header is damaged: it names no path"),
        (changed(PATH_AT, b"\xff"), "its header is damaged: it names no path"),
        (changed(PATH_AT, b"\0"), "its header is damaged: it names no path"),
        (changed(68, b"\0"), "its header is damaged: 0 recipients"),
        (changed(68, b"\x11"), "its header is damaged: 17 recipients"),
        (changed(69, b"\x09"), "its data key is wrapped by method 9, which is not known"),
        (changed(70, b"\0"), "its header is damaged: it names no key"),
        (changed(71, b"/"), "its header is damaged: it names no key"),
        (changed(71, b"\xff"), "its header is damaged: it names no key"),
        (changed(72, b"\0\0"), "its header is damaged: a wrapped key of 0 bytes"),
        (changed(72, b"\xff\xff"), "its header is damaged: a wrapped key of 65535 bytes"),
    ],
)
def test_what_is_no_header_is_said_to_be_none(content: bytes, said: str) -> None:
    with pytest.raises(EncryptionError) as raised:
        read_header(BytesIO(content))

    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("length", range(9, len(HEADER.encoded())))
def test_a_header_that_ends_early_is_cut_off(length: int) -> None:
    with pytest.raises(EncryptionError, match=r"^it is cut off within its header$"):
        read_header(BytesIO(HEADER.encoded()[:length]))


def test_an_encrypted_file_is_known_by_its_beginning() -> None:
    assert is_encrypted(HEADER.encoded())
    assert not is_encrypted(HEADER.encoded()[:7])
    assert not is_encrypted(b"ILK\r\n\x1a\n")


@given(st.binary(max_size=300))
def test_nothing_that_follows_the_magic_does_more_than_fail(content: bytes) -> None:
    try:
        header = read_header(BytesIO(HEADER.encoded()[:10] + content))
    except EncryptionError:
        return
    assert header.encoded() == (HEADER.encoded()[:10] + content)[: len(header.encoded())]
