"""Write a model that is encrypted and signed, and all that a server needs to load it."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock_agents.api import DirectoryLocation
from interlock_agents.encryption.content import encrypt
from interlock_agents.encryption.key_sources import KeyDirectory
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.signing.verification import SIGNATURE_FILE, sign_model

NAME: Final = "model"
KEY_ID: Final = "bench"
SIGNER: Final = "bench"
CLEAR_PATH: Final = "1/model.onnx"
PATH: Final = f"{CLEAR_PATH}.enc"
_CONFIG: Final = f'name: "{NAME}"\nbackend: "onnxruntime"\n'
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """A model below `folder`, with the keys that open it and the signer that is trusted."""

    folder: Path

    @property
    def directory(self) -> Path:
        return self.folder / NAME

    @property
    def file(self) -> Path:
        """The encrypted file, which is nearly all of the model."""
        return self.directory / PATH

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def signers(self) -> Path:
        return self.folder / "signers"

    @property
    def sha256(self) -> str:
        """The digest of the encrypted file."""
        return self._digest("encrypted")

    @property
    def clear_sha256(self) -> str:
        """The digest of what was encrypted."""
        return self._digest("clear")

    def key(self) -> Key:
        """Return the key that opens the file."""
        return KeyDirectory(self.keys).find(KEY_ID)

    def _digest(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="ascii")


class Noise(io.RawIOBase):
    """A stream of `size` bytes that nothing can make shorter, the same ones each time."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self._left = size
        self._generator = np.random.default_rng(size)

    def readable(self) -> bool:
        return True

    def readinto(self, memory: memoryview) -> int:  # type: ignore[override]
        length = min(len(memory), self._left)
        memory[:length] = self._generator.bytes(length)
        self.digest.update(memory[:length])
        self._left -= length
        return length


def write(folder: Path, size: int) -> Model:
    """Write a model whose clear file has `size` bytes. What it needs of a disk is that once."""
    model = Model(folder)
    model.file.parent.mkdir(parents=True)
    (model.directory / "config.pbtxt").write_text(_CONFIG, encoding="ascii")
    key = _write_key(model.keys)
    source = Noise(size)
    with model.file.open("wb") as target:
        encrypt(source, target, path=CLEAR_PATH, size=size, recipients=[key])  # type: ignore[arg-type]
    (folder / "clear").write_text(source.digest.hexdigest(), encoding="ascii")
    with model.file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    (folder / "encrypted").write_text(digest, encoding="ascii")
    _sign(model)
    return model


def _write_key(directory: Path) -> Key:
    directory.mkdir(mode=0o700)
    key = Key.new(KEY_ID, KeyKind.AES256)
    place = directory / f"{KEY_ID}.key"
    place.touch(0o600)
    place.write_bytes(key.line())
    return key


def _sign(model: Model) -> None:
    model.signers.mkdir(mode=0o755)
    key = ec.generate_private_key(ec.SECP256R1())
    content, _ = sign_model(DirectoryLocation(model.directory), NAME, key)
    (model.directory / SIGNATURE_FILE).write_bytes(content)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    place = model.signers / f"{SIGNER}.pem"
    place.write_bytes(public)
    place.chmod(0o644)
