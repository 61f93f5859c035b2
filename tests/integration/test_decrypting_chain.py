"""The `decrypt` agent in a chain of the server's: what the server finds, and what stays behind."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from interlock.control.agent_chain import AgentChain, Link, Surroundings
from interlock.control.agent_model import Found, Subject
from interlock.control.agent_pool import AgentPool
from interlock.domain.errors import InvalidRequestError, ServiceError, UnavailableError
from interlock.repository.scratch import Scratch
from interlock_agents.api import Action, AgentModel, DirectoryLocation, MemoryFile, RepositoryAgent
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.key_sources import Keys
from interlock_agents.locked_memory import LockedMemory
from tests.support.agents import config_file_of
from tests.support.encryption import MASTER, KeysFake, encrypted


class WatcherAgent(RepositoryAgent):
    """Refuses, or not, and keeps the configuration that it saw."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.config: Mapping[str, object] = {}
        self._refuses = refuses

    def act(self, action: Action, model: AgentModel) -> None:
        if action is Action.LOAD:
            self.config = model.config
            if self._refuses:
                raise ValueError("not this one")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text("stub")
    (directory / "config.pbtxt.enc").write_bytes(encrypted(b"full", path="config.pbtxt"))
    (directory / "1" / "model.onnx.enc").write_bytes(encrypted(b"weights"))
    return directory


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (tmp_path / "scratch").mkdir()
    scratch = Scratch(tmp_path / "scratch")
    yield scratch
    scratch.close()


def chain(model: Path, scratch: Scratch, then: WatcherAgent, keys: Keys) -> AgentChain:
    warnings: list[str] = []
    shared = Decryption(keys, CoreDumps(), warnings.append, LockedMemory())
    links = [Link("decrypt", shared.agent), Link("watcher", lambda: then)]
    surroundings = Surroundings(AgentPool(timeout_s=60), scratch, config_file_of)
    found = Found(DirectoryLocation(model), {"name": "stub"})
    return AgentChain(Subject("m", (1,)), links, found, surroundings)


def test_the_next_agent_and_the_server_find_the_full_configuration(
    model: Path, scratch: Scratch, tmp_path: Path
) -> None:
    watcher = WatcherAgent()
    loading = chain(model, scratch, watcher, KeysFake(MASTER))

    location = loading.load()

    weights = location.file("1/model.onnx")
    assert isinstance(weights, MemoryFile)
    assert weights.read() == b"weights"
    assert watcher.config == {"name": "full"}
    decrypt, *_ = loading.heard
    assert (decrypt.name, decrypt.notes) == ("decrypt", {"keys": "master"})
    loading.complete()
    assert weights.is_closed
    loading.close()
    assert list((tmp_path / "scratch").rglob("*")) == []


def test_nothing_stays_behind_when_a_later_agent_refuses(model: Path, scratch: Scratch) -> None:
    before = {link.name for link in Path("/proc/self/fd").iterdir()}
    loading = chain(model, scratch, WatcherAgent(refuses=True), KeysFake(MASTER))

    with pytest.raises(ServiceError):
        loading.load()
    loading.close()

    left = {link.name for link in Path("/proc/self/fd").iterdir()} - before
    assert not any("memfd" in str(Path(f"/proc/self/fd/{number}").resolve()) for number in left)


@pytest.mark.parametrize(
    ("change", "keys", "kind", "said"),
    [
        (
            b"",
            KeysFake(),
            UnavailableError,
            "failed to decrypt '1/model.onnx.enc': no key 'master'",
        ),
        (
            b"more",
            KeysFake(MASTER),
            InvalidRequestError,
            "failed to decrypt '1/model.onnx.enc': something follows its end: 4 bytes",
        ),
    ],
    ids=["missing key", "changed file"],
)
def test_a_refusal_is_the_models_reason(
    model: Path, scratch: Scratch, change: bytes, keys: Keys, kind: type[Exception], said: str
) -> None:
    with (model / "1" / "model.onnx.enc").open("ab") as file:
        file.write(change)
    loading = chain(model, scratch, WatcherAgent(), keys)

    with pytest.raises(kind) as raised:
        loading.load()
    loading.close()

    assert said in str(raised.value)
