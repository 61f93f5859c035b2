"""Digests: of files in pieces, of directories as other tools make them."""

import hashlib
import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from interlock_agents.digesting import ALGORITHMS, PIECE_BYTES, Digester
from interlock_agents.location import DirectoryLocation
from interlock_agents.memory import MemoryFile

CONTENT = bytes(range(256)) * 9000


class StoppedError(Exception):
    """Nobody wants it any more."""


def nothing() -> None:
    return


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", hashlib.md5(CONTENT).hexdigest()),
        ("SHA1", hashlib.sha1(CONTENT).hexdigest()),
        ("SHA256", hashlib.sha256(CONTENT).hexdigest()),
        ("SHA512", hashlib.sha512(CONTENT).hexdigest()),
        ("BLAKE2B", hashlib.blake2b(CONTENT).hexdigest()),
    ],
)
def test_the_digest_of_a_file_is_that_of_its_content(
    tmp_path: Path, algorithm: str, expected: str
) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    memory = MemoryFile.of(CONTENT)
    digester = Digester(nothing)

    assert digester.of_file(algorithm, DirectoryLocation(tmp_path).file("x")) == expected
    assert digester.of_file(algorithm, memory) == expected
    assert digester.files == 2
    memory.close()


def test_every_algorithm_is_tested() -> None:
    assert set(ALGORITHMS) == {"MD5", "SHA1", "SHA256", "SHA512", "BLAKE2B"}


def test_a_large_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(64 * PIECE_BYTES)
    tracemalloc.start()

    Digester(nothing).of_file("BLAKE2B", DirectoryLocation(tmp_path).file("x"))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * PIECE_BYTES


def test_stops_between_two_pieces(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(5 * PIECE_BYTES)
    left = iter(range(3))

    def check() -> None:
        if next(left, None) is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        Digester(check).of_file("MD5", DirectoryLocation(tmp_path).file("x"))


def tree(root: Path) -> Path:
    """Files whose order depends on what is compared, and names that need care."""
    names = [
        "b",
        "a/b",
        "a.b",
        "a-b",
        "Z",
        ".hidden/x",
        "ä",
        "with space",
        "two\nlines",
        "re\rturn",
        "back\\",
    ]
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * number)
    (root / os.fsdecode(b"no text \xff")).write_bytes(b"x")
    (root / "link").symlink_to("a")
    return root


@pytest.mark.parametrize(
    ("algorithm", "tool"), [("MD5", "md5sum"), ("SHA256", "sha256sum"), ("BLAKE2B", "b2sum")]
)
def test_a_directory_has_the_digest_that_other_tools_make(
    tmp_path: Path, algorithm: str, tool: str
) -> None:
    files = DirectoryLocation(tree(tmp_path)).files()

    ours = Digester(nothing).of_files(algorithm, files)

    made = f"find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 {tool} | {tool}"
    theirs = subprocess.run(
        ["sh", "-c", made], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert ours == theirs.stdout.split()[0]


def test_a_directory_with_a_file_of_another_name_has_another_digest(tmp_path: Path) -> None:
    memory = MemoryFile.of(b"x")
    digester = Digester(nothing)

    digests = {
        digester.of_files("SHA256", dict.fromkeys(names, memory))
        for names in (["a"], ["b"], ["a", "b"], ["a\nb"], ["a\\nb"], [])
    }

    assert len(digests) == 6
    memory.close()
