"""What a digest is of, and when there is none."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, strategies as st

from interlock.repository.digest import (
    NO_FILE,
    PIECE_BYTES,
    CancelledError,
    ChangedError,
    FileDigest,
    digest_file,
    digest_files,
    version_digest,
)
from interlock.repository.listing import Entry, list_model

DESCRIPTORS = Path("/proc/self/fd")


def sha256(content: bytes) -> FileDigest:
    return FileDigest(len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "content",
    [b"", b"x", bytes(PIECE_BYTES), b"ab" * PIECE_BYTES + b"c"],
    ids=["empty", "short", "one piece", "pieces and a rest"],
)
def test_a_file_is_digested_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)

    assert digest_file(tmp_path / "f") == sha256(content)


def entries(directory: Path) -> tuple[Entry, ...]:
    return tuple(entry for entry in list_model(directory).entries if entry.kind != "directory")


def test_files_are_digested_as_they_were_listed(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "config.pbtxt").write_bytes(b"")

    assert digest_files(tmp_path, entries(tmp_path)) == {
        "1/model.onnx": sha256(b"weights"),
        "config.pbtxt": sha256(b""),
    }


def test_what_is_no_file_is_there_without_content(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to("absent")
    os.mkfifo(tmp_path / "pipe")

    assert digest_files(tmp_path, entries(tmp_path)) == {"nowhere": NO_FILE, "pipe": NO_FILE}


def replace(path: Path) -> None:
    path.with_name("draft").write_bytes(path.read_bytes())
    path.with_name("draft").rename(path)


def turn_into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"longer than it was"), id="another size"),
        pytest.param(replace, id="a copy in its place"),
        pytest.param(lambda path: os.utime(path, ns=(1, 1)), id="another time"),
        pytest.param(turn_into_pipe, id="a pipe in its place"),
    ],
)
def test_a_file_that_is_not_the_listed_one_has_no_digest(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "f").write_bytes(b"as listed")
    listed = entries(tmp_path)
    change(tmp_path / "f")

    with pytest.raises(ChangedError, match=r"^f changes while it is read$") as raised:
        digest_files(tmp_path, listed)

    assert raised.value.path == "f"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x" * PIECE_BYTES * 4, id="longer"),
        pytest.param(b"x" * PIECE_BYTES * 3, id="as long"),
        pytest.param(b"", id="shorter"),
    ],
)
def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(PIECE_BYTES * 3))
    asked = 0

    def change_in_the_middle() -> bool:
        nonlocal asked
        asked += 1
        before = path.stat().st_ctime_ns
        while asked == 2 and path.stat().st_ctime_ns == before:  # the clock of files is coarse
            path.write_bytes(content)
        return False

    with pytest.raises(ChangedError):
        digest_file(path, is_cancelled=change_in_the_middle)


def test_stops_between_two_pieces_when_told_to(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(PIECE_BYTES * 3))
    answers = iter([False, True])

    with pytest.raises(CancelledError):
        digest_file(tmp_path / "f", is_cancelled=lambda: next(answers))

    assert list(answers) == []


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    before = sorted(DESCRIPTORS.iterdir())

    with pytest.raises(CancelledError):
        digest_file(tmp_path / "f", is_cancelled=lambda: True)

    assert sorted(DESCRIPTORS.iterdir()) == before


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_file(tmp_path / "absent")


FILES = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
    st.builds(
        FileDigest, st.integers(0, 99), st.text("0123456789abcdef", min_size=64, max_size=64)
    ),
    max_size=5,
)


@given(FILES, st.randoms())
def test_the_order_of_the_files_does_not_count(
    files: dict[str, FileDigest], random: Random
) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)

    assert version_digest(dict(shuffled)) == version_digest(files)


@given(FILES, FILES)
def test_other_files_have_another_digest(
    one: dict[str, FileDigest], other: dict[str, FileDigest]
) -> None:
    assert (version_digest(one) == version_digest(other)) == (one == other)


def test_a_name_that_is_no_text_has_a_digest() -> None:
    assert version_digest({"\udcff": NO_FILE}) != version_digest({"\udcfe": NO_FILE})
