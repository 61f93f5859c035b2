"""Label files: where they may lie, how they are read."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.domain.config import ModelConfig, TensorConfig
from interlock.domain.errors import InvalidRequestError, UnsupportedError
from interlock.serving.labels import read_labels


def config(label_filename: str) -> ModelConfig:
    return ModelConfig(
        "m",
        outputs=(
            TensorConfig("scores", "FP32", (3,), label_filename=label_filename),
            TensorConfig("plain", "FP32", (3,)),
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("cat\ndog\n", ("cat", "dog"), id="lines"),
        pytest.param("cat\ndog", ("cat", "dog"), id="no end of line at the end"),
        pytest.param("cat\r\ndog\r\n", ("cat", "dog"), id="line ends of another system"),
        pytest.param("cat\n\ndog\n", ("cat", "", "dog"), id="a class without a name"),
        pytest.param("a\u2028b\n", ("a\u2028b",), id="no line end"),
        pytest.param("höher\n", ("höher",), id="utf-8"),
        pytest.param("", (), id="empty"),
    ],
)
def test_a_label_is_a_line(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(text.encode())

    assert read_labels(config("labels.txt"), tmp_path) == {"scores": expected}


def test_a_label_file_may_lie_in_a_folder_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.txt").write_text("cat\n")

    assert read_labels(config("data/../data/labels.txt"), tmp_path) == {"scores": ("cat",)}


@pytest.mark.parametrize("name", ["../labels.txt", "data/../../labels.txt", "/etc/hostname"])
def test_a_label_path_cannot_leave_the_model(tmp_path: Path, name: str) -> None:
    model = tmp_path / "m"
    model.mkdir()
    (tmp_path / "labels.txt").write_text("secret\n")

    with pytest.raises(UnsupportedError) as caught:
        read_labels(config(name), model)

    assert str(caught.value) == f"label file path '{name}' is outside model directory"


def test_a_link_cannot_lead_out_of_the_model(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()
    (tmp_path / "secret.txt").write_text("secret\n")
    (model / "labels.txt").symlink_to(tmp_path / "secret.txt")

    with pytest.raises(UnsupportedError, match="is outside model directory"):
        read_labels(config("labels.txt"), model)


def test_a_model_directory_that_is_a_link_itself_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "labels.txt").write_text("cat\n")
    (tmp_path / "m").symlink_to(tmp_path / "real")

    assert read_labels(config("labels.txt"), tmp_path / "m") == {"scores": ("cat",)}


def test_a_missing_file_costs_the_labels_and_not_the_model(tmp_path: Path) -> None:
    with capture_logs() as logs:
        labels = read_labels(config("labels.txt"), tmp_path)

    assert labels == {}
    assert logs == [
        {
            "event": "no labels",
            "log_level": "warning",
            "model": "m",
            "output": "scores",
            "error": "No such file or directory",
        }
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"cat\n\xff\n")

    with pytest.raises(InvalidRequestError) as caught:
        read_labels(config("labels.txt"), tmp_path)

    assert str(caught.value) == (
        "label file path 'labels.txt' of model 'm' is not UTF-8 text: invalid start byte at byte 4"
    )


def test_labels_that_are_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.txt")
    with capture_logs() as lines:
        assert read_labels(config("labels.txt"), tmp_path) == {}

    assert lines[0]["error"] == "it is a pipe, socket or device, not a file"
