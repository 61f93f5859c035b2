"""Tell from what strace saw which bytes a process has written to files, and where it cannot tell.

A file is what has a place in a file system, `/dev/shm` and deleted files included. No files are
memory files (memfd), pipes, sockets and devices: what goes there reaches a disk only if somebody
writes it to a file, which is seen if that is a process that was traced too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_WRITES: Final = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
_OPENS: Final = ("open", "openat", "openat2", "creat")
_TARGET: Final[Mapping[str, int]] = {"sendfile": 0, "copy_file_range": 1, "splice": 1}
"""Which of the two descriptors of a call is written to."""
_TRACED: Final = (*_WRITES, *_OPENS, *_TARGET, "mmap", "io_uring_setup")
OPTIONS: Final = (
    "-D",  # so that the process, not strace, is whom we have started
    "-f",
    "-q",
    "--seccomp-bpf",
    "-y",
    "-v",
    "-xx",
    "--string-limit=16777216",
    f"--trace={','.join(_TRACED)}",
)
STRETCH_BYTES: Final = 16

_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_BEGUN: Final = re.compile(r"(?P<call>.*) <unfinished \.\.\.>")
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\w+|\?)(?P<more>.*)")
_CUT_SHORT: Final = re.compile(r"(?P<name>\w+)\((?P<args>.*)")
_SIGNAL: Final = re.compile(r"--- .* ---")
_ENDED: Final = re.compile(r"\+\+\+ .* \+\+\+")
_DESCRIPTOR: Final = re.compile(r"\b\d+<(?P<path>(?:\\x[0-9a-f]{2})*)>(?P<gone>\(deleted\))?")
_STRING: Final = re.compile(r'"(?P<text>(?:\\x[0-9a-f]{2})*)"(?P<more>\.\.\.)?')
_NO_FILES: Final = ("/dev/", "/proc/", "/sys/")


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something was written to a file, or may have been, and nobody saw what."""

    path: str
    call: str


@dataclass(slots=True)
class Writes:
    """What a process and those that it has started have written to files.

    `content` is everything that was written to a file, in the order in which it was: also
    what was split over several calls is found there. `opened` could be written to.
    """

    content: dict[str, bytearray] = field(default_factory=dict)
    unseen: list[Unseen] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    calls: int = 0


@dataclass(frozen=True, slots=True)
class _Descriptor:
    path: str
    is_file: bool


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    args: str
    result: int | None
    """None where the process was killed before it came back."""
    returned: str

    @property
    def has_failed(self) -> bool:
        return self.result is not None and self.result < 0

    def descriptors(self) -> list[_Descriptor]:
        return _descriptors(self.args)


def read_trace(lines: Iterable[str]) -> Writes:
    """Return what a trace that was made with `OPTIONS` tells.

    Raise ValueError for a line that is not understood: nothing is passed over.
    """
    writes = Writes()
    begun: dict[int, str] = {}
    for line in lines:
        matched = _LINE.fullmatch(line.rstrip("\n"))
        if matched is None:
            raise ValueError(f"no line of a trace: {line[:200]!r}")
        pid, text = int(matched["pid"]), matched["rest"]
        if _ENDED.fullmatch(text):
            writes.ended.add(pid)
        elif _SIGNAL.fullmatch(text):
            continue
        elif unfinished := _BEGUN.fullmatch(text):
            begun[pid] = unfinished["call"]
        else:
            if resumed := _RESUMED.fullmatch(text):
                text = begun.pop(pid, "") + resumed["rest"]
            _hear(writes, _parsed(text))
    for text in begun.values():
        _hear(writes, _parsed_cut_short(text))
    return writes


def read_trace_file(path: Path) -> Writes:
    """Return what a trace tells. Raise OSError, ValueError."""
    with path.open(encoding="ascii") as lines:
        return read_trace(lines)


def stretches(contents: Mapping[str, bytes]) -> Mapping[bytes, str]:
    """Return every stretch of `STRETCH_BYTES` of the contents, and the name of whose it is."""
    return {
        content[at : at + STRETCH_BYTES]: name
        for name, content in contents.items()
        for at in range(len(content) - STRETCH_BYTES + 1)
    }


