"""What happens to a model's releases: what their publisher does, and what nobody may do.

A step is a block: what it says is done at its beginning, then the server is held against what
it must come to, and an attack is taken back at the end.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from tests.support.server_process import ServerProcess
from tests.support.wire import Client
from tools.publishing import MODEL_FILE
from tools.releases import STRANGER, Releases, content_of

OLD_KEY: Final = "release-1"
NEW_KEY: Final = "release-2"
FORGED: Final = -1
"""What a model adds that must never answer."""
OVERRIDE: Final = json.dumps({"backend": "onnxruntime"})
BY_POLICY: Final = "policy: "
READY: Final = "READY"


class StepError(Exception):
    """Something else came of a step than must; the text says what."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The releases of a model, the server, and a client that may load; for one thread."""

    releases: Releases
    process: ServerProcess
    client: Client

    @property
    def model(self) -> str:
        return self.releases.model

    def reasons(self) -> list[str]:
        """Return what the index says against the model's versions."""
        rows = [row for row in self.client.index() if row[0] == self.model]
        return [reason for _, _, _, reason in rows if reason not in {"", "unloaded"}]

    def is_at_rest(self) -> bool:
        """Whether nothing is on its way, neither up nor down."""
        at_rest = {READY, "UNAVAILABLE"}
        return all(one.state.state in at_rest for one in self.client.generations(self.model))

    def serving(self) -> tuple[int, int]:
        """Return the newest version that serves, and which of its contents."""
        states = [one.state for one in self.client.generations(self.model)]
        ready = [one for one in states if one.state == READY]
        return max(((int(one.version), one.generation) for one in ready), default=(0, 0))

    def forged(self) -> dict[int, int]:
        """Return what an attacker's model consists of."""
        version, _ = self.serving()
        return dict.fromkeys(range(1, version + 1), FORGED)


Way = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Publication:
    """The version with this constant must take over, or be loaded anew where it serves."""

    title: str
    way: Way
    version: int
    constant: int


@dataclass(frozen=True, slots=True)
class Attack:
    """What serves must go on serving, and the index must give a reason with this in it."""

    title: str
    way: Way
    reason: str


Step = Publication | Attack


@contextmanager
def rotating(scene: Scene) -> Iterator[None]:
    """Give the model to a new key; take the old one away in the end, when nothing needs it."""
    scene.releases.show(scene.releases.rotated(OLD_KEY, NEW_KEY))
    yield
    if left := scene.releases.files_for(OLD_KEY):
        raise StepError(f"{left} files are still for the key {OLD_KEY}")
    scene.releases.withdraw_key(OLD_KEY)


def publishing(constants: Mapping[int, int]) -> Way:
    """Make a release of versions that add these constants, and show it."""

    @contextmanager
    def way(scene: Scene) -> Iterator[None]:
        scene.releases.show(scene.releases.release(constants, key=NEW_KEY))
        yield

    return way


@contextmanager
def flipping_a_byte(scene: Scene) -> Iterator[None]:
    version, _ = scene.serving()
    path = scene.releases.shown / str(version) / f"{MODEL_FILE}.enc"
    _flip_a_byte(path)
    yield
    _flip_a_byte(path)


def _flip_a_byte(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        place = path.stat().st_size // 2
        (byte,) = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes([byte ^ 0xFF]), place)


@contextmanager
def deleting_the_agents(scene: Scene) -> Iterator[None]:
    config = scene.releases.shown / "config.pbtxt"
    text = config.read_bytes()
    config.write_text(f'name: "{scene.model}"\n')
    yield
    config.write_bytes(text)


@contextmanager
def showing(scene: Scene, release: Path) -> Iterator[None]:
    before = scene.releases.shown
    scene.releases.show(release)
    yield
    scene.releases.show(before)


@contextmanager
def showing_the_first_release(scene: Scene) -> Iterator[None]:
    with showing(scene, scene.releases.made[0]):
        yield


@contextmanager
def showing_a_clear_model(scene: Scene) -> Iterator[None]:
    clear = scene.releases.clear(scene.forged())
    with showing(scene, scene.releases.smuggled(clear)):
        yield


@contextmanager
def showing_what_a_stranger_signed(scene: Scene) -> Iterator[None]:
    # Whoever has the public key can encrypt.
    forged = scene.releases.release(scene.forged(), key=NEW_KEY, signer=STRANGER)
    with showing(scene, forged):
        yield


@contextmanager
def loading_with_a_configuration(scene: Scene) -> Iterator[None]:
    _load_in_vain(scene, config=OVERRIDE)
    yield
    scene.client.load(scene.model)


@contextmanager
def loading_with_files(scene: Scene) -> Iterator[None]:
    version, _ = scene.serving()
    file = {f"file:{version}/{MODEL_FILE}": content_of(FORGED)}
    _load_in_vain(scene, config=OVERRIDE, **file)
    yield
    scene.client.load(scene.model)


def _load_in_vain(scene: Scene, **parameters: str | bytes) -> None:
    try:
        scene.client.load(scene.model, **parameters)
    except grpc.RpcError as error:
        if BY_POLICY not in error.details():
            raise
    else:
        raise StepError("the load was not refused")


@contextmanager
def spoiling_the_policy(scene: Scene) -> Iterator[None]:
    """Save a policy with a mistake, whereupon the one before it must go on to hold."""
    text = scene.releases.policy.read_bytes()
    scene.releases.put_policy(text.replace(b"required:", b"requires:"))
    scene.process.wait_for_log("kept the old agent policy")
    with showing_a_clear_model(scene):
        yield
    scene.releases.put_policy(text)
    scene.process.wait_for_log("the agent policy is the one in force again")


ROTATION: Final = Publication("the key is rotated, the old one taken away", rotating, 1, 1)
FLIPPED: Final = Attack(
    "one byte of the weights is flipped", flipping_a_byte, f"{MODEL_FILE}.enc is not what was"
)
NO_AGENTS: Final = Attack(
    "the agents are deleted from config.pbtxt", deleting_the_agents, "config.pbtxt is not what was"
)
IN_POLL_MODE: Final[tuple[Step, ...]] = (
    ROTATION,
    Attack("the release for the old key is back", showing_the_first_release, f"no key '{OLD_KEY}'"),
    Publication("version 2 is published", publishing({1: 1, 2: 2}), 2, 2),
    FLIPPED,
    NO_AGENTS,
    Attack("a clear model takes its place", showing_a_clear_model, "the model is not signed"),
    Attack("one that a stranger signed does", showing_what_a_stranger_signed, "another key"),
    Attack("the policy is spoilt, then as above", spoiling_the_policy, "the model is not signed"),
    Publication("version 3 is published", publishing({1: 1, 2: 2, 3: 3}), 3, 3),
)
IN_EXPLICIT_MODE: Final[tuple[Step, ...]] = (
    Attack("a load brings a configuration", loading_with_a_configuration, "config_overrides"),
    Attack("a load brings files", loading_with_files, "file_overrides"),
)
"""In poll mode no load may bring anything, whatever the policy says."""
