"""Bring changed units of a model into the mirror: all that is lacking is there, or nothing is."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from interlock.repository.cloud.budget import Budget
from interlock.repository.cloud.fetching import Download, Fetcher
from interlock.repository.cloud.mirror import Content, Mirror
from interlock.repository.cloud.objects import Files, RemoteFile, Unit
from interlock.repository.cloud.store import ObjectStore

log = structlog.get_logger()

Changes = Mapping[Unit, Files | None]
"""What units are to become; `None` where they are to go."""


@dataclass(frozen=True, slots=True)
class Bringer:
    """Changes one mirror. One thread at a time for each model."""

    mirror: Mirror
    budget: Budget
    fetcher: Fetcher

    def bring(self, store: ObjectStore, model: str, changes: Changes) -> None:
        """Fetch what is lacking, and show the units when all of it is there.

        Raise NoRoomError, what `Fetcher.fetch` raises, and OSError; what is shown stays as
        it was but for the last, and is never half of one and half of the other.
        """
        before = self.mirror.of(model)
        lacking = {
            unit: [file for file in files if file not in before.get(unit, ())]
            for unit, files in changes.items()
            if files is not None
        }
        with self.budget.coming(_room(changes, lacking)), self.mirror.draft() as draft:
            contents: dict[Unit, Content | None] = dict.fromkeys(changes)
            downloads: list[Download] = []
            for number, (unit, missing) in enumerate(lacking.items()):
                folder = draft / str(number)
                folder.mkdir()
                files = changes[unit] or ()
                contents[unit] = Content(files, folder)
                downloads += [Download(one.source, folder / one.path) for one in missing]
                if unit.version is not None:
                    self._copy(unit, [file for file in files if file not in missing], folder)
            self.fetcher.fetch(store, downloads)
            self._show(model, contents)

    def drop(self, model: str) -> int:
        """Remove a model from the mirror; return how many bytes that gave back."""
        units = self.mirror.of(model)
        size = _bytes(*units.values())
        if units:
            self._show(model, dict.fromkeys(units))
        return size

    def _show(self, model: str, contents: Mapping[Unit, Content | None]) -> None:
        had = _bytes(*self.mirror.of(model).values())
        try:
            self.mirror.show(model, contents)
        finally:
            self.budget.hold(_bytes(*self.mirror.of(model).values()) - had)

    def _copy(self, unit: Unit, files: Iterable[RemoteFile], folder: Path) -> None:
        """Copy what a version keeps: a link would change the times of what is shown."""
        for file in files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.mirror.path_of(unit, file), target)


def _room(changes: Changes, lacking: Mapping[Unit, Iterable[RemoteFile]]) -> int:
    """Return how many bytes will lie beside those that are shown now."""
    return sum(
        _bytes(files if unit.version is not None else lacking[unit])
        for unit, files in changes.items()
        if files is not None
    )


def _bytes(*units: Iterable[RemoteFile]) -> int:
    return sum(file.source.size for files in units for file in files)
