"""Only files are read; nothing here may hang."""

import os
import socket
import stat
from pathlib import Path

import pytest

from interlock.repository.plain_file import open_file, opened, read_file


def test_reads_a_file_and_one_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")

    assert read_file(tmp_path / "file") == b"content"
    with open_file(tmp_path / "link") as file:
        assert file.read(3) == b"con"


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="it is a pipe, socket or device, not a file") as caught:
        read_file(tmp_path / "pipe")
    assert caught.value.filename == str(tmp_path / "pipe")


def test_a_socket_is_not_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))

        with pytest.raises(OSError, match="it is a pipe, socket or device"):
            read_file(tmp_path / "socket")


def test_a_device_is_not_opened() -> None:
    with pytest.raises(OSError, match="it is a pipe, socket or device"):
        read_file(Path("/dev/zero"))


def test_a_directory_and_what_is_not_there_are_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "absent")


def test_whatever_is_there_can_be_opened_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with opened(tmp_path / "pipe") as descriptor:
        assert stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
