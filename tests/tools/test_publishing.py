"""What is published in which way, and what a server must make of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest

from tools.publishing import (
    AT_MOST,
    MODEL_FILE,
    Change,
    Expected,
    Folder,
    Kind,
    plan_changes,
)

CHANGE = Change(
    number=1,
    kind=Kind.RENAME,
    version=2,
    constant=2,
    in_place=False,
    way=Kind.RENAME,
    cut=0.5,
    pauses_s=(0.0,),
)
WRONG = replace(CHANGE, kind=Kind.WRONG, constant=-2)
GONE = replace(CHANGE, kind=Kind.GONE, way=Kind.GONE, in_place=True)


def nothing() -> None:
    """Do nothing halfway."""


def test_the_plan_is_the_same_for_the_same_seed_and_has_every_kind_alike() -> None:
    plan = plan_changes(200, 1, settle_s=0.2)

    assert plan == plan_changes(200, 1, settle_s=0.2)
    assert plan != plan_changes(200, 2, settle_s=0.2)
    counts = Counter(change.kind for change in plan)
    assert set(counts) == set(Kind)
    assert min(counts.values()) >= 20
    assert {change.in_place for change in plan if change.kind is Kind.TRUNCATED} == {False, True}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("falls_back", [True, False])
def test_some_good_version_serves_all_the_time(seed: int, *, falls_back: bool) -> None:
    expected = Expected()
    for change in plan_changes(200, seed, settle_s=0.2):
        before, expected = expected, expected.after(change, falls_back=falls_back)
        assert expected.constant > 0
        assert len(expected.contents) <= 2 * AT_MOST
        if change.kind.is_bad:
            assert expected.constant == before.constant
            assert (expected.refused, expected.why) == (change.version, change.kind)
        elif change.kind is not Kind.GONE:
            assert (expected.version, expected.constant) == (change.version, change.constant)


def test_a_version_that_goes_is_followed_by_the_one_before() -> None:
    second = Expected().after(CHANGE, falls_back=True)
    after = second.after(GONE, falls_back=True)

    assert (second.version, second.constant) == (2, 2)
    assert (after.version, after.constant, after.forgotten) == (1, 1, 2)


@pytest.mark.parametrize(
    ("falls_back", "version", "refused"),
    [pytest.param(True, 1, None, id="poll"), pytest.param(False, 3, 2, id="explicit")],
)
def test_what_follows_where_the_next_newest_is_bad(
    *, falls_back: bool, version: int, refused: int | None
) -> None:
    third = replace(CHANGE, version=3, constant=3)
    gone = replace(GONE, version=3)

    expected = Expected()
    for change in (WRONG, third, gone):
        expected = expected.after(change, falls_back=falls_back)

    assert (expected.version, expected.refused, expected.forgotten) == (version, refused, 3)


def test_what_broke_in_place_goes_on_from_memory() -> None:
    broken = replace(CHANGE, kind=Kind.TRUNCATED, in_place=True, constant=-3)
    expected = Expected().after(CHANGE, falls_back=True).after(broken, falls_back=True)

    assert (expected.version, expected.constant, expected.refused) == (2, 2, 2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "models" / "adder"
    (model / "1").mkdir(parents=True)
    (model / "1" / MODEL_FILE).write_bytes(b"the first")
    return model


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Folder:
    return Folder(model, tmp_path / "aside")


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", [Kind.SLOW, Kind.RENAME, Kind.FLIP, Kind.OLDER])
def test_what_is_good_arrives_whole(
    folder: Folder, model: Path, kind: Kind, *, in_place: bool
) -> None:
    change = replace(CHANGE, kind=kind, way=kind, version=1 if in_place else 2)
    folder.publish(change, halfway=nothing)
    folder.sweep(change)

    assert can_be_loaded(model / str(change.version) / MODEL_FILE)


def test_a_slow_copy_is_half_there_halfway(folder: Folder, model: Path) -> None:
    file = model / "2" / MODEL_FILE
    sizes: list[int] = []
    change = replace(CHANGE, kind=Kind.SLOW, way=Kind.SLOW)
    folder.publish(change, halfway=lambda: sizes.append(file.stat().st_size))

    assert 0.4 < sizes[0] / file.stat().st_size < 0.8


@pytest.mark.parametrize("kind", [Kind.HALF, Kind.TRUNCATED])
def test_what_is_broken_cannot_be_loaded(folder: Folder, model: Path, kind: Kind) -> None:
    folder.publish(replace(CHANGE, kind=kind, way=kind), halfway=nothing)

    assert not can_be_loaded(model / "2" / MODEL_FILE)


def test_a_file_is_cut_where_it_lies(folder: Folder, model: Path) -> None:
    change = replace(CHANGE, kind=Kind.TRUNCATED, way=Kind.TRUNCATED, version=1, in_place=True)
    folder.publish(change, halfway=nothing)

    assert (model / "1" / MODEL_FILE).read_bytes() == b"the "


@pytest.mark.parametrize("kind", [Kind.FLIP, Kind.OLDER])
def test_what_is_older_is_older(folder: Folder, model: Path, kind: Kind) -> None:
    before = (model / "1" / MODEL_FILE).stat()
    folder.publish(replace(CHANGE, kind=kind, way=kind, version=1), halfway=nothing)

    assert (model / "1" / MODEL_FILE).stat().st_mtime < before.st_mtime


def test_nothing_is_left_beside_the_repository(folder: Folder, model: Path, tmp_path: Path) -> None:
    flip = replace(CHANGE, kind=Kind.FLIP, way=Kind.FLIP)
    folder.publish(flip, halfway=nothing)
    folder.sweep(flip)
    assert names_in(tmp_path / "aside") == ["1"]

    folder.publish(GONE, halfway=nothing)
    folder.sweep(replace(GONE, then_sweep=1))
    assert names_in(tmp_path / "aside") == []
    assert names_in(model) == []


def can_be_loaded(file: Path) -> bool:
    try:
        ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - each fault has a type of its own
        return False
    return True


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
