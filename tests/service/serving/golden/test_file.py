"""Finding, reading and writing golden files."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from interlock.serving.golden.file import golden_files, read_golden, write_golden
from interlock.serving.golden.request import Declared, GoldenFileError, GoldenRequest
from tests.support.proving import golden, write_npz

DECLARED = Declared(inputs={"x": "FP32"}, outputs={"y": "FP32", "w": "BF16"})


def read(path: Path, directory: Path) -> GoldenRequest:
    return read_golden(path, DECLARED, model_directory=directory)


def test_the_files_of_all_versions_come_before_the_version_s_own(tmp_path: Path) -> None:
    for name in ("golden/b.npz", "golden/a.json", "2/golden/a.npz", "3/golden/x.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert list(golden_files(tmp_path, 2)) == [
        tmp_path / "golden" / "a.json",
        tmp_path / "golden" / "b.npz",
        tmp_path / "2" / "golden" / "a.npz",
    ]


def test_most_models_have_none(tmp_path: Path) -> None:
    assert list(golden_files(tmp_path, 1)) == []


def test_drafts_are_passed_over_and_what_is_no_request_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    for name in (".a.npz.77", ".hidden.json", "README.md"):
        (folder / name).touch()

    with capture_logs() as lines:
        assert list(golden_files(tmp_path, 1)) == []

    assert lines == [
        {
            "event": "not a golden request",
            "log_level": "warning",
            "file": str(folder / "README.md"),
        }
    ]


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "golden"
    if kind == "file":
        folder.touch()
    else:
        folder.symlink_to("nowhere")

    with pytest.raises(GoldenFileError, match=f"golden requests in {folder} cannot be listed: "):
        golden_files(tmp_path, 1)


def test_a_request_is_named_by_its_place(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "2" / "golden" / "g.npz", expect__y=[1.0])

    assert read(path, tmp_path).name == "2/golden/g.npz"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.npz", b""),
        ("g.npz", b"PK\x03\x04"),
        ("g.npz", b"\x93NUMPY"),
        ("g.npz", random.Random(1).randbytes(1000)),
        ("g.json", b"\xff\xfe\x00"),
        ("g.json", b""),
    ],
)
def test_what_cannot_be_read_is_named_and_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / "golden" / name
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(
        GoldenFileError, match=rf"golden file 'golden/{name}' cannot be (read|used)"
    ):
        read(path, tmp_path)


def test_wherever_an_archive_is_damaged_it_is_refused_or_still_read(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "golden" / "g.npz", expect__y=np.arange(9.0), tolerance=1)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read(path, tmp_path)
        except GoldenFileError:
            refused += 1

    assert refused > 10


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "golden" / "g.npz"
    path.parent.mkdir()
    np.savez(path, **{"expect:y": np.array([{}], dtype=object)})  # type: ignore[arg-type]

    with pytest.raises(GoldenFileError, match="allow_pickle=False"):
        read(path, tmp_path)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(os.mkfifo, "cannot be used: it is not a regular file", id="pipe"),
        pytest.param(os.mkdir, "cannot be used: it is not a regular file", id="folder"),
        pytest.param(
            lambda path: path.symlink_to("/etc/hostname"),
            "cannot be used: it lies outside the model's directory",
            id="link that leads out",
        ),
        pytest.param(
            lambda path: path.symlink_to("gone"),
            "cannot be read: No such file or directory",
            id="dangling link",
        ),
        pytest.param(
            lambda path: path.symlink_to(path.name),
            "cannot be used: it lies outside the model's directory",
            id="circle of links",
        ),
    ],
)
def test_what_is_no_file_of_the_model_is_refused(tmp_path: Path, make: object, text: str) -> None:
    path = tmp_path / "golden" / "g.json"
    path.parent.mkdir()
    assert callable(make)
    make(path)

    with pytest.raises(GoldenFileError) as caught:
        read(path, tmp_path)

    assert str(caught.value) == f"golden file 'golden/g.json' {text}"


def test_a_link_inside_the_model_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts them: each name is a link into a hidden folder."""
    write_npz(tmp_path / "golden" / "..data" / "g.npz", expect__y=[1.0])
    (tmp_path / "golden" / "g.npz").symlink_to("..data/g.npz")

    (path,) = golden_files(tmp_path, 1)

    assert read(path, tmp_path).expected == (golden("y", [1.0], "FP64", "<f8"),)


REQUEST = GoldenRequest(
    "g", (golden("x", [[1.0, np.nan]]),), (golden("w", [0x3F80], "BF16", "<u2"),), absolute=0.5
)
WITH_TEXTS = GoldenRequest("g", (golden("x", [b"a\0"], "BYTES"),), (golden("y", [1.0]),))


@pytest.mark.parametrize(
    ("request_", "name"),
    [pytest.param(REQUEST, "g.npz", id="npz"), pytest.param(WITH_TEXTS, "g.json", id="json")],
)
def test_what_is_written_is_read_again(tmp_path: Path, request_: GoldenRequest, name: str) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()

    path = write_golden(request_, folder)

    assert path == folder / name
    again = read(path, tmp_path)
    assert (again.inputs, again.expected) == (request_.inputs, request_.expected)
    assert (again.absolute, again.relative) == (request_.absolute, request_.relative)
    assert [entry.name for entry in folder.iterdir()] == [name]


@pytest.mark.parametrize("taken", ["g.npz", "g.json"])
def test_a_name_that_is_taken_is_left_alone(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")

    assert write_golden(REQUEST, tmp_path) is None

    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = GoldenRequest("g", (), (golden("y", [1.0], "FP64", "<f8"),))
    broken = GoldenRequest("g", broken.expected, (), latency_budget_ms=None)
    object.__setattr__(broken.inputs[0], "data", b"short")

    with pytest.raises(ValueError, match="buffer size"):
        write_golden(broken, tmp_path)

    assert list(tmp_path.iterdir()) == []
