"""Models that somebody has tampered with: refused in words, while what was loaded before serves.

One of each kind; every place and every bit of it is tested where it is decided.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interlock_agents.encryption.keys import Key, KeyKind
from tests.support import onnx_small
from tests.support.encryption import MASTER, encrypted, write_key
from tests.support.models import Repository
from tests.support.publishing import naming_with
from tests.support.signing import (
    OTHER,
    P256,
    certified,
    public_pem,
    sign_directory,
)
from tests.support.wire import Client, WireServer, answer_to_zero, serving

CHUNK = 64
CLOSED = CHUNK + 16
CONTENT = onnx_small.add_constant(1)
CHANGED = onnx_small.add_constant(2)
NOW = datetime.now(UTC)
ROOT = certified(
    "root", is_authority=True, start=NOW - timedelta(days=9), end=NOW + timedelta(days=9)
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, whose keys and signers a test may change."""

    server: WireServer
    keys: Path
    outside: Path

    @property
    def repository(self) -> Repository:
        return self.server.repository


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("server")
    keys = write_key(root / "keys", MASTER).parent
    (root / "signers").mkdir(mode=0o755)
    for name, content in (("release", public_pem(P256)), ("company", ROOT.pem)):
        (root / "signers" / f"{name}.pem").write_bytes(content)
        (root / "signers" / f"{name}.pem").chmod(0o644)
    (root / "outside.onnx").write_bytes(CONTENT)
    (root / "models").mkdir()
    flags = (f"--key-directory={keys}", f"--signer-directory={root / 'signers'}")
    with serving(Repository(root / "models"), *flags) as server:
        yield Place(server, keys, root / "outside.onnx")


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[Client]:
    with place.server.client() as client:
        yield client


def check_refused(client: Client, model: str, reason: str) -> None:
    """Load what was tampered with: its reason says so, and what was there before serves."""
    refusal = client.load_refusal(model)

    head = f"failed to load '{model}', failed to poll from model repository: "
    assert refusal.code == "INTERNAL"
    assert refusal.text.startswith(head)
    assert reason in refusal.text
    (row,) = (row for row in client.index() if row[0] == model)
    assert row[2] == "READY"
    assert row[3].partition(": ")[2] == refusal.text.removeprefix(head)
    assert answer_to_zero(client, model) == 1


