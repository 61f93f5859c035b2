"""Encrypted models that never were on a disk in the clear, and the search for what is now."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.support.encryption import MASTER, encrypted, write_key
from tests.support.models import Repository, parameter

MARKER_BYTES: Final = 64
LARGEST_BYTES: Final = 64 << 20
MOST_FILES: Final = 20_000
"""How much is looked at of a folder that is not the tests' own."""


@dataclass(slots=True)
class SecretModels:
    """A repository of encrypted models, their key, and all that nobody may find on a disk."""

    repository: Repository
    key_directory: Path
    secrets: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_key(self.key_directory, MASTER)

    def weights(self, name: str, count: int = 2048) -> NDArray[np.float32]:
        """Return weights that are secret from now on."""
        weights = np.random.default_rng().random(count, np.float32)
        self.secrets[name] = weights.tobytes()
        return weights

    def put(
        self, model: str, config: str, files: Mapping[str, bytes], agents: Sequence[str] = ()
    ) -> None:
        """Write a model whose configuration is encrypted too. `agents` come after `decrypt`."""
        word = self.secrets.setdefault(
            f"config of {model}", os.urandom(MARKER_BYTES // 2).hex().encode()
        )
        whole = f"{config}\n{parameter('word', word.decode())}\n"
        contents = {"config.pbtxt": whole.encode(), **files}
        listed = ", ".join(('{ name: "decrypt" }', *agents))
        self.repository.add(
            model,
            f'name: "{model}"\nmodel_repository_agents {{ agents [ {listed} ] }}\n',
            files={f"{path}.enc": sealed(path, content) for path, content in contents.items()},
        )

    def replace(self, model: str, path: str, content: bytes) -> None:
        """Put one file there in one step."""
        self.repository.replace(model, f"{path}.enc", sealed(path, content))

    @property
    def markers(self) -> Mapping[str, bytes]:
        """What to look for on a disk: the beginning and the end of each secret."""
        ends = {"begin": slice(MARKER_BYTES), "end": slice(-MARKER_BYTES, None)}
        return {
            f"{name} ({end})": content[part]
            for name, content in self.secrets.items()
            for end, part in ends.items()
        }


def sealed(path: str, content: bytes) -> bytes:
    return encrypted(content, path=path, chunk_bytes=4096)


def found_on_disk(
    markers: Mapping[str, bytes],
    *,
    own: Iterable[Path],
    shared: Iterable[Path] = (),
    since_ns: int = 0,
) -> list[str]:
    """Return a sentence for each file that holds a marker.

    All of `own` is looked at, files and folders; of folders that are `shared` with others
    two levels, what has changed since, and no more than `MOST_FILES`.
    """
    places = [place for root in own for place in _files_below(root, depth=64)]
    for root in shared:
        young = (
            place
            for place in _files_below(root, depth=2)
            if (status := _status(place)) is not None
            and status.st_ctime_ns >= since_ns
            and status.st_size <= LARGEST_BYTES
        )
        places += [place for place, _ in zip(young, range(MOST_FILES), strict=False)]
    return sorted(
        {f"'{place}' holds {name}" for place in places for name in _markers_in(place, markers)}
    )


def _files_below(root: Path, *, depth: int) -> Iterator[Path]:
    status = _status(root)
    if status is None:
        return
    if stat.S_ISREG(status.st_mode):
        yield root
    elif stat.S_ISDIR(status.st_mode) and depth:
        try:
            entries = sorted(root.iterdir())
        except OSError:  # gone, or not ours to see
            return
        for entry in entries:
            yield from _files_below(entry, depth=depth - 1)


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.lstat()
    except OSError:
        return None


def _markers_in(place: Path, markers: Mapping[str, bytes]) -> Iterator[str]:
    try:
        content = place.read_bytes()
    except OSError:
        return
    yield from (name for name, marker in markers.items() if marker in content)
