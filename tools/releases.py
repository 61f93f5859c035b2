"""Make releases of one model as examples/secure/README.md says, and do to them what nobody may.

A release is a folder of the repository that no server looks at: the model, encrypted and then
signed. What is shown is a link to one of them, which changes in one step. The commands are
those that a person types; what is done to the disk by others is done here by hand.
"""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.signing import public_pem, write_private_key
from tools.environment import ROOT
from tools.publishing import BALLAST_BYTES, MODEL_FILE

EXAMPLE: Final = ROOT / "examples" / "secure"
RELEASES: Final = ".releases"
"""A folder of the repository that the server passes over, as it does all hidden ones."""
COMMAND_S: Final = 60.0
OWN: Final = "release"
"""Whose signature the policy of the example wants."""
STRANGER: Final = "stranger"
OUTPUTS: Final = (Port(name="y"), Port(name="twice"))


class CommandError(Exception):
    """A command of the publisher's was refused; the text is what it said."""


def content_of(constant: int) -> bytes:
    return onnx_small.marked(constant, ballast_bytes=BALLAST_BYTES)


def interlock(*words: str | Path) -> str:
    """Run a command as a person does, and return what it says. Raise CommandError."""
    command = ["interlock", *map(str, words)]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
    )
    if done.returncode != 0:
        raise CommandError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Releases:
    """All that publisher and server have, below one folder; for one thread."""

    def __init__(self, root: Path, model: str) -> None:
        self.model = model
        self.repository = root / "models"
        self.server = root / "server"
        self.keys = self.server / "keys"
        self.signers = self.server / "signers"
        self.policy = self.server / "policy.yaml"
        self.audit_log = root / "audit.jsonl"
        self._publisher = root / "publisher"
        self._numbers = itertools.count(1)
        self.made: list[Path] = []
        """The releases that were encrypted and signed, oldest first."""

    @property
    def shown(self) -> Path:
        """The release that the server sees now."""
        return (self.repository / self.model).resolve()

    def prepare(self, key: str) -> None:
        """Make a key to encrypt with, one to sign with and one of a stranger; take the policy."""
        folders = (self._publisher, self.server, self.signers, self.repository)
        for folder in (*folders, self.repository / RELEASES):
            folder.mkdir()
            # Whatever the umask: the server trusts nothing where others can write.
            folder.chmod(0o755)
        interlock("keys", "new", key, "--key-directory", self.keys)
        for signer in (OWN, STRANGER):
            private = ec.generate_private_key(ec.SECP256R1())
            write_private_key(self._publisher / f"{signer}.key", private)
            if signer == OWN:
                self._put(f"signers/{OWN}.pem", public_pem(private))
        self.put_policy((EXAMPLE / "policy.yaml").read_bytes())

    def put_policy(self, text: bytes) -> None:
        self._put("policy.yaml", text)

    def clear(self, constants: Mapping[int, int]) -> Path:
        """Write a model as its maker has it: for each version what its file adds."""
        drafts = Repository(self._folder(self._publisher))
        drafts.onnx(self.model, content_of(constants[1]), outputs=OUTPUTS)
        for version, constant in constants.items():
            drafts.replace(self.model, f"{version}/{MODEL_FILE}", content_of(constant))
        return drafts.root / self.model

    def release(self, constants: Mapping[int, int], *, key: str, signer: str = OWN) -> Path:
        """Encrypt a model and sign it. Raise CommandError."""
        draft = self.clear(constants)
        release = self._folder(self.repository / RELEASES) / self.model
        public = self.keys / f"{key}.pub"
        interlock("encrypt", draft, "--recipient", public, "--out", release)
        self._sign(release, signer)
        self.made.append(release)
        return release

    def rotated(self, old: str, new: str) -> Path:
        """Make a release of what is shown that the key `new` opens. Raise CommandError."""
        release = self._copied(self.shown)
        interlock("keys", "rotate", old, new, release, "--key-directory", self.keys)
        self._sign(release, OWN)
        return release

    def files_for(self, key: str) -> int:
        """Return how many files of what is shown a key opens. Raise CommandError."""
        told = interlock("keys", "list", self.shown, "--key-directory", self.keys, "--json")
        return sum(row["files"] for row in json.loads(told) if row["id"] == key)

    def withdraw_key(self, key: str) -> None:
        (self.keys / f"{key}.key").unlink()

    def show(self, release: Path) -> None:
        """Let the server see a release in the place of another, in one step."""
        draft = self.repository / ".next"
        draft.symlink_to(release.relative_to(self.repository))
        draft.rename(self.repository / self.model)

    def smuggled(self, draft: Path) -> Path:
        """Copy a model as it is to where releases lie."""
        return self._copied(draft)

    def _sign(self, release: Path, signer: str) -> None:
        interlock("sign", release, "--key", self._publisher / f"{signer}.key")

    def _copied(self, model: Path) -> Path:
        return Path(shutil.copytree(model, self._folder(self.repository / RELEASES) / self.model))

    def _folder(self, below: Path) -> Path:
        folder = below / str(next(self._numbers))
        folder.mkdir()
        return folder

    def _put(self, name: str, content: bytes) -> None:
        """Write what the server trusts, in one step; nobody else may write there."""
        draft = self.server / ".draft"
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.rename(self.server / name)
