"""What is listed of a model, and what is not; what counts as a change is test_fingerprint's."""

import errno
import os
import socket
import tempfile
from pathlib import Path

import pytest

from interlock.repository import listing
from interlock.repository.listing import BROKEN, DIRECTORY, FILE, OTHER, Entry, list_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").write_text("weights")
    (directory / "config.pbtxt").write_text("")
    return directory


def entry(model: Path, path: str) -> Entry:
    return next(one for one in list_model(model).entries if one.path == path)


def test_lists_files_and_directories_by_path(model: Path) -> None:
    entries, problems = list_model(model)

    assert [(one.path, one.kind, one.size) for one in entries if one.kind == FILE] == [
        ("1/model.onnx", FILE, 7),
        ("config.pbtxt", FILE, 0),
    ]
    assert [one.path for one in entries if one.kind == DIRECTORY] == ["1"]
    assert problems == ()


def test_the_numbers_are_those_of_the_file_system(model: Path) -> None:
    status = (model / "1" / "model.onnx").stat()

    assert entry(model, "1/model.onnx")[2:] == (
        status.st_size,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ctime_ns,
    )


def test_a_link_has_moved_when_it_was_made_however_old_its_target(
    model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "blob"
    target.write_text("1")
    link = model / "1" / "blob"
    while not link.is_symlink() or link.lstat().st_ctime_ns == target.stat().st_ctime_ns:
        link.unlink(missing_ok=True)
        link.symlink_to(target)

    found = entry(model, "1/blob")

    assert found.ctime_ns == target.stat().st_ctime_ns
    assert found.moved_ns == link.lstat().st_ctime_ns > found.ctime_ns


def test_what_leads_nowhere_is_listed_as_such(model: Path) -> None:
    (model / "1" / "nowhere").symlink_to("absent")
    (model / "1" / "circle").symlink_to("circle")

    assert entry(model, "1/nowhere").kind == BROKEN
    assert entry(model, "1/circle").kind == BROKEN


def test_pipes_and_sockets_are_listed_and_not_opened(model: Path) -> None:
    os.mkfifo(model / "pipe")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        Path(short, "s").rename(model / "socket")

    assert entry(model, "pipe").kind == OTHER
    assert entry(model, "socket").kind == OTHER


def test_a_directory_that_lies_in_itself_by_a_link_is_gone_through_once(model: Path) -> None:
    (model / "1" / "up").symlink_to(model / "1")

    assert [one.path for one in list_model(model).entries] == ["1", "1/model.onnx", "config.pbtxt"]


def test_a_directory_that_cannot_be_listed_costs_itself_only(model: Path) -> None:
    path = model / "1"
    for _ in range(20):  # more than the longest path that the system takes
        path /= "d" * 250
    make_deep(path)

    entries, problems = list_model(model)

    assert {one.path for one in entries if one.kind == FILE} == {"1/model.onnx", "config.pbtxt"}
    assert [problem.number for problem in problems] == [errno.ENAMETOOLONG]
    assert problems[0].path.startswith("1/ddd")


def make_deep(path: Path) -> None:
    """Make directories whose path is too long to be named at once."""
    where = os.open("/", os.O_RDONLY)
    for part in path.parts[1:]:
        if not os.access(part, os.F_OK, dir_fd=where):
            os.mkdir(part, dir_fd=where)
        inner = os.open(part, os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = inner
    os.close(where)


def test_a_problem_is_an_error_with_its_place() -> None:
    error = listing.Problem("1/x", errno.EACCES, "Permission denied").as_error(Path("/r/m"))

    assert isinstance(error, PermissionError)
    assert error.filename == "/r/m/1/x"


def test_what_vanishes_meanwhile_costs_itself_only(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (model / "1" / name).touch()

    def leave_alone(name: str) -> bool:
        """Called for each file; the others of its directory go away under our eyes."""
        for path in (model / "1").iterdir():
            if path.name != name != "config.pbtxt":
                path.unlink()
        return False

    monkeypatch.setattr(listing, "is_left_behind", leave_alone)

    entries, problems = list_model(model)

    assert len([one for one in entries if one.path.startswith("1/")]) == 1
    assert problems == ()


def test_does_not_go_down_without_end(model: Path) -> None:
    (model / "/".join("d" * 70)).mkdir(parents=True)

    assert list_model(model).problems == (
        ("", errno.E2BIG, "more than 64 directories in each other"),
    )


def test_does_not_list_without_end(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 2)
    for number in range(5):
        (model / f"file{number}").touch()

    entries, problems = list_model(model)

    assert len(entries) <= 3  # the directory that was being gone through is one more
    assert problems == (("", errno.E2BIG, "more than 2 files"),)


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_model(tmp_path / "absent")
