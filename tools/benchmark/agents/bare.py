"""The same work by the libraries alone, as quick as they do it in one thread.

Nothing of it is of the agents: the file is read as docs/encryption.md describes it.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from interlock_agents.digesting import PIECE_BYTES
from interlock_agents.encryption.header import TAG_BYTES, Header, read_header
from tools.benchmark.agents.models import Model
from tools.benchmark.agents.turns import Turn, timed


def sha256_of(file: Path) -> str:
    """Return the digest of a file, read in pieces as the agents read it."""
    made = hashlib.sha256()
    chunk = memoryview(bytearray(PIECE_BYTES))
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(chunk):
            made.update(chunk[:count])
    return made.hexdigest()


class Memory:
    """A file in memory of `size` bytes; with `is_mapped` it is written as memory, too."""

    def __init__(self, size: int, *, is_mapped: bool) -> None:
        self.descriptor = os.memfd_create("bare", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, size)
        self._mapping = mmap.mmap(self.descriptor, size) if is_mapped else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._mapping is not None:
            self._mapping.close()
        os.close(self.descriptor)

    @property
    def mapping(self) -> mmap.mmap:
        """Raise ValueError where it is not mapped."""
        if self._mapping is None:
            raise ValueError("it is not mapped")
        return self._mapping

    def sha256(self) -> str:
        return sha256_of(Path(f"/proc/self/fd/{self.descriptor}"))


class BareCipher:
    """AES-256-GCM by the library alone: reads an encrypted file, and writes it to memory."""

    def __init__(self, model: Model) -> None:
        self._file = model.file
        with model.file.open("rb") as stream:
            self._header = read_header(stream)
            self._begin = stream.tell()
        (recipient,) = self._header.recipients
        with model.key() as key:
            data_key = aes_key_unwrap(bytes(key.material.content), recipient.wrapped)
        info = b"interlock encryption 1 content"
        self._cipher = AESGCM(HKDF(SHA256(), 32, self._header.salt, info).derive(data_key))
        self._bound = hashlib.sha256(self._header.fixed()).digest()

    def mapped(self) -> Turn:
        """Decrypt into memory that is mapped."""
        return self.run(self._into_mapping, is_mapped=True)

    def written(self) -> Turn:
        """Decrypt into the same piece of memory each time, and write that."""
        return self.run(self._by_writing, is_mapped=False)

    def check(self, clear_sha256: str) -> None:
        """Raise ValueError unless both ways give the content with this digest."""
        for do, is_mapped in ((self._into_mapping, True), (self._by_writing, False)):
            with Memory(self._header.size, is_mapped=is_mapped) as memory:
                do(memory)
                if memory.sha256() != clear_sha256:
                    raise ValueError("it was not decrypted to what was encrypted")

    def run(self, do: Callable[[Memory], None], *, is_mapped: bool) -> Turn:
        """Return what it takes; to make the memory as well, and not to give it back."""
        made: list[Memory] = []

        def work() -> None:
            made.append(Memory(self._header.size, is_mapped=is_mapped))
            do(made[0])

        try:
            return timed(work)
        finally:
            for memory in made:
                memory.__exit__()

    def _into_mapping(self, memory: Memory) -> None:
        with memoryview(memory.mapping) as whole:
            for nonce, chunk, begin in self._chunks():
                piece = whole[begin : begin + len(chunk) - TAG_BYTES]
                self._cipher.decrypt_into(nonce, chunk, self._bound, piece)
                piece.release()

    def _by_writing(self, memory: Memory) -> None:
        clear = memoryview(bytearray(self._header.chunk_bytes))
        for nonce, chunk, begin in self._chunks():
            piece = clear[: len(chunk) - TAG_BYTES]
            self._cipher.decrypt_into(nonce, chunk, self._bound, piece)
            os.pwrite(memory.descriptor, piece, begin)

    def _chunks(self) -> Iterator[tuple[bytes, memoryview, int]]:
        """Yield each chunk as it lies in the file, with its nonce and where it belongs."""
        header = self._header
        memory = memoryview(bytearray(header.chunk_bytes + TAG_BYTES))
        with self._file.open("rb", buffering=0) as stream:
            stream.seek(self._begin)
            for index in range(header.chunks):
                yield _nonce(header, index), _read(stream, memory), index * header.chunk_bytes


def _read(stream: BinaryIO, memory: memoryview) -> memoryview:
    count: int = stream.readinto(memory)  # type: ignore[attr-defined]
    return memory[:count]


def _nonce(header: Header, index: int) -> bytes:
    return index.to_bytes(8, "big") + bytes((0, 0, 0, index == header.chunks - 1))
