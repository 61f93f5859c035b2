"""Publish versions of one model in every way that people do, good ones and bad ones.

`plan_changes` decides what is published where, `Folder` does it to the disk, and
`Expected.after` says what a server must make of it.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Self

from tests.support import onnx_small

STEP_BYTES: Final = 64 * 1024
BALLAST_BYTES: Final = 8 * STEP_BYTES
LONG_AGO_S: Final = 1_000_000_000
MODEL_FILE: Final = "model.onnx"
AT_MOST: Final = 5
"""From how many version directories on the oldest goes, if enough good ones are left."""
MOST_BAD: Final = 2
"""How many bad ones may follow each other."""
GOOD_LEFT: Final = 2
"""How many good versions there must be before one is taken away."""


class Kind(Enum):
    """How a version comes, or what is wrong with it."""

    SLOW = "slow copy, 64 kB at a time"
    RENAME = "rename"
    FLIP = "symlink flip to an older tree"
    OLDER = "cp -p of an older file"
    HALF = "half a file"
    TRUNCATED = "truncated file"
    WRONG = "wrong golden answers"
    GONE = "disappears"

    @property
    def is_bad(self) -> bool:
        return self in {Kind.HALF, Kind.TRUNCATED, Kind.WRONG}


Content = int | Kind
"""What a version's directory holds: the constant of its file, or what is wrong with it."""
Contents = Mapping[int, Content]
WAYS_OF_WRONG: Final = (Kind.SLOW, Kind.RENAME, Kind.FLIP)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the repository.

    `constant` is in the file that is published, negative where it must never answer.
    `in_place` says that the version was there before, `cut` where a bad file ends, from 0
    to 1, `way` how the file comes, and `pauses_s` how long the writer of a slow copy sleeps.
    """

    number: int
    kind: Kind
    version: int
    constant: int
    in_place: bool
    way: Kind
    cut: float
    pauses_s: tuple[float, ...]
    then_sweep: int | None = None

    def __str__(self) -> str:
        where = "" if self.kind is Kind.GONE else " in place" if self.in_place else " as a new one"
        return f"change {self.number} ({self.kind.value}, version {self.version}{where})"

    @property
    def content(self) -> Content:
        return self.kind if self.kind.is_bad else self.constant


def plan_changes(count: int, seed: int, *, settle_s: float) -> tuple[Change, ...]:
    """Return changes of every kind, as evenly as may be, the same for the same seed.

    One in four of the slow copies stands still for longer than the settle time, its file
    open. The first file, version 1 with the constant 1, is there before.
    """
    chance = random.Random(seed)
    contents: dict[int, Content] = {1: 1}
    deck: list[Kind] = []
    planned: list[Change] = []
    for number in range(1, count + 1):
        deck = deck or chance.sample(list(Kind), len(Kind))
        kind = next((kind for kind in deck if _fits(kind, contents)), Kind.RENAME)
        if kind in deck:
            deck.remove(kind)
        newest = max(contents)
        in_place = kind is Kind.GONE or (
            chance.random() < 0.5 and not (kind.is_bad and isinstance(contents[newest], Kind))
        )
        version = newest if in_place else newest + 1
        pauses = [chance.uniform(0, settle_s / 4) for _ in range(BALLAST_BYTES // STEP_BYTES)]
        if chance.random() < 0.25:
            pauses[0] = 1.5 * settle_s
        change = Change(
            number=number,
            kind=kind,
            version=version,
            constant=-(number + 1) if kind.is_bad else number + 1,
            in_place=in_place,
            way=chance.choice(WAYS_OF_WRONG) if kind is Kind.WRONG else kind,
            cut=chance.choice([0.0, chance.random(), chance.random(), 0.999999]),
            pauses_s=tuple(pauses),
        )
        contents = _after(contents, change)
        if len(contents) > AT_MOST and (oldest := _to_sweep(contents)) is not None:
            change = _sweeping(change, oldest)
            del contents[oldest]
        planned.append(change)
    return tuple(planned)


def _fits(kind: Kind, contents: Contents) -> bool:
    newest_first = [contents[version] for version in sorted(contents, reverse=True)]
    if kind is Kind.GONE:
        return any(isinstance(content, int) for content in newest_first[1:])
    return not kind.is_bad or any(isinstance(content, int) for content in newest_first[:MOST_BAD])


def _to_sweep(contents: Contents) -> int | None:
    """Return the oldest version, unless the good ones have become few."""
    oldest, *rest = sorted(contents)
    good = [version for version in rest if isinstance(contents[version], int)]
    return oldest if len(good) >= GOOD_LEFT else None


def _sweeping(change: Change, version: int) -> Change:
    values = {name: getattr(change, name) for name in change.__slots__}
    return Change(**{**values, "then_sweep": version})


def _after(contents: Contents, change: Change) -> dict[int, Content]:
    """Return what is in the repository after a change."""
    after = dict(contents)
    if change.kind is Kind.GONE:
        del after[change.version]
    else:
        after[change.version] = change.content
    return after


@dataclass(frozen=True, slots=True)
class Expected:
    """What a server must have come to, and what lies in the repository.

    It answers with `constant`, from this version. It says of the version `refused` that it
    does not serve what it has now, and `why`, and nothing of that kind of `forgotten` any more.
    """

    version: int = 1
    constant: int = 1
    refused: int | None = None
    why: Kind | None = None
    forgotten: int | None = None
    contents: Contents = field(default_factory=lambda: {1: 1})

    def after(self, change: Change, *, falls_back: bool) -> Self:
        """Return what must follow from a change.

        A server that falls back serves the newest version that it can; one that does not
        changes nothing where the newest cannot be served.
        """
        contents = _after(self.contents, change)
        version, constant = self._serving(contents, falls_back=falls_back)
        newest = max(contents)
        swept = {key: value for key, value in contents.items() if key != change.then_sweep}
        is_gone = change.kind is Kind.GONE
        refused = change.version if change.kind.is_bad else None
        if is_gone and not falls_back and isinstance(contents[newest], Kind):
            refused = newest
        why = None if refused is None else contents[refused]
        return type(self)(
            version=version,
            constant=constant,
            refused=refused,
            why=why if isinstance(why, Kind) else None,
            forgotten=change.version if is_gone else None,
            contents=swept,
        )

    def _serving(self, contents: Contents, *, falls_back: bool) -> tuple[int, int]:
        for version in sorted(contents, reverse=True):
            content = contents[version]
            if isinstance(content, int):
                return version, content
            if not falls_back or version == self.version:
                break
        return self.version, self.constant


class Folder:
    """The model's directory, and beside the repository a place to prepare what goes there."""

    def __init__(self, model: Path, aside: Path) -> None:
        self._model = model
        self._aside = aside
        aside.mkdir(exist_ok=True)

    def publish(self, change: Change, *, halfway: Callable[[], None]) -> None:
        """Change the repository; `halfway` is called while a slow copy is half there."""
        version = self._model / str(change.version)
        if change.kind is Kind.GONE:
            _remove(version)
            return
        if change.kind is Kind.TRUNCATED and change.in_place:
            file = version / MODEL_FILE
            os.truncate(file, int(file.stat().st_size * change.cut))
            return
        content = onnx_small.marked(
            change.constant, is_right=change.kind is not Kind.WRONG, ballast_bytes=BALLAST_BYTES
        )
        match change.way:
            case Kind.SLOW:
                _copy_slowly(content, version, change, halfway)
            case Kind.HALF:
                _copy_slowly(content[: len(content) // 2], version, change, lambda: None)
            case Kind.FLIP:
                self._flip(version, self._tree(change, content))
            case Kind.OLDER:
                version.mkdir(exist_ok=True)
                source = self._tree(change, content) / MODEL_FILE
                shutil.copy2(source, version / MODEL_FILE)
            case _:
                cut = int(len(content) * change.cut) if change.kind is Kind.TRUNCATED else None
                self._rename(version, content[:cut])

    def sweep(self, change: Change) -> None:
        """Take away the version that is one too many, and the trees that nothing leads to."""
        if change.then_sweep is not None:
            _remove(self._model / str(change.then_sweep))
        links = [path for path in self._model.glob("**/*") if path.is_symlink()]
        used = {path.resolve() for path in links}
        for tree in self._aside.iterdir():
            if not {tree.resolve(), (tree / MODEL_FILE).resolve()} & used:
                shutil.rmtree(tree)

    def _tree(self, change: Change, content: bytes) -> Path:
        """Return a directory of long ago that holds the file."""
        tree = self._aside / str(change.number)
        tree.mkdir()
        (tree / MODEL_FILE).write_bytes(content)
        # Each older than the one before: clocks run backwards here.
        moment = LONG_AGO_S - change.number
        os.utime(tree / MODEL_FILE, (moment, moment))
        os.utime(tree, (moment, moment))
        return tree

    def _flip(self, version: Path, tree: Path) -> None:
        if version.exists() and not version.is_symlink():
            version, tree = version / MODEL_FILE, tree / MODEL_FILE
        draft = self._model.with_name(f".{self._model.name}.link")
        draft.symlink_to(tree)
        draft.rename(version)

    def _rename(self, version: Path, content: bytes) -> None:
        draft = self._aside / "draft"
        draft.mkdir()
        (draft / MODEL_FILE).write_bytes(content)
        if version.exists():
            (draft / MODEL_FILE).rename(version / MODEL_FILE)
            draft.rmdir()
        else:
            draft.rename(version)


def _copy_slowly(
    content: bytes, version: Path, change: Change, halfway: Callable[[], None]
) -> None:
    version.mkdir(exist_ok=True)
    steps = range(0, len(content), STEP_BYTES)
    with (version / MODEL_FILE).open("wb", buffering=0) as file:
        for number, start in enumerate(steps):
            file.write(content[start : start + STEP_BYTES])
            if number == len(steps) // 2:
                halfway()
            time.sleep(change.pauses_s[number % len(change.pauses_s)])


def _remove(version: Path) -> None:
    if version.is_symlink():
        version.unlink()
    else:
        shutil.rmtree(version)
