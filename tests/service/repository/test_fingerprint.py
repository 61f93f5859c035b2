"""What counts as a change of a model, and what does not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.repository.fingerprint import Fingerprint, fingerprint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for name in ("1/model.onnx", "2/model.onnx", "2/deep/er/weights", "labels.txt"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (directory / "config.pbtxt").write_text("")
    return directory


def replace(path: Path, content: str) -> None:
    draft = path.with_name("draft")
    draft.write_text(content)
    draft.rename(path)


def older(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def changed(before: Fingerprint, after: Fingerprint) -> set[int]:
    numbers = before.versions.keys() | after.versions.keys()
    return {number for number in numbers if before.of(number) != after.of(number)}


def test_nothing_changes_by_itself(model: Path) -> None:
    assert fingerprint(model) == fingerprint(model)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_text("longer than before"), id="another size"),
        pytest.param(lambda path: replace(path, path.read_text()), id="a copy in its place"),
        pytest.param(older, id="an older time"),
        pytest.param(lambda path: path.chmod(0o600), id="other permissions"),
        pytest.param(rename, id="another name"),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.with_name("more").write_text(""), id="one more"),
    ],
)
@pytest.mark.parametrize(
    ("file", "versions"),
    [
        pytest.param("1/model.onnx", {1}, id="in one version"),
        pytest.param("2/deep/er/weights", {2}, id="deep in a version"),
        pytest.param("config.pbtxt", {1, 2}, id="the configuration"),
        pytest.param("labels.txt", {1, 2}, id="a file beside it"),
    ],
)
def test_a_change_concerns_the_versions_that_it_is_part_of(
    model: Path, file: str, versions: set[int], change: Callable[[Path], object]
) -> None:
    before = fingerprint(model)

    change(model / file)

    assert changed(before, fingerprint(model)) == versions


def test_a_file_in_another_directory_belongs_to_all_versions(model: Path) -> None:
    before = fingerprint(model)
    (model / "configs").mkdir()

    (model / "configs" / "small.pbtxt").write_text("")

    assert changed(before, fingerprint(model)) == {1, 2}


@pytest.mark.parametrize(
    "name",
    [
        ".model.onnx.swp",
        ".config.pbtxt.swx",
        "4913",
        "config.pbtxt~",
        "#config.pbtxt#",
        "__pycache__/model.cpython-311.pyc",
        ".git/HEAD",
        "lost+found/1",
        "1/__pycache__/model.pyc",
        "1/.model.onnx.swo",
        "2/deep/.cache/x",
    ],
)
def test_what_tools_leave_behind_is_no_change(model: Path, name: str) -> None:
    before = fingerprint(model)

    path = model / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")

    assert fingerprint(model) == before


def test_an_empty_directory_is_no_change(model: Path) -> None:
    before = fingerprint(model)

    (model / "1" / "assets").mkdir()

    assert fingerprint(model) == before


def test_a_link_that_is_flipped_is_a_change_however_old_its_target(model: Path) -> None:
    for release in ("old", "new"):
        (model.parent / release).mkdir()
        (model.parent / release / "model.onnx").write_text("same")
        older(model.parent / release / "model.onnx")
    (model / "3").symlink_to(model.parent / "new")
    before = fingerprint(model)

    (model / "3").unlink()
    (model / "3").symlink_to(model.parent / "old")

    assert changed(before, fingerprint(model)) == {3}


def test_a_change_behind_a_link_is_seen(model: Path) -> None:
    blob = model.parent / "blob"
    blob.write_text("one")
    (model / "1" / "weights").symlink_to(blob)
    before = fingerprint(model)

    blob.write_text("another")

    assert changed(before, fingerprint(model)) == {1}


def test_a_link_that_leads_nowhere_is_a_file_like_any_other(model: Path) -> None:
    before = fingerprint(model)

    (model / "1" / "missing").symlink_to(model / "nowhere")

    assert changed(before, fingerprint(model)) == {1}


def test_links_in_a_circle_come_to_an_end(model: Path) -> None:
    (model / "1" / "up").symlink_to(model / "1")
    (model / "1" / "self").symlink_to(model / "1" / "self")

    assert fingerprint(model).versions.keys() == {1, 2}


def test_a_pipe_is_looked_at_and_not_opened(model: Path) -> None:
    before = fingerprint(model)

    os.mkfifo(model / "1" / "pipe")

    assert changed(before, fingerprint(model)) == {1}


def test_a_file_that_is_named_like_a_version_belongs_to_all(model: Path) -> None:
    before = fingerprint(model)

    (model / "3").write_text("not a directory")

    assert changed(before, fingerprint(model)) == {1, 2}


def test_a_version_without_a_directory_is_what_is_common(model: Path) -> None:
    prints = fingerprint(model)

    assert prints.of(7) == prints.common


def test_names_that_are_no_text_are_kept_apart(model: Path) -> None:
    path = os.fsencode(model / "1") + b"/\xff"
    before = fingerprint(model)

    with open(path, "w"):  # noqa: PTH123 - pathlib has no bytes
        pass

    assert changed(before, fingerprint(model)) == {1}


def test_a_directory_that_cannot_be_looked_at_is_an_error(model: Path) -> None:
    (model / "1" / "/".join("d" * 70)).mkdir(parents=True)

    with pytest.raises(OSError, match="more than 64 directories in each other"):
        fingerprint(model)


def test_the_manifest_is_no_change(model: Path) -> None:
    before = fingerprint(model)

    (model / "manifest.json").write_text("{}")

    assert fingerprint(model) == before


def test_a_directory_that_has_gone_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "gone")


@pytest.mark.parametrize(
    ("path", "same"),
    [
        pytest.param("config.pbtxt", True, id="the configuration"),
        pytest.param("configs/small.pbtxt", True, id="one of several"),
        pytest.param("labels.txt", False, id="another file of all versions"),
        pytest.param("1/model.onnx", False, id="its own file"),
        pytest.param("1/config.pbtxt", False, id="of that name, but its own"),
    ],
)
def test_the_body_of_a_version_is_all_but_the_configuration(
    model: Path, path: str, *, same: bool
) -> None:
    before = fingerprint(model)
    (model / path).parent.mkdir(exist_ok=True)
    (model / path).write_text("something else")

    after = fingerprint(model)

    assert (before.body_of(1) == after.body_of(1)) is same
    assert before.of(1) != after.of(1)


def test_a_version_that_is_not_there_has_no_body(model: Path) -> None:
    assert fingerprint(model).body_of(7) == ""
