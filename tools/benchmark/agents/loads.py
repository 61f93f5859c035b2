"""Load a model through its repository agents as a server does, up to where a backend would.

The agents, their chain, their pool of threads and their keys are the server's own.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Self

from interlock.control.agent_chain import AgentChain, Surroundings
from interlock.control.agent_links import ConfigReader, links_of
from interlock.control.agent_model import Found, Subject
from interlock.control.agent_pool import AgentPool
from interlock.domain.config_agents import AgentConfig
from interlock.repository.scratch import Scratch
from interlock_agents.api import DirectoryLocation, FilesLocation, Location, MemoryFile
from interlock_agents.built_in import built_in_offers
from interlock_agents.catalog import AgentCatalog
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.key_sources import ring_of
from interlock_agents.locked_memory import LockedMemory
from interlock_agents.signing.signers import SignerDirectory
from tools.benchmark.agents.bare import sha256_of
from tools.benchmark.agents.models import CLEAR_PATH, NAME, PATH, SIGNER, Model
from tools.benchmark.agents.turns import Turn, timed

CHECKSUM: Final = "checksum"
SIGNATURE: Final = "signature"
DECRYPT: Final = "decrypt"
ALL: Final = (CHECKSUM, SIGNATURE, DECRYPT)
"""In the order of docs/encryption.md: what is verified is what lies in the repository."""


class Loads:
    """Loads of one model. One thread at a time may use it."""

    def __init__(self, model: Model) -> None:
        self._location = DirectoryLocation(model.directory)
        self._parameters: Mapping[str, Mapping[str, str]] = {
            CHECKSUM: {f"SHA256:{PATH}": model.sha256},
            SIGNATURE: {"signers": SIGNER},
            DECRYPT: {},
        }
        keys = ring_of(model.keys, ())
        decryption = Decryption(keys, CoreDumps(), _warn, LockedMemory())
        signers = SignerDirectory(model.signers)
        self._catalog = AgentCatalog(built_in_offers(decryption, signers))
        self._scratch = Scratch()
        self._reader = ConfigReader()
        self._surroundings = Surroundings(AgentPool(), self._scratch, self._reader.fields_at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def preparing(self, names: Sequence[str]) -> Turn:
        """Return what it takes until a backend would open the model, its memory not wiped."""
        chain = self._chain(names)
        try:
            return timed(chain.load)
        finally:
            chain.close()

    def whole(self, names: Sequence[str]) -> Turn:
        """Return what the agents of a load take in all, from the first to the last action."""
        return timed(lambda: _live(self._chain(names)))

    @contextmanager
    def loaded(self, names: Sequence[str]) -> Iterator[FilesLocation | None]:
        """Yield what a backend would open; `None` for the files in the repository."""
        chain = self._chain(names)
        try:
            yield _in_memory(chain.load())
        finally:
            chain.close()

    def _chain(self, names: Sequence[str]) -> AgentChain:
        links = links_of(
            [AgentConfig(name, self._parameters[name]) for name in names], self._catalog
        )
        found = Found(self._location, self._reader.fields_at(self._location))
        return AgentChain(Subject(NAME, (1,)), links, found, self._surroundings)


def check(loads: Loads, clear_sha256: str) -> None:
    """Raise ValueError unless all agents together publish the content with this digest."""
    with loads.loaded(ALL) as location:
        if location is None or sha256_of(location.file(CLEAR_PATH).path) != clear_sha256:
            raise ValueError("it was not decrypted to what was encrypted")


def allocated_bytes(files: Sequence[MemoryFile]) -> int:
    """Return how much memory these files have got from the system."""
    return sum(512 * file.path.stat().st_blocks for file in files)


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _live(chain: AgentChain) -> None:
    for move in (chain.load, chain.complete, chain.unload, chain.unloaded):
        move()


def _in_memory(location: Location) -> FilesLocation | None:
    return location if isinstance(location, FilesLocation) else None
