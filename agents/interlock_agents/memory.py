"""Files that lie in memory alone, and can be opened by a path all the same.

For what must never touch a disk, such as the content of an encrypted model. Not secret from
whoever may read this process's memory, and swapped out like any memory unless it is locked.
"""

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Self

_F_SEAL_FUTURE_WRITE: Final = 0x10  # Python has no name for it; Linux 5.1
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL | _F_SEAL_FUTURE_WRITE
_READ_ONLY: Final = 0o400
_MLOCK_ONFAULT: Final = 1
_MADV_POPULATE_READ: Final = 22  # Linux 5.14
_STEP_BYTES: Final = 2 << 20
"""How much memory is asked for at a time."""
_FEW_ZEROS: Final = bytes(16 << 10)
"""So few that they stay in a processor's nearest cache."""
_MAX_AT_ONCE: Final = 1024
"""Pieces that the system takes with one call."""
_PIECE: Final = bytes(1 << 20)


class MemoryFile:
    """A file of a fixed size in memory: written through `buffer`, then sealed, then read.

    After `seal` nobody can change it, neither by its descriptor nor by its path. It ends with
    `wipe` or `close`; `path` leads nowhere from then on, but what was opened or mapped before
    stays readable until it is closed. One thread at a time may call; once it is sealed, any.
    """

    def __init__(self, size: int, *, name: str = "model") -> None:
        """Make a file of `size` bytes, all zero. `name` is what the system's lists call it.

        Raise OSError where the system does not give one.
        """
        self._size = size
        self._is_sealed = False
        self._is_locked = False
        # At most 249 bytes may be said of it.
        self._descriptor = os.memfd_create(name[:60], os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        self._mapping: mmap.mmap | None = None
        try:
            os.fchmod(self._descriptor, _READ_ONLY)
            os.ftruncate(self._descriptor, size)
            if size:
                self._mapping = mmap.mmap(self._descriptor, size)
                self._mapping.madvise(mmap.MADV_DONTDUMP)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview, *, name: str = "model") -> Self:
        """Return a sealed file with this content."""
        file = cls(len(content), name=name)
        file.buffer[:] = content
        file.seal()
        return file

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return self._size

    @property
    def is_sealed(self) -> bool:
        return self._is_sealed

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    @property
    def is_locked(self) -> bool:
        """Whether the system keeps it out of its swap space."""
        return self._is_locked

    @property
    def buffer(self) -> memoryview:
        """All of it, to be written. Raise ValueError once it is sealed or closed."""
        if self._is_sealed:
            raise ValueError("the file is sealed")
        return self._memory()

    @property
    def view(self) -> memoryview:
        """All of it, to be read without a copy. Raise ValueError once it is closed."""
        return self._memory().toreadonly()

    @property
    def path(self) -> Path:
        """Where it can be opened for reading, in this process. Raise ValueError once closed."""
        return Path(f"/proc/self/fd/{self._opened()}")

    def lock(self) -> bool:
        """Keep it out of the swap space; False where the limit (RLIMIT_MEMLOCK) forbids it.

        Each page of `buffer` from when it is first touched: it is not all found at once.
        """
        if self._mapping is not None and not self._is_locked:
            address = _address_of(self._mapping)
            self._is_locked = _LIBC.mlock2(address, self._size, _MLOCK_ONFAULT) == 0
        return self._is_locked or not self._size

    @contextmanager
    def room_ahead(self) -> Iterator[Callable[[int, int], None]]:
        """Have the system find memory ahead of who writes to `buffer`, from its beginning on.

        Otherwise it does so page by page as `buffer` is written, which takes longer, and keeps
        other threads waiting where a library writes that holds the interpreter. Yields what is
        to be called before a piece is written, with where it begins and its size; it raises
        OSError where there is no memory. What was not written by the end may be zero.
        """
        with _Room(self._opened(), self._size) as room:

            def ready(begin: int, size: int) -> None:
                room.wait(begin, size)
                self._map(begin, size)

            yield ready

    def seal(self) -> None:
        """Let nobody change it any more, ourselves included; only `wipe` does."""
        if not self._is_sealed:
            # Not F_SEAL_WRITE, which would forbid the mapping that wiping needs.
            fcntl.fcntl(self._opened(), fcntl.F_ADD_SEALS, _SEALS)
            self._is_sealed = True

    def open(self) -> BinaryIO:
        """Open it for reading from the beginning; the stream is the caller's to close."""
        return self.path.open("rb", buffering=0)

    def read(self) -> bytes:
        """Return a copy of all that it holds."""
        return bytes(self._memory())

    def erase(self) -> None:
        """Overwrite it with zeros. Whoever still maps it reads zeros."""
        if self._mapping is not None:
            memory = memoryview(self._mapping)
            for begin, end in self._written():
                for at in range(begin, end, len(_PIECE)):
                    length = min(len(_PIECE), end - at)
                    memory[at : at + length] = _PIECE[:length]
            memory.release()

    def wipe(self) -> None:
        """Overwrite it with zeros and close it."""
        self.erase()
        self.close()

    def close(self) -> None:
        """Give the memory back, once nobody maps it any more. Calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        mapping, self._mapping = self._mapping, None
        if mapping is not None:
            # Somebody holds a view of it: the last one that goes takes the mapping along.
            with suppress(BufferError):
                mapping.close()

    def _written(self) -> Iterator[tuple[int, int]]:
        """Yield the stretches that have memory; zeros elsewhere would only cost some."""
        end = 0
        while True:
            try:
                begin = os.lseek(self._descriptor, end, os.SEEK_DATA)
            except OSError:  # nothing more
                return
            end = os.lseek(self._descriptor, begin, os.SEEK_HOLE)
            yield begin, end

    def _map(self, begin: int, size: int) -> None:
        """Map what is there, all at once; what cannot be is when it is written."""
        if self._mapping is not None:
            address, skipped = _address_of(self._mapping), begin % mmap.PAGESIZE
            _LIBC.madvise(address + begin - skipped, size + skipped, _MADV_POPULATE_READ)

    def _opened(self) -> int:
        if self._descriptor < 0:
            raise ValueError("the file is closed")
        return self._descriptor

    def _memory(self) -> memoryview:
        self._opened()
        return memoryview(bytearray()) if self._mapping is None else memoryview(self._mapping)


class _Room:
    """Fills a file with zeros, step by step; another thread runs ahead where there are several."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._steps = [(at, min(_STEP_BYTES, size - at)) for at in range(0, size, _STEP_BYTES)]
        self._pool: ThreadPoolExecutor | None = None
        self._made: list[Future[None]] = []

    def __enter__(self) -> Self:
        if len(self._steps) > 1:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="memory")
            try:
                self._made = [self._pool.submit(self._make, *step) for step in self._steps]
            except RuntimeError:  # no thread is to be had
                self._end()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def wait(self, begin: int, size: int) -> None:
        """Return once there is memory for a piece. Raise OSError where there is none."""
        if not self._made:
            self._make(begin, size)
            return
        for step in range(begin // _STEP_BYTES, -(-(begin + size) // _STEP_BYTES)):
            self._have_made(step)

    def _have_made(self, step: int) -> None:
        made = self._made[step]
        if made.cancel():
            # The other thread, which may wait for a processor, has not come to it. From here
            # on it counts as made: it is about to be written, and must not be a second time.
            self._make(*self._steps[step])
            self._made[step] = made = Future()
            made.set_result(None)
        made.result()

    def _make(self, begin: int, size: int) -> None:
        at, end = begin, begin + size
        while at < end:
            at += os.pwritev(self._descriptor, _zeros(end - at), at)

    def _end(self) -> None:
        """Return once the other thread is gone: who goes on has the file alone."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._made = []


def _zeros(size: int) -> list[memoryview]:
    """Return pieces of at most `size` zeros together, and of as many as can be written at once."""
    piece = memoryview(_FEW_ZEROS)
    whole, rest = divmod(size, len(piece))
    return [*[piece] * whole, piece[:rest]][:_MAX_AT_ONCE]


def _address_of(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.mlock2.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc


_LIBC: Final = _libc()
