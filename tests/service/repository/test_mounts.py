"""What is told of the file system that a path lies on."""

from pathlib import Path

import pytest

from interlock.repository.mounts import FileSystem, Mounts

INFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /models rw,relatime shared:1 master:2 - nfs4 host:/export rw,vers=4.2
41 40 254:0 /inner /models/local ro,noatime - xfs /dev/vda rw
42 27 0:51 / /with\\040blank rw - fuse.sshfs host: rw
43 27 0:52 / /twice rw - ext4 /dev/vdb rw
44 27 0:53 / /twice rw - cifs //host/share rw
this line makes no sense
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", FileSystem("ext4"), id="the root"),
        pytest.param("/srv/x", FileSystem("ext4"), id="below the root"),
        pytest.param("/models/m/1", FileSystem("nfs4"), id="below a mount"),
        pytest.param("/models/local/m", FileSystem("xfs"), id="inner mount"),
        pytest.param("/modelsx", FileSystem("ext4"), id="beside a mount"),
        pytest.param("/with blank/m", FileSystem("fuse.sshfs"), id="a name with a blank"),
        pytest.param("/twice", FileSystem("cifs"), id="one over the other"),
    ],
)
def test_the_nearest_mount_above_counts(path: str, expected: FileSystem) -> None:
    assert Mounts(INFO).of(Path(path)) == expected


@pytest.mark.parametrize(
    ("kind", "is_local"),
    [
        ("ext4", True),
        ("overlay", True),
        ("tmpfs", True),
        ("nfs4", False),
        ("virtiofs", False),
        ("fuse.gcsfuse", False),
        ("", False),
    ],
)
def test_what_is_not_known_to_be_local_is_not(kind: str, *, is_local: bool) -> None:
    assert FileSystem(kind).is_local is is_local


def test_a_link_lies_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")

    assert Mounts.now().of(tmp_path / "link").kind == "proc"


def test_a_system_that_does_not_tell_has_nothing_mounted(tmp_path: Path) -> None:
    assert Mounts.now(tmp_path / "absent").of(tmp_path) == FileSystem()
