"""Whoever makes models and publishes them with the command line, and has all the keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from interlock.cli.main import main
from tests.support.encryption import PAIR, write_key
from tests.support.signing import P256, public_pem, write_private_key

AGENTS: Final[Mapping[str, str]] = {
    "checksum": '{ name: "checksum" parameters { key: "manifest" value: "manifest.json" } }',
    "signature": '{ name: "signature" }',
    "decrypt": '{ name: "decrypt" }',
}
STEPS: Final = ("encrypt", "manifest", "sign")
"""In the order that fits agents which look at what lies in the repository."""


def naming(*agents: str) -> str:
    """Return the line of a configuration that names these agents."""
    named = ", ".join(AGENTS[agent] for agent in agents)
    return f"model_repository_agents {{ agents [ {named} ] }}"


def naming_with(agent: str, parameters: Mapping[str, str] | None = None) -> str:
    """Return the line of a configuration that names an agent with parameters."""
    listed = " ".join(
        f'parameters {{ key: "{key}" value: "{value}" }}'
        for key, value in (parameters or {}).items()
    )
    return f'model_repository_agents {{ agents [ {{ name: "{agent}" {listed} }} ] }}'


class Publisher:
    """Has a pair of keys to encrypt with, and a key to sign with."""

    def __init__(self, root: Path) -> None:
        self._public = root / "pair.pub"
        self._public.write_bytes(PAIR.public().line())
        self._private = write_private_key(root / "release.key", P256)
        self.keys = write_key(root / "keys", PAIR).parent
        self.signers = root / "signers"
        self.signers.mkdir(mode=0o755)
        (self.signers / "release.pem").write_bytes(public_pem(P256))
        (self.signers / "release.pem").chmod(0o644)

    @property
    def flags(self) -> tuple[str, str]:
        """What a server needs to load what is published."""
        return f"--key-directory={self.keys}", f"--signer-directory={self.signers}"

    def words(self, step: str, model: Path) -> Sequence[str]:
        """Return the command for one step of publishing."""
        flags = {
            "encrypt": [f"--recipient={self._public}"],
            "manifest": [],
            "sign": [f"--key={self._private}"],
        }[step]
        return [step, str(model), *flags]

    def do(self, model: Path, *steps: str) -> None:
        """Do these steps, each of which must go well."""
        for step in steps:
            assert main(self.words(step, model)) == 0
