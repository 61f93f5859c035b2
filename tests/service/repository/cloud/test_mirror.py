"""The mirror on the disk: what is shown, in which steps, and what is left alone."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from interlock.repository.cloud.mirror import Content, Mirror
from interlock.repository.cloud.objects import RemoteFile, Unit
from interlock.repository.fingerprint import fingerprint
from tests.support.object_stores import remote


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path)


def show(
    mirror: Mirror, model: str, units: Mapping[int | None, Mapping[str, bytes] | None]
) -> None:
    """Show units of these files, all of them new."""
    with mirror.draft() as draft:
        contents: dict[Unit, Content | None] = {}
        for version, files in units.items():
            unit = Unit(model, version)
            if files is None:
                contents[unit] = None
                continue
            folder = draft / str(version)
            folder.mkdir()
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            listed = tuple(RemoteFile(path, remote(path, files[path])) for path in sorted(files))
            contents[unit] = Content(listed, folder)
        mirror.show(model, contents)


def tree(mirror: Mirror) -> dict[str, bytes]:
    """All that an ordinary look finds, links followed, hidden folders left out."""
    found = {}
    for folder, names, files in os.walk(mirror.models, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        for file in files:
            path = Path(folder, file)
            found[str(path.relative_to(mirror.models))] = path.read_bytes()
    return found


def test_a_model_comes_as_a_whole(mirror: Mirror) -> None:
    show(mirror, "m", {None: {"config.pbtxt": b"c", "golden/a": b"g"}, 1: {"model": b"1"}})

    assert tree(mirror) == {
        "m/config.pbtxt": b"c",
        "m/golden/a": b"g",
        "m/1/model": b"1",
    }
    assert mirror.names == {"m"}


def test_a_version_is_replaced_in_one_step_and_the_others_keep_their_fingerprints(
    mirror: Mirror,
) -> None:
    show(mirror, "m", {None: {"config.pbtxt": b"c"}, 1: {"model": b"1"}, 2: {"model": b"2"}})
    before = fingerprint(mirror.models / "m")

    show(mirror, "m", {2: {"other": b"3"}})

    after = fingerprint(mirror.models / "m")
    assert tree(mirror) == {"m/config.pbtxt": b"c", "m/1/model": b"1", "m/2/other": b"3"}
    assert after.common == before.common
    assert after.versions[1] == before.versions[1]
    assert after.versions[2] != before.versions[2]


def test_a_file_that_is_open_stays_what_it_was(mirror: Mirror) -> None:
    show(mirror, "m", {1: {"model": b"old"}})

    with (mirror.models / "m" / "1" / "model").open("rb") as file:
        show(mirror, "m", {1: {"model": b"new"}})
        assert file.read() == b"old"


def test_a_version_resolves_to_a_place_inside_its_model(mirror: Mirror) -> None:
    show(mirror, "m", {1: {"model": b"1"}})

    model = mirror.models / "m"
    assert (model / "1" / "model").resolve().is_relative_to(model.resolve())


def test_common_files_come_and_go(mirror: Mirror) -> None:
    show(mirror, "m", {None: {"a/b/c": b"1", "d": b"2", "keep": b"3"}})
    kept = (mirror.models / "m" / "keep").stat().st_ctime_ns

    with mirror.draft() as draft:
        (draft / "u").mkdir()
        (draft / "u" / "a").write_bytes(b"4")
        wanted = tuple(RemoteFile(path, remote(path)) for path in ("a", "keep"))
        mirror.show("m", {Unit("m", None): Content(wanted, draft / "u")})

    assert tree(mirror) == {"m/a": b"4", "m/keep": b"3"}
    assert (mirror.models / "m" / "keep").stat().st_ctime_ns == kept


def test_a_model_of_which_nothing_is_left_goes(mirror: Mirror, tmp_path: Path) -> None:
    show(mirror, "m", {None: {"config.pbtxt": b"c"}, 1: {"model": b"1"}})

    show(mirror, "m", {None: None, 1: None})

    assert not mirror.names
    assert not list(mirror.models.iterdir())
    assert not list((tmp_path / "aside").iterdir())


def test_an_old_version_takes_no_room(mirror: Mirror) -> None:
    for content in (b"1", b"2", b"3"):
        show(mirror, "m", {1: {"model": content}})

    assert len(list((mirror.models / "m" / ".versions").iterdir())) == 1


def test_what_fails_half_way_is_not_taken_for_whole(mirror: Mirror) -> None:
    show(mirror, "m", {None: {"config.pbtxt": b"c"}, 1: {"model": b"1"}})

    with mirror.draft() as draft:
        gone = Content((RemoteFile("x", remote("x")),), draft / "never-made")
        with pytest.raises(OSError, match="never-made"):
            mirror.show("m", {Unit("m", 2): gone, Unit("m", 1): None})

    assert tree(mirror) == {"m/config.pbtxt": b"c"}
    assert set(mirror.of("m")) == {Unit("m", None)}


def test_a_new_model_that_fails_is_not_there(mirror: Mirror) -> None:
    with mirror.draft() as draft:
        gone = Content((), draft / "never-made")
        with pytest.raises(OSError, match="never-made"):
            mirror.show("m", {Unit("m", 1): gone})

    assert not mirror.names
    assert not list(mirror.models.iterdir())
