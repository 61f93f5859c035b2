"""Bytes that nobody may see: shown nowhere, and wiped as soon as they are not needed.

The interpreter and the libraries below it make copies that nobody can wipe. They are few and
short-lived; what is kept for any time is kept here.
"""

from typing import Final, NoReturn, Self

_RANDOM: Final = "/dev/urandom"


class Secret:
    """A few bytes. One thread at a time may use it."""

    __slots__ = ("_content",)

    def __init__(self, content: bytearray) -> None:
        """Take `content` over: the caller keeps no copy of it."""
        self._content = content

    @classmethod
    def random(cls, size: int) -> Self:
        """Return `size` bytes that nobody can guess."""
        content = bytearray(size)
        with open(_RANDOM, "rb", buffering=0) as source:  # noqa: PTH123 - the system's, no file
            filled = 0
            while filled < size:
                filled += source.readinto(memoryview(content)[filled:])
        return cls(content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"Secret({len(self._content)} bytes)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @property
    def content(self) -> bytearray:
        """The bytes themselves, all zero once they were wiped."""
        return self._content

    def copy(self) -> "Secret":
        return Secret(bytearray(self._content))

    def wipe(self) -> None:
        """Overwrite them with zeros."""
        wipe(self._content)


def wipe(content: bytearray) -> None:
    """Overwrite bytes with zeros where they lie."""
    content[:] = bytes(len(content))
