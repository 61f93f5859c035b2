"""Where a model's files are, and that no path and no link leads out of it."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock_agents.location import (
    DirectoryLocation,
    DiskFile,
    FilesLocation,
    PathError,
    below,
    checked,
)
from interlock_agents.memory import MemoryFile

OUT = "leads out of the model directory"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with a neighbour that is none of its business."""
    directory = tmp_path / "m"
    (directory / "1" / "deep").mkdir(parents=True)
    (directory / "config.pbtxt").write_bytes(b"name: 'm'")
    (directory / "1" / "model.onnx").write_bytes(b"weights")
    (directory / "1" / "deep" / ".hidden").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    return directory


@pytest.fixture
def memory() -> Iterator[MemoryFile]:
    file = MemoryFile.of(b"clear")
    yield file
    file.close()


def test_lists_every_file_hidden_ones_too_in_order(model: Path) -> None:
    files = DirectoryLocation(model).files()

    assert list(files) == ["1/deep/.hidden", "1/model.onnx", "config.pbtxt"]
    assert files["1/model.onnx"].read() == b"weights"
    assert files["1/model.onnx"].size == 7
    assert files["1/model.onnx"].path == model / "1" / "model.onnx"


def test_a_link_inside_the_model_is_followed(model: Path) -> None:
    (model / "2").symlink_to("1")
    (model / "3").mkdir()
    (model / "3" / "model.onnx").symlink_to(model / "1" / "model.onnx")

    files = DirectoryLocation(model).files()

    assert files["2/model.onnx"].read() == b"weights"
    assert files["3/model.onnx"].read() == b"weights"


def test_a_directory_that_is_a_link_is_a_model_as_well(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("m")

    assert DirectoryLocation(tmp_path / "link").file("config.pbtxt").read() == b"name: 'm'"


def test_links_in_a_circle_end(model: Path) -> None:
    (model / "1" / "up").symlink_to("..")
    (model / "1" / "self").symlink_to("self")

    files = DirectoryLocation(model).files()

    assert [path for path in files if path.count("up") > 1] == []
    with pytest.raises((OSError, PathError)):
        files["1/self"].read()


@pytest.mark.parametrize("target", ["../secret", "../../m/../secret", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(model: Path, target: str) -> None:
    link = model / "leak"
    link.symlink_to(target)

    with pytest.raises(PathError, match=f"^'leak' {OUT}$"):
        DirectoryLocation(model).file("leak")
    with pytest.raises(PathError, match=OUT):
        DirectoryLocation(model).files()


def test_a_directory_that_leads_out_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "1" / "all").symlink_to(tmp_path)

    with pytest.raises(PathError, match=OUT):
        DirectoryLocation(model).file("1/all/secret")
    with pytest.raises(PathError, match=OUT):
        DirectoryLocation(model).files()


def test_a_file_that_has_become_a_link_since_is_refused(model: Path) -> None:
    file = DirectoryLocation(model).file("1/model.onnx")
    file.path.unlink()
    file.path.symlink_to("../../secret")

    with pytest.raises(PathError, match=f"'1/model.onnx' {OUT}"):
        file.open()


def test_a_directory_whose_name_begins_alike_is_another(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m2").mkdir()
    (tmp_path / "m2" / "x").write_bytes(b"")
    (model / "x").symlink_to("../m2/x")

    with pytest.raises(PathError):
        DirectoryLocation(model).file("x")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../secret", "leads out"),
        ("1/../../secret", "leads out"),
        ("..", "leads out"),
        ("/etc/passwd", "is an absolute path"),
        ("", "is no path"),
        ("1/model.onnx\0", "is no path"),
    ],
)
def test_a_path_that_leads_out_is_refused(
    model: Path, memory: MemoryFile, path: str, says: str
) -> None:
    for location in (DirectoryLocation(model), FilesLocation({"a": memory})):
        with pytest.raises(PathError, match=says):
            location.file(path)
    with pytest.raises(PathError, match=says):
        FilesLocation({path: memory})


def test_paths_are_taken_in_their_simplest_form(model: Path, memory: MemoryFile) -> None:
    assert checked("./1//deep/../model.onnx") == "1/model.onnx"
    assert DirectoryLocation(model).file("1/./model.onnx").read() == b"weights"
    assert FilesLocation({"./1//x": memory}).file("1/x").read() == b"clear"


def test_says_that_there_is_no_such_file(model: Path, memory: MemoryFile) -> None:
    for location in (DirectoryLocation(model), FilesLocation({"a": memory})):
        with pytest.raises(FileNotFoundError):
            location.file("nothing")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.fspath(path))


@pytest.mark.parametrize("make", [make_pipe, make_socket, Path.mkdir])
def test_opens_nothing_but_files_and_never_waits(model: Path, make: Callable[[Path], None]) -> None:
    make(model / "x")
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(OSError):  # noqa: PT011 - each has its own text
        DirectoryLocation(model).file("x").open()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_link_that_leads_nowhere_costs_itself_only(model: Path) -> None:
    (model / "1" / "gone").symlink_to("nothing")

    files = DirectoryLocation(model).files()

    assert files["config.pbtxt"].read() == b"name: 'm'"
    with pytest.raises(FileNotFoundError):
        files["1/gone"].open()


def test_gives_up_on_directories_without_end(model: Path) -> None:
    deep = model
    for _ in range(70):
        deep /= "d"
    deep.mkdir(parents=True)

    with pytest.raises(OSError, match="too many directories in each other"):
        DirectoryLocation(model).files()


def test_one_file_can_take_the_place_of_another(model: Path, memory: MemoryFile) -> None:
    found = DirectoryLocation(model)

    changed = FilesLocation({**found.files(), "1/model.onnx": memory})

    assert changed.file("1/model.onnx").read() == b"clear"
    assert isinstance(changed.file("config.pbtxt"), DiskFile)
    assert changed.memory_files() == (memory,)
    assert list(changed.files()) == list(found.files())


def test_two_files_cannot_have_one_path(memory: MemoryFile) -> None:
    with pytest.raises(PathError, match="not each a file of its own"):
        FilesLocation({"a": memory, "./a": memory})
    with pytest.raises(PathError, match="not each a file of its own"):
        FilesLocation({".": memory})


def test_knows_what_lies_below_a_directory(model: Path) -> None:
    files = DirectoryLocation(model).files()

    assert list(below(files, "1/")) == ["deep/.hidden", "model.onnx"]
    assert list(below(files, ".")) == list(files)
    assert list(below(files, "config")) == []
    with pytest.raises(PathError):
        below(files, "..")
