"""What a trace tells of written files, from lines as strace writes them, and of a real program."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.tracing import why_no_strace
from tools.file_writes import OPTIONS, leaks, read_trace, read_trace_file, stretches

SECRET = bytes(range(100, 164))
SECRETS = stretches({"model": SECRET})


def hexed(text: bytes | str) -> str:
    content = text.encode() if isinstance(text, str) else text
    return "".join(f"\\x{byte:02x}" for byte in content)


def descriptor(path: str, *, gone: bool = False) -> str:
    return f"3<{hexed(path)}>" + ("(deleted)" if gone else "")


def write(path: str, data: bytes, *, gone: bool = False, result: str = "") -> str:
    target = descriptor(path, gone=gone)
    return f'7  write({target}, "{hexed(data)}", {len(data)}) = {result or len(data)}'


def said(*lines: str) -> list[str]:
    return leaks(read_trace(lines), SECRETS)


MEMORY = descriptor("/memfd:model", gone=True)
FILE = descriptor("/srv/x")


def test_sixteen_bytes_of_a_secret_in_a_file_are_found() -> None:
    assert said(write("/srv/x", b"abc" + SECRET[5:21] + b"abc")) == [
        "'/srv/x' has got content of model"
    ]
    assert said(write("/srv/x", SECRET[5:20])) == []


def test_what_is_split_over_calls_is_found_as_well() -> None:
    assert said(write("/srv/x", SECRET[:9]), write("/srv/x", SECRET[9:18])) != []
    assert said(write("/srv/x", SECRET[:9]), write("/srv/y", SECRET[9:18])) == []


def test_what_is_gathered_is_found() -> None:
    parts = ", ".join(
        f'{{iov_base="{hexed(part)}", iov_len={len(part)}}}' for part in (SECRET[:9], SECRET[9:20])
    )
    assert said(f"7  pwritev2({FILE}, [{parts}], 2, 0, 0) = 20") != []


def test_a_call_that_others_interrupt_is_put_together() -> None:
    begun = f'7  write({FILE}, "{hexed(SECRET)}", 64 <unfinished ...>'
    other = write("/srv/y", b"-").replace("7  ", "8  ", 1)

    assert said(begun, other, "7  <... write resumed>)       = 64") != []
    assert said(begun, other, "7  <... write resumed>) = -1 ENOSPC (No space left)") == []
    # The process was killed in the middle.
    assert said(begun, other, "7  +++ killed by SIGKILL +++") != []


@pytest.mark.parametrize(
    ("path", "gone", "is_file"),
    [
        ("/srv/x", True, True),
        ("/dev/shm/x", False, True),
        ("/memfd:model", False, True),
        ("/memfd:model", True, False),
        ("/dev/null", False, False),
        ("pipe:[77]", False, False),
        ("socket:[77]", False, False),
        ("anon_inode:[eventfd]", False, False),
        ("/proc/7/oom_score_adj", False, False),
    ],
)
def test_a_file_is_what_has_a_place_in_a_file_system(path: str, gone: bool, is_file: bool) -> None:
    assert bool(said(write(path, SECRET, gone=gone))) is is_file


def test_what_is_copied_without_being_shown_is_a_leak_unless_it_was_in_a_file() -> None:
    says = ["'/srv/x' was written to by sendfile, and nobody saw what"]
    assert said(f"7  sendfile({FILE}, {MEMORY}, [0] => [5], 5) = 5") == says
    assert said(f"7  sendfile({FILE}, {descriptor('/srv/y')}, NULL, 5) = 5") == []
    assert said(f"7  sendfile({MEMORY}, {FILE}, NULL, 5) = 5") == []
    pipe = descriptor("pipe:[77]")
    assert said(f"7  splice({pipe}, NULL, {FILE}, NULL, 5, 0) = 5") != []
    assert said(f"7  splice({FILE}, NULL, {pipe}, NULL, 5, 0) = 5") == []
    assert said(f"7  copy_file_range({MEMORY}, NULL, {FILE}, NULL, 5, 0) = 5") != []


def test_a_file_that_is_mapped_to_be_written_is_a_leak() -> None:
    read = f"7  mmap(NULL, 100, PROT_READ, MAP_SHARED, {FILE}, 0) = 0x7f0b1f9ea000"
    writable = read.replace("PROT_READ", "PROT_READ|PROT_WRITE")
    opened = f'7  openat(AT_FDCWD<\\x2f>, "\\x78", O_RDWR|O_CLOEXEC) = {FILE}'

    assert said(read) == []
    assert said(writable) == ["'/srv/x' was written to by mmap, and nobody saw what"]
    assert said(writable.replace("MAP_SHARED", "MAP_PRIVATE")) == []
    # It could be made writable afterwards.
    assert said(opened, read) == said(writable)
    assert said(writable.replace(FILE, MEMORY)) == []


def test_a_string_that_is_cut_off_or_missing_is_a_leak() -> None:
    says = ["'/srv/x' was written to by write, and nobody saw what"]
    assert said(f'7  write({FILE}, "\\x61"..., 5) = 5') == says
    assert said(f"7  write({FILE}, 0x7f0b1f9ea000, 5) = 5") == says
    assert said("7  write(3, 0x7f0b1f9ea000, 5) = 5") == [
        "'descriptor 3' was written to by write, and nobody saw what"
    ]
    assert said(f'7  write({FILE}, "\\x61\\x62", 2) = 1') == []


def test_rings_of_requests_show_nothing_and_are_a_leak() -> None:
    assert said("7  io_uring_setup(8, {flags=0}) = 3") != []
    assert said("7  io_uring_setup(8, {flags=0}) = -1 EPERM (Operation not permitted)") == []


@pytest.mark.parametrize("line", ["nonsense", "7  nonsense", "7  unlink(3) = 0"])
def test_what_is_not_understood_is_no_trace(line: str) -> None:
    with pytest.raises(ValueError, match=r"none of the calls|no line|no call"):
        read_trace([line])


def test_files_that_could_be_written_and_who_has_ended_are_known() -> None:
    writes = read_trace(
        [
            f'7  openat(AT_FDCWD<\\x2f>, "\\x78", O_RDONLY) = {descriptor("/srv/read")}',
            f'7  openat(AT_FDCWD<\\x2f>, "\\x78", O_WRONLY|O_CREAT, 0600) = {FILE}',
            "8  +++ exited with 0 +++",
            "7  --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---",
            "7  +++ killed by SIGKILL +++",
        ]
    )

    assert (writes.opened, writes.ended, writes.calls) == ({"/srv/x"}, {7, 8}, 2)


PROGRAM = """\
    import os, sys, threading
    from pathlib import Path

    secret = bytes(range(100, 164))
    memory = os.memfd_create("m")
    os.write(memory, secret)
    os.write(2, b"no secret")
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
        (folder / "plain").write_bytes(secret)
        with (folder / "thread").open("wb", buffering=0) as file:
            thread = threading.Thread(target=lambda: [file.write(secret[i:i+4]) for i in range(0, 64, 4)])
            thread.start()
            thread.join()
        os.system(f"printf '{secret[:20].decode()}' > {folder / 'child'}")
        with (folder / "sent").open("wb", buffering=0) as file:
            os.sendfile(file.fileno(), memory, 0, 64)
"""  # noqa: E501


def test_a_real_program_is_seen_through(tmp_path: Path) -> None:
    if why := why_no_strace():
        pytest.skip(why)
    source = tmp_path / "program.py"
    source.write_text(textwrap.dedent(PROGRAM))
    folder = tmp_path / "leaked"
    folder.mkdir()

    def trace_of(*args: str) -> list[str]:
        trace = tmp_path / "trace"
        command = ["strace", *OPTIONS[1:], f"--output={trace}", sys.executable, "-S", str(source)]
        subprocess.run([*command, *args], check=True, capture_output=True)
        return leaks(read_trace_file(trace), SECRETS)

    assert trace_of() == []
    leaked = trace_of(str(folder))
    for name in ("plain", "thread", "child", "sent"):
        assert any(f"'{folder / name}'" in one for one in leaked), leaked
    assert len(leaked) == 4
