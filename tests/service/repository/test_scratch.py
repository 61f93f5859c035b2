"""The scratch root is owned: what is in it, who may look, and what becomes of it."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interlock.domain.errors import InternalError, InvalidRequestError
from interlock.repository.scratch import Scratch
from tests.support.wire import eventually

NOBODY = 65534


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    scratch = Scratch(tmp_path)
    yield scratch
    scratch.close()


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_files_become_a_model_directory(scratch: Scratch) -> None:
    directory = scratch.build({"1/model.onnx": b"one", "./labels.txt": b"two", "2/a/../b": b""})

    assert tree(directory) == {"1/model.onnx": b"one", "labels.txt": b"two", "2/b": b""}


def test_nobody_else_may_look_inside(scratch: Scratch, tmp_path: Path) -> None:
    scratch.build({"1/x": b""})

    (root,) = tmp_path.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("path", "normalized"),
    [
        ("..", ".."),
        ("../x", "../x"),
        ("1/../../x", "../x"),
        ("/etc/passwd", "/etc/passwd"),
        ("//x", "//x"),
        ("", "."),
        ("1/..", "."),
        ("1/a\0b", "1/a\0b"),
    ],
)
def test_a_path_that_leads_out_is_refused(
    scratch: Scratch, tmp_path: Path, path: str, normalized: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        scratch.build({"1/fine": b"", path: b""})

    assert str(caught.value) == (
        f"Invalid file parameter '{path}' with normalized path '{normalized}' must stay within "
        "model directory."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"1/" + "x" * 300: b""}, f"'1/{'x' * 300}': File name too long"),
        ({"x" * 300 + "/1": b""}, f"'{'x' * 300}/1': File name too long"),
        ({"1": b"", "1/x": b""}, "'1/x': "),
        ({"1/x": b"", "1": b""}, "'1': "),
        ({"1/x": b"", "1/./x": b""}, "'1/./x': File exists"),
    ],
)
def test_paths_that_cannot_be_are_refused_and_nothing_is_left(
    scratch: Scratch, files: dict[str, bytes], text: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        scratch.build(files)

    assert str(caught.value).startswith(f"failed to write override file {text}")
    assert tree(scratch.open()).keys() == {".lock"}


def test_a_parent_that_is_not_there_is_an_internal_error(tmp_path: Path) -> None:
    with pytest.raises(InternalError) as caught:
        Scratch(tmp_path / "gone").build({"1/x": b""})

    assert str(caught.value) == "failed to make a scratch directory: No such file or directory"


def test_a_full_disk_is_an_internal_error(scratch: Scratch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(InternalError) as caught:
            scratch.build({"1/x": b"more than ten bytes"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    reason = os.strerror(errno.EFBIG)
    assert str(caught.value) == f"failed to write override file '1/x': {reason}"


def test_what_is_released_goes_away_and_nothing_else(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "model"
    outside.mkdir()
    kept, released = scratch.build({"1/x": b""}), scratch.build({"1/x": b""})

    scratch.release(outside)
    scratch.release(released)

    eventually(lambda: not released.exists())
    assert kept.exists()
    assert outside.exists()


def test_close_leaves_nothing(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    scratch.build({"1/x": b""})

    scratch.close()
    scratch.close()

    assert list(tmp_path.iterdir()) == []


DYING = """
import os, pathlib, sys
from interlock.repository.scratch import Scratch
print(Scratch(pathlib.Path(sys.argv[1])).build({"1/x": b"secret"}), flush=True)
os._exit(1)
"""


def test_a_sweep_removes_what_a_dead_process_left(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    died = subprocess.run(command, check=False, capture_output=True, text=True)
    left = Path(died.stdout.strip())
    assert tree(left) == {"1/x": b"secret"}

    Scratch(tmp_path).sweep()

    assert list(tmp_path.iterdir()) == []


def test_a_sweep_leaves_what_lives(scratch: Scratch, tmp_path: Path) -> None:
    directory = scratch.build({"1/x": b""})

    Scratch(tmp_path).sweep()

    assert tree(directory) == {"1/x": b""}


def test_a_sweep_finishes_what_another_began(tmp_path: Path) -> None:
    (tmp_path / "interlock-scratch-half" / "model-1").mkdir(parents=True)

    Scratch(tmp_path).sweep()

    assert list(tmp_path.iterdir()) == []


def test_a_sweep_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    (tmp_path / "interlock-scratch-link").symlink_to(precious)
    folder = tmp_path / "interlock-scratch-dead"
    folder.mkdir()
    (folder / "inner").symlink_to(precious)

    Scratch(tmp_path).sweep()

    assert (precious / "file").exists()
    assert not folder.exists()


def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("")
    folder = tmp_path / "interlock-scratch-odd"
    folder.mkdir()
    (folder / ".lock").symlink_to(other)

    Scratch(tmp_path).sweep()

    assert folder.exists()


def test_a_sweep_of_a_place_that_is_not_there_is_fine(tmp_path: Path) -> None:
    Scratch(tmp_path / "gone").sweep()

    assert not (tmp_path / "gone").exists()


def test_an_empty_directory_is_ones_own_until_it_is_removed(scratch: Scratch) -> None:
    one, other = scratch.folder("agent-"), scratch.folder("agent-")

    assert one != other
    assert stat.S_IMODE(one.stat().st_mode) == 0o700
    (one / "deep").mkdir()
    (one / "deep" / "x").write_bytes(b"x")
    scratch.remove(one)
    scratch.remove(one)
    assert not one.exists()
    assert other.exists()


def test_what_is_not_in_the_scratch_root_is_not_removed(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    scratch.remove(outside)
    scratch.folder("agent-")
    scratch.remove(outside)

    assert outside.exists()


@contextmanager
def as_nobody(*places: Path) -> Iterator[None]:
    """Have no more rights than the owner of these directories; root has too many."""
    if os.geteuid():
        yield
        return
    for place in places:
        os.chown(place, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_nobody_may_write_to_is_removed() -> None:
    with TemporaryDirectory() as parent, as_nobody(Path(parent)):
        scratch = Scratch(Path(parent))
        folder = scratch.folder("agent-")
        inner = folder / "1" / "2"
        inner.mkdir(parents=True)
        (inner / "weights").write_bytes(b"w")
        (inner / "link").symlink_to("/")
        for place in (inner, inner.parent, folder):
            place.chmod(0o500)

        scratch.remove(folder)

        assert not folder.exists()
        scratch.close()
        assert list(Path(parent).iterdir()) == []


def test_what_is_very_deep_is_removed_and_nothing_beside_it(scratch: Scratch) -> None:
    folder, beside = scratch.folder("agent-"), scratch.folder("agent-")
    place = os.open(folder, os.O_RDONLY)
    for _ in range(1100):  # longer than any path, and deeper than any recursion
        os.mkdir("deep", dir_fd=place)
        inner = os.open("deep", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.symlink(beside, "link", dir_fd=place)
    os.close(place)

    scratch.remove(folder)

    assert not folder.exists()
    assert beside.is_dir()