FILE = encrypted(CONTENT, chunk_bytes=CHUNK)
HEAD = len(FILE) - len(CONTENT) - 16 * -(-len(CONTENT) // CHUNK)
CHUNKS = [FILE[at : at + CLOSED] for at in range(HEAD, len(FILE), CLOSED)]
LAST = len(CHUNKS)
FOREIGN = encrypted(CONTENT, chunk_bytes=CHUNK)[HEAD : HEAD + CLOSED]


def flipped(at: int) -> bytes:
    changed = bytearray(FILE)
    changed[at] ^= 1
    return bytes(changed)


def with_chunks(*chunks: bytes) -> bytes:
    return FILE[:HEAD] + b"".join(chunks)


ENCRYPTED = {
    "a flipped bit of the beginning": (flipped(0), "it is not encrypted, or its beginning is"),
    "a flipped bit of the header": (flipped(30), "its header is damaged"),
    "a flipped bit of the wrapped key": (flipped(HEAD - 40), "key 'master' does not open it: "),
    "a flipped bit of a chunk": (flipped(HEAD), f"chunk 1 of {LAST} is damaged, or not from there"),
    "a flipped bit of a tag": (flipped(-1), f"chunk {LAST} of {LAST} is damaged, or not from"),
    "a chunk left out": (with_chunks(*CHUNKS[1:]), "it is cut off: 80 of "),
    "a chunk twice": (with_chunks(CHUNKS[0], *CHUNKS), "something follows its end: 80 bytes"),
    "chunks in another order": (
        with_chunks(CHUNKS[1], CHUNKS[0], *CHUNKS[2:]),
        f"chunk 1 of {LAST} is damaged, or not from there",
    ),
    "a chunk cut off": (FILE[:-1], "it is cut off: 1 of "),
    "a chunk of another file": (
        with_chunks(FOREIGN, *CHUNKS[1:]),
        f"chunk 1 of {LAST} is damaged, or not from there",
    ),
    "something behind the end": (FILE + b"\0", "something follows its end: 1 bytes"),
}


def put_encrypted(place: Place, model: str, file: bytes) -> None:
    """Write a model whose graph is encrypted and whose configuration is not."""
    folder = place.repository.root / model
    if not folder.exists():
        folder = place.repository.onnx(model, b"", extra=naming_with("decrypt"))
        (folder / "1" / "model.onnx").unlink()
    place.repository.replace(model, "1/model.onnx.enc", file)


@pytest.mark.parametrize("damage", ENCRYPTED)
def test_an_encrypted_file_that_was_changed(place: Place, client: Client, damage: str) -> None:
    file, reason = ENCRYPTED[damage]
    put_encrypted(place, "encrypted", FILE)
    client.load("encrypted")

    put_encrypted(place, "encrypted", file)

    check_refused(client, "encrypted", f"failed to decrypt '1/model.onnx.enc': {reason}")


def taken_away(key: Path) -> str:
    key.unlink()
    return f"no key 'second' in key directory '{key.parent}'"


def replaced(key: Path) -> str:
    write_key(key.parent, Key.new("second", KeyKind.AES256))
    return "key 'second' does not open it: it is not the key"


def shown_to_all(key: Path) -> str:
    key.chmod(0o644)
    return f"key '{key}' is open to others (mode 0644); chmod 600 '{key}'"


@pytest.mark.parametrize("change", [taken_away, replaced, shown_to_all])
def test_a_key_that_is_none(place: Place, client: Client, change: Callable[[Path], str]) -> None:
    put_encrypted(place, "keyed", FILE)
    client.load("keyed")
    second = Key.new("second", KeyKind.AES256)
    reason = change(write_key(place.keys, second))

    put_encrypted(place, "keyed", encrypted(CHANGED, second))

    check_refused(client, "keyed", reason)
    (place.keys / "second.key").unlink(missing_ok=True)


MD5 = hashlib.md5(CONTENT).hexdigest()
UNREADABLE = "failed to open text file for read"
CHECKSUMS = {
    "no colon": ("1/model.onnx", "failed to parse key: 1/model.onnx"),
    "an unknown algorithm": ("CRC32:1/model.onnx", "Unsupported checksum algorithm: CRC32 (known"),
    "a path that leads out": (
        "MD5:../m",
        f"{UNREADABLE} ../m: '../m' leads out of the model directory",
    ),
    "an absolute path": ("MD5:/etc/passwd", f"{UNREADABLE} /etc/passwd: '/etc/passwd' is an abso"),
    "a link that leads out": (
        "MD5:1/link",
        f"{UNREADABLE} 1/link: '1/link' leads out of the model",
    ),
    "another content": (
        "MD5:1/model.onnx",
        "Mismatched MD5 hash for file 1/model.onnx, expect: " + MD5,
    ),
}


@pytest.mark.parametrize("fault", CHECKSUMS)
def test_a_checksum_that_is_none_or_not_right(place: Place, client: Client, fault: str) -> None:
    key, reason = CHECKSUMS[fault]
    fine = naming_with("checksum", {"MD5:1/model.onnx": MD5})
    place.repository.onnx("summed", CONTENT, extra=fine)
    client.load("summed")

    folder = place.repository.onnx("summed", CHANGED, extra=naming_with("checksum", {key: MD5}))
    (folder / "1" / "link").unlink(missing_ok=True)
    (folder / "1" / "link").symlink_to(place.outside)

    check_refused(client, "summed", reason)
    (folder / "1" / "link").unlink()


def signed_again(folder: Path) -> str:
    sign_directory(folder, name="another")
    return "it is the signature of model 'another', and not of 'signed'"


def signed_by_a_stranger(folder: Path) -> str:
    sign_directory(folder, OTHER, name="signed")
    return "signed with another key ("


def signed_with_an_old_certificate(folder: Path) -> str:
    old = certified("old", ROOT, start=NOW - timedelta(days=2), end=NOW - timedelta(days=1))
    sign_directory(folder, old.key, name="signed", chain=(old,))
    return "certificate 'CN=old' has expired on "


def signed_before(_: Path) -> str:
    return "file 1/model.onnx is not what was signed"


def signed_at_length(folder: Path) -> str:
    with (folder / "model.sig").open("r+b") as stream:
        stream.truncate(100_000_000)
    return "it is longer than 32 MiB, and was not read further"


def not_signed(folder: Path) -> str:
    (folder / "model.sig").unlink()
    return "the model is not signed: it has no file model.sig"


@pytest.mark.parametrize(
    "sign",
    [
        signed_again,
        signed_by_a_stranger,
        signed_with_an_old_certificate,
        signed_before,
        signed_at_length,
        not_signed,
    ],
)
def test_a_signature_that_does_not_count(
    place: Place, client: Client, sign: Callable[[Path], str]
) -> None:
    folder = place.repository.onnx("signed", CONTENT, extra=naming_with("signature"))
    sign_directory(folder, name="signed")
    client.load("signed")

    place.repository.replace("signed", "1/model.onnx", CHANGED)
    reason = sign(folder)

    check_refused(client, "signed", f"model.sig: {reason}")
