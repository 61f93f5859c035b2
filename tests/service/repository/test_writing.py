"""Who is known to write to a file."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from interlock.repository.mounts import Mounts
from interlock.repository.staging import Writing
from interlock.repository.writing import Writers

LOCAL = Mounts("1 0 0:1 / / rw - ext4 /dev/vda rw")
REMOTE = Mounts("1 0 0:1 / / rw - nfs4 host:/ rw")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_text("weights")
    if Writers(LOCAL)([path]) is not Writing.NO:
        pytest.skip("the kernel grants no lease here")
    return path


def test_nobody_writes_to_a_file_that_lies_there(file: Path) -> None:
    assert Writers(LOCAL)([file, file]) is Writing.NO


@pytest.mark.parametrize("mode", ["r+b", "ab"])
def test_whoever_has_it_open_for_writing_writes(file: Path, mode: str) -> None:
    writers = Writers(LOCAL)

    with file.open(mode):
        assert writers([file]) is Writing.YES
    assert writers([file]) is Writing.NO


def test_another_process_is_seen_as_well(file: Path) -> None:
    program = f"f = open({str(file)!r}, 'ab'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        answer = Writers(LOCAL)([file])
        process.communicate(b"\n")

    assert answer is Writing.YES


def test_readers_do_not_write(file: Path) -> None:
    with file.open("rb"):
        assert Writers(LOCAL)([file]) is Writing.NO


def test_one_writer_is_enough(file: Path, tmp_path: Path) -> None:
    with file.open("ab"):
        assert Writers(LOCAL)([tmp_path / "absent", file]) is Writing.YES


def test_a_file_that_cannot_be_asked_for_leaves_it_open(file: Path) -> None:
    pipe, sock = file.with_name("pipe"), file.with_name("sock")
    os.mkfifo(pipe)
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        Path(short, "s").rename(sock)

    assert Writers(LOCAL)([file, file.with_name("absent")]) is Writing.UNKNOWN
    assert Writers(LOCAL)([pipe, file]) is Writing.UNKNOWN
    assert Writers(LOCAL)([file, sock]) is Writing.UNKNOWN


def test_on_a_network_file_system_nobody_knows(file: Path) -> None:
    with file.open("ab"):
        assert Writers(REMOTE)([file]) is Writing.UNKNOWN


def test_no_lease_is_left(file: Path) -> None:
    Writers(LOCAL)([file])

    # Would fail with EAGAIN while somebody holds a lease.
    os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))


def test_what_is_mounted_is_asked_of_the_system(file: Path) -> None:
    assert Writers.now()([file]) in {Writing.NO, Writing.UNKNOWN}
