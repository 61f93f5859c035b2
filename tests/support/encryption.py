"""Encrypted files, made and read without the code that is tested: by the documents alone."""

import hashlib
import hmac
import struct
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock_agents.encryption.content import EncryptedFile, encrypt
from interlock_agents.encryption.errors import KeyUnavailableError
from interlock_agents.encryption.keys import Key, KeyKind

MASTER = Key.new("master", KeyKind.AES256)
PAIR = Key.new("pair", KeyKind.X25519)


class KeysFake:
    """Implements `Keys` with the keys that it is given; keeps what it has handed out."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {key.id: key for key in keys}
        self.given: list[Key] = []
        self.asked: list[str] = []

    def find(self, key_id: str) -> Key:
        self.asked.append(key_id)
        if key_id not in self._keys:
            raise KeyUnavailableError(f"no key '{key_id}'")
        key = self._keys[key_id]
        self.given.append(Key(key.id, key.kind, key.material.copy()))
        return self.given[-1]


def encrypted(
    content: bytes, *recipients: Key, path: str = "1/model.onnx", chunk_bytes: int = 1 << 20
) -> bytes:
    target = BytesIO()
    encrypt(
        BytesIO(content),
        target,
        path=path,
        size=len(content),
        recipients=recipients or (MASTER,),
        chunk_bytes=chunk_bytes,
    )
    return target.getvalue()


def decrypted(file: bytes, *keys: Key, path: str = "1/model.onnx") -> bytes:
    """Return the content; raise what the code that is tested raises."""
    with EncryptedFile.open(
        BytesIO(file), KeysFake(*(keys or (MASTER, PAIR))), path=path, file_bytes=len(file)
    ) as opened:
        memory = bytearray(opened.size)
        opened.read_into(memoryview(memory))
    return bytes(memory)


def write_key(directory: Path, key: Key) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    place = directory / f"{key.id}.key"
    place.touch(0o600)
    place.write_bytes(key.line())
    return place


def hkdf_extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), material, "sha256")


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    output, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]


class Hpke:
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-GCM with `key_bytes`."""

    def __init__(self, key_bytes: int) -> None:
        self._key_bytes = key_bytes
        aead = {16: 1, 32: 2}[key_bytes]
        self._kem = b"KEM" + struct.pack(">H", 0x20)
        self._suite = b"HPKE" + struct.pack(">HHH", 0x20, 1, aead)

    def open(
        self, enc: bytes, sealed: bytes, private: X25519PrivateKey, *, info: bytes, aad: bytes
    ) -> bytes:
        secret = self.shared_secret(enc, private)
        key, nonce = self.key_schedule(secret, info)
        return AESGCM(key).decrypt(nonce, sealed, aad)

    def shared_secret(self, enc: bytes, private: X25519PrivateKey) -> bytes:
        exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))
        context = enc + private.public_key().public_bytes_raw()
        prk = self._extract(self._kem, b"", b"eae_prk", exchanged)
        return self._expand(self._kem, prk, b"shared_secret", context, 32)

    def key_schedule(self, secret: bytes, info: bytes) -> tuple[bytes, bytes]:
        id_hash = self._extract(self._suite, b"", b"psk_id_hash", b"")
        info_hash = self._extract(self._suite, b"", b"info_hash", info)
        context = b"\0" + id_hash + info_hash
        prk = self._extract(self._suite, secret, b"secret", b"")
        key = self._expand(self._suite, prk, b"key", context, self._key_bytes)
        return key, self._expand(self._suite, prk, b"base_nonce", context, 12)

    def _extract(self, suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return hkdf_extract(salt, b"HPKE-v1" + suite + label + material)

    def _expand(self, suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
        head = struct.pack(">H", length) + b"HPKE-v1" + suite
        return hkdf_expand(prk, head + label + info, length)


def read_by_the_document(file: bytes, data_key: bytes) -> tuple[str, bytes]:
    """Return the path and the content of a file, read as `docs/encryption.md` says."""
    magic, version, cipher, chunk_bytes, size, salt, path_bytes = struct.unpack_from(
        ">8sBBIQ32sH", file
    )
    assert (magic, version, cipher) == (b"\x89ILK\r\n\x1a\n", 1, 1)
    path = file[56 : 56 + path_bytes].decode()
    fixed, at = file[: 56 + path_bytes], 56 + path_bytes
    count, at = file[at], at + 1
    for _ in range(count):
        at += 2 + file[at + 1]
        at += 2 + int.from_bytes(file[at : at + 2], "big")
    prk = hkdf_extract(salt, data_key)
    header_key = hkdf_expand(prk, b"interlock encryption 1 header", 32)
    assert hmac.digest(header_key, file[:at], "sha256") == file[at : at + 32]
    at += 32
    cipher_key = AESGCM(hkdf_expand(prk, b"interlock encryption 1 content", 32))
    bound = hashlib.sha256(fixed).digest()
    content, index = b"", 0
    while at < len(file):
        is_last = at + chunk_bytes + 16 >= len(file)
        nonce = index.to_bytes(8, "big") + b"\0\0\0" + (b"\1" if is_last else b"\0")
        content += cipher_key.decrypt(nonce, file[at : at + chunk_bytes + 16], bound)
        at, index = at + chunk_bytes + 16, index + 1
    assert len(content) == size
    return path, content