def leaks(writes: Writes, secrets: Mapping[bytes, str]) -> list[str]:
    """Return a sentence for each file to which some secret was written, or may have been.

    `secrets` are stretches of `STRETCH_BYTES`, as `stretches` returns them.
    """
    found = [
        f"'{path}' was written to by {call}, and nobody saw what"
        for path, call in sorted({(one.path, one.call) for one in writes.unseen})
    ]
    for path, content in sorted(writes.content.items()):
        names = set(_secrets_in(bytes(content), secrets))
        found += [f"'{path}' has got content of {name}" for name in sorted(names)]
    return found


def _secrets_in(content: bytes, secrets: Mapping[bytes, str]) -> Iterator[str]:
    for at in range(len(content) - STRETCH_BYTES + 1):
        if name := secrets.get(content[at : at + STRETCH_BYTES]):
            yield name


def _parsed(text: str) -> _Call:
    matched = _CALL.fullmatch(text)
    if matched is None:
        return _parsed_cut_short(text)
    result = matched["result"]
    number = None if result == "?" else int(result, 0)
    return _Call(matched["name"], matched["args"], number, result + matched["more"])


def _parsed_cut_short(text: str) -> _Call:
    matched = _CUT_SHORT.fullmatch(text)
    if matched is None:
        raise ValueError(f"no call of a trace: {text[:200]!r}")
    return _Call(matched["name"], matched["args"], None, "")


def _hear(writes: Writes, call: _Call) -> None:
    writes.calls += 1
    if call.has_failed:
        return
    if call.name in _WRITES:
        _hear_write(writes, call)
    elif call.name in _TARGET:
        _hear_copy(writes, call)
    elif call.name in _OPENS:
        _hear_open(writes, call)
    elif call.name == "mmap":
        _hear_mapping(writes, call)
    elif call.name == "io_uring_setup":
        writes.unseen.append(Unseen("any file", call.name))
    else:
        raise ValueError(f"'{call.name}' is none of the calls that were to be traced")


def _hear_write(writes: Writes, call: _Call) -> None:
    first = call.args.partition(",")[0]
    target = next(iter(_descriptors(first)), _Descriptor(f"descriptor {first}", is_file=True))
    if not target.is_file:
        return
    strings = list(_STRING.finditer(call.args))
    data = b"".join(_bytes_of(one["text"]) for one in strings)
    is_whole = call.result is None or len(data) >= call.result
    if not is_whole or not strings or any(one["more"] for one in strings):
        writes.unseen.append(Unseen(target.path, call.name))
    writes.content.setdefault(target.path, bytearray()).extend(data)


def _hear_copy(writes: Writes, call: _Call) -> None:
    found = call.descriptors()
    if len(found) != 2:
        writes.unseen.append(Unseen("a descriptor that nobody knows", call.name))
        return
    target = found.pop(_TARGET[call.name])
    # What comes from a file lies in one already, and was seen when it got there.
    if target.is_file and not found[0].is_file:
        writes.unseen.append(Unseen(target.path, call.name))


def _hear_open(writes: Writes, call: _Call) -> None:
    if call.name == "creat" or re.search(r"\bO_WRONLY\b|\bO_RDWR\b|\bO_CREAT\b", call.args):
        writes.opened |= {one.path for one in _descriptors(call.returned) if one.is_file}


def _hear_mapping(writes: Writes, call: _Call) -> None:
    if "MAP_SHARED" not in call.args:
        return
    for target in call.descriptors():
        # One that is only read now may be made writable if the file was opened for that.
        may_write = "PROT_WRITE" in call.args or target.path in writes.opened
        if target.is_file and may_write:
            writes.unseen.append(Unseen(target.path, call.name))


def _descriptors(text: str) -> list[_Descriptor]:
    found = []
    for matched in _DESCRIPTOR.finditer(text):
        path = _bytes_of(matched["path"]).decode(errors="surrogateescape")
        found.append(_Descriptor(path, _is_file(path, is_deleted=bool(matched["gone"]))))
    return found


def _is_file(path: str, *, is_deleted: bool) -> bool:
    if path.startswith("/dev/shm/"):
        return True
    is_memory = path.startswith("/memfd:") and is_deleted
    return path.startswith("/") and not is_memory and not path.startswith(_NO_FILES)


def _bytes_of(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
