"""Own the folder that mirrors a remote repository: what is in it, and how it changes.

`models` in it is an ordinary repository. Everything comes in by a rename: a version is a
folder that never changes, `models/<model>/<version>` a link to it, so that what is not
touched keeps its inode and its times. One thread at a time for each model.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import structlog

from interlock.repository.cloud.objects import VERSIONS_FOLDER, Files, RemoteFile, Unit

log = structlog.get_logger()

_WITHIN: Final = PurePath()


@dataclass(frozen=True, slots=True)
class Content:
    """What a unit is to become: its files, which lie in `folder` as they lie in the unit."""

    files: Files
    folder: Path


class Mirror:
    """A mirror below `place`, a folder that nobody else may enter.

    The path of `models` ends with `within`, so that it says what it mirrors: namespaces are
    made of such ends.
    """

    def __init__(self, place: Path, within: PurePath = _WITHIN) -> None:
        self.models = place / "models" / within
        self._aside = place / "aside"
        for folder in (self.models, self._aside):
            folder.mkdir(parents=True)
        self._numbers = itertools.count(1)
        # What is shown now. Each model's is written by one thread at a time.
        self._shown: dict[str, dict[Unit, Files]] = {}

    @property
    def names(self) -> frozenset[str]:
        """The models that the mirror holds."""
        return frozenset(self._shown.copy())

    def of(self, model: str) -> Mapping[Unit, Files]:
        """Return what the mirror holds of one model."""
        return self._shown.get(model, {})

    def path_of(self, unit: Unit, file: RemoteFile) -> Path:
        """Return where a file that is shown lies."""
        folder = self.models / unit.model
        return (folder if unit.version is None else folder / str(unit.version)) / file.path

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Make a folder to put new files into; removed at the end, with what is left in it."""
        folder = Path(tempfile.mkdtemp(dir=self._aside))
        try:
            yield folder
        finally:
            _remove(folder)

    def show(self, model: str, changes: Mapping[Unit, Content | None]) -> None:
        """Let units of a model be what lies in the folders, or be gone (`None`).

        Takes the folders over. A model that was not there comes as a whole. Raise OSError
        where that ends half-way; what was not reached is as it was.
        """
        folder = self.models / model
        if model in self._shown:
            self._change(folder, changes, self._shown[model])
        elif any(content is not None for content in changes.values()):
            with self.draft() as draft:
                fresh, shown = draft / "model", dict[Unit, Files]()
                fresh.mkdir()
                self._change(fresh, changes, shown)
                fresh.rename(folder)
                self._shown[model] = shown
        if not self._shown.get(model, True):
            with self.draft() as draft:
                folder.rename(draft / "model")
                del self._shown[model]

    def _change(
        self, folder: Path, changes: Mapping[Unit, Content | None], shown: dict[Unit, Files]
    ) -> None:
        # A version comes before the configuration that may name it.
        for unit in sorted(changes, key=lambda unit: (unit.version is None, unit.version or 0)):
            content = changes[unit]
            if unit.version is not None:
                self._show_version(folder, unit.version, content)
            else:
                # Until its end nobody knows which of the files are which.
                shown.pop(unit, None)
                _show_common(folder, content)
            if content is None:
                shown.pop(unit, None)
            else:
                shown[unit] = content.files

    def _show_version(self, folder: Path, version: int, content: Content | None) -> None:
        link = folder / str(version)
        old = folder / link.readlink() if link.is_symlink() else None
        if content is None:
            link.unlink(missing_ok=True)
        else:
            number = str(next(self._numbers))
            target = Path(VERSIONS_FOLDER, number)
            (folder / VERSIONS_FOLDER).mkdir(exist_ok=True)
            content.folder.rename(folder / target)
            fresh = folder / VERSIONS_FOLDER / f"link-{number}"
            fresh.symlink_to(target)
            fresh.rename(link)
        if old is not None:
            # Whoever has a file of it open keeps that file.
            _remove(old)


def _show_common(folder: Path, content: Content | None) -> None:
    """Put each file that is new in its place, and remove those that are no more."""
    wanted = set() if content is None else {file.path for file in content.files}
    for path in list(_files_below(folder)):
        if path not in wanted:
            (folder / path).unlink()
            _prune(folder, path)
    if content is None:
        return
    for path in _files_below(content.folder):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (content.folder / path).replace(place)


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of the files; versions are links, and what they lead to is left out."""
    for directory, folders, names in os.walk(folder):
        if directory == os.fspath(folder) and VERSIONS_FOLDER in folders:
            folders.remove(VERSIONS_FOLDER)
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), folder)  # noqa: PTH118


def _prune(folder: Path, path: str) -> None:
    """Remove the directories that a file has left empty."""
    for parent in Path(path).parents[:-1]:
        try:
            (folder / parent).rmdir()
        except OSError:
            return


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("left behind in the mirror", folder=os.fspath(folder), reason=error.strerror)
