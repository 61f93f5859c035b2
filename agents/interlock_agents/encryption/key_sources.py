"""Where keys come from, by their names: a directory, an environment variable, a command.

They are looked up for every model that is loaded, and not kept: a key that is put there,
changed or taken away counts from the next load on, without a restart.
"""

import contextlib
import os
import select
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.keys import MAX_TEXT_BYTES, Key, check_key_id, parse_keys
from interlock_agents.encryption.secret import wipe

SECRET_SUFFIX: Final = ".key"  # noqa: S105 - no secret, the end of a name
PUBLIC_SUFFIX: Final = ".pub"
COMMAND_TIMEOUT_S: Final = 10.0

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_READ_OR_WRITE: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_ID: Final = "{id}"


class Keys(Protocol):
    """Something that has keys. Any thread may ask."""

    def find(self, key_id: str) -> Key:
        """Return the key, which is the caller's to wipe.

        Raise KeyUnavailableError where there is none, or none that may be used.
        """
        ...


class KeyDirectory:
    """A directory with a file for every key: `ID.key`, which nobody else may read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, key_id: str) -> Key:
        path = self._path(key_id, SECRET_SUFFIX)
        self.check()
        try:
            return self._read(path, key_id, is_secret=True)
        except FileNotFoundError:
            raise KeyUnavailableError(
                f"no key '{key_id}' in key directory '{self._directory}'"
            ) from None
        except OSError as error:
            raise KeyUnavailableError(f"cannot read key '{path}': {error.strerror}") from None

    def find_public(self, key_id: str) -> Key:
        """Return the key's public half, where there is one apart; else the key.

        The directory may be looked into then, but not changed by others.
        """
        try:
            if self._directory.stat().st_mode & _OTHERS_WRITE:
                return self.find(key_id)
            return self._read(self._path(key_id, PUBLIC_SUFFIX), key_id, is_secret=False)
        except (OSError, KeyUnavailableError):
            return self.find(key_id)

    def ids(self) -> list[str]:
        """Return the names of the secret keys that are there. Raise KeyUnavailableError."""
        self.check()
        try:
            names = [path.stem for path in self._directory.glob(f"*{SECRET_SUFFIX}")]
        except OSError as error:
            raise KeyUnavailableError(
                f"cannot list key directory '{self._directory}': {error.strerror}"
            ) from None
        return sorted(names)

    def check(self) -> None:
        """Raise KeyUnavailableError where others may look into the directory, or change it."""
        try:
            status = self._directory.stat()
        except OSError as error:
            raise KeyUnavailableError(
                f"cannot use key directory '{self._directory}': {error.strerror}"
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            raise KeyUnavailableError(f"key directory '{self._directory}' is no directory")
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS_READ_OR_WRITE:
            raise KeyUnavailableError(
                f"key directory '{self._directory}' is open to others (mode {mode:04o}); "
                f"chmod 700 '{self._directory}'"
            )
        _check_owner(status, f"key directory '{self._directory}'")

    def _path(self, key_id: str, suffix: str) -> Path:
        try:
            check_key_id(key_id)
        except EncryptionError as error:
            raise KeyUnavailableError(str(error)) from None
        return self._directory / f"{key_id}{suffix}"

    def _read(self, path: Path, key_id: str, *, is_secret: bool) -> Key:
        keys = read_key_file(path, is_secret=is_secret)
        if [key.id for key in keys] != [key_id] or keys[0].kind.is_secret != is_secret:
            for key in keys:
                key.wipe()
            kind = "secret" if is_secret else "public"
            raise KeyUnavailableError(f"'{path}' does not hold just the {kind} key '{key_id}'")
        return keys[0]


def read_key_file(path: Path, *, is_secret: bool) -> list[Key]:
    """Return the keys in a file. Raise OSError, and KeyUnavailableError for what is no key.

    A secret one must be nobody's but ours.
    """
    # Not to hang on a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyUnavailableError(f"key '{path}' is no file")
        if is_secret:
            _check_private(status, path)
        text = _read_all(lambda memory: os.readv(descriptor, [memory]))
    finally:
        os.close(descriptor)
    return _parsed(text, where=f"key '{path}'")


class PublicKeys:
    """The same directory for who only encrypts: public halves, where there are some."""

    def __init__(self, directory: Path) -> None:
        self._keys = KeyDirectory(directory)

    def find(self, key_id: str) -> Key:
        return self._keys.find_public(key_id)


class EnvironmentKeys:
    """An environment variable that holds keys, a line each."""

    def __init__(self, variable: str, environment: Mapping[bytes, bytes] = os.environb) -> None:
        self._variable = variable
        self._environment = environment

    def find(self, key_id: str) -> Key:
        value = self._environment.get(os.fsencode(self._variable))
        if value is None:
            raise KeyUnavailableError(f"environment variable {self._variable} is not set")
        where = f"environment variable {self._variable}"
        return _named(key_id, _parsed(bytearray(value), where=where), where=where)


class KeyCommand:
    """A command that is given a key's name and writes the key to its standard output.

    No shell is involved. What the command writes to its standard error is thrown away: it may
    be anything. It ends within `timeout_s`, or is killed with all that it has started.
    """

    def __init__(
        self,
        command: str,
        *,
        timeout_s: float = COMMAND_TIMEOUT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a command line; `{id}` in it stands for the name, which else comes last."""
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise EncryptionError(f"key command: {error}") from None
        if not words:
            raise EncryptionError("key command: there is none")
        self._words = words if any(_ID in word for word in words) else [*words, _ID]
        self._timeout_s = timeout_s
        self._now = now
        self._name = f"key command '{words[0]}'"

    def find(self, key_id: str) -> Key:
        words = [word.replace(_ID, key_id) for word in self._words]
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, and the operator's own words
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise KeyUnavailableError(f"{self._name} cannot be run: {error.strerror}") from None
        with process:
            try:
                text = self._output(process, key_id)
            finally:
                # It was not reaped yet, so its number is still its own.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            wipe(text)
            raise KeyUnavailableError(
                f"{self._name} ended with {process.returncode} for key '{key_id}'"
            )
        return _named(key_id, _parsed(text, where=self._name), where=self._name)

    def _output(self, process: subprocess.Popen[bytes], key_id: str) -> bytearray:
        deadline = self._now() + self._timeout_s
        assert process.stdout is not None  # noqa: S101 - it is a pipe, as asked for
        descriptor = process.stdout.fileno()
        text = bytearray()
        ending = os.pidfd_open(process.pid)
        try:
            text = _read_all(lambda memory: self._read(descriptor, memory, deadline))
            self._await(ending, deadline)
        except TimeoutError:
            wipe(text)
            raise KeyUnavailableError(
                f"{self._name} took longer than {self._timeout_s:g} s for key '{key_id}'"
            ) from None
        finally:
            os.close(ending)
        return text

    def _read(self, descriptor: int, memory: memoryview, deadline: float) -> int:
        self._await(descriptor, deadline)
        return os.readv(descriptor, [memory])

    def _await(self, descriptor: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, deadline - self._now()) * 1000):
            raise TimeoutError


class KeyRing:
    """Several sources of keys, the first that has a key gives it."""

    def __init__(self, sources: Sequence[Keys]) -> None:
        self._sources = tuple(sources)

    def find(self, key_id: str) -> Key:
        reasons = []
        for source in self._sources:
            try:
                return source.find(key_id)
            except KeyUnavailableError as error:
                reasons.append(str(error))
        if len(reasons) == 1:
            raise KeyUnavailableError(reasons[0])
        raise KeyUnavailableError(
            f"no key '{key_id}': {'; '.join(reasons) or 'no source of keys is set'}"
        )


def ring_of(directory: Path | None, sources: Sequence[str]) -> KeyRing:
    """Return a key directory and other sources, in this order. Raise EncryptionError."""
    directories = [] if directory is None else [KeyDirectory(directory)]
    return KeyRing([*directories, *map(source_of, sources)])


class RememberedKeys:
    """What another source has found, for as long as one model is read; wiped at the end."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._found: dict[str, Key] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in self._found.values():
            key.wipe()
        self._found.clear()

    def find(self, key_id: str) -> Key:
        if key_id not in self._found:
            self._found[key_id] = self._keys.find(key_id)
        key = self._found[key_id]
        return Key(key.id, key.kind, key.material.copy())


def source_of(text: str) -> Keys:
    """Return the source that `env:VARIABLE` or `exec:COMMAND` names. Raise EncryptionError."""
    scheme, _, rest = text.partition(":")
    if scheme == "env" and rest:
        return EnvironmentKeys(rest)
    if scheme == "exec" and rest:
        return KeyCommand(rest)
    raise EncryptionError(f"'{text}' is no source of keys: it is env:VARIABLE or exec:COMMAND")


def _parsed(text: bytearray, *, where: str) -> list[Key]:
    try:
        return parse_keys(text, where=where)
    except EncryptionError as error:
        raise KeyUnavailableError(str(error)) from None
    finally:
        wipe(text)


def _named(key_id: str, keys: Sequence[Key], *, where: str) -> Key:
    """Return the secret key of that name; wipe the others."""
    found = None
    for key in keys:
        if key.id == key_id and key.kind.is_secret and found is None:
            found = key
        else:
            key.wipe()
    if found is None:
        raise KeyUnavailableError(f"no key '{key_id}' in {where}")
    return found


def _check_private(status: os.stat_result, path: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        raise KeyUnavailableError(
            f"key '{path}' is open to others (mode {mode:04o}); chmod 600 '{path}'"
        )
    _check_owner(status, f"key '{path}'")


def _check_owner(status: os.stat_result, what: str) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise KeyUnavailableError(f"{what} belongs to another user ({status.st_uid})")


def _read_all(read_into: Callable[[memoryview], int]) -> bytearray:
    """Return what comes until the end. Raise KeyUnavailableError for what no key can be."""
    memory = bytearray(MAX_TEXT_BYTES + 1)
    filled = 0
    try:
        while filled < len(memory) and (count := read_into(memoryview(memory)[filled:])):
            filled += count
        text = memory[:filled]
    finally:
        wipe(memory)
    if len(text) > MAX_TEXT_BYTES:
        wipe(text)
        raise KeyUnavailableError(f"more than {MAX_TEXT_BYTES >> 10} KiB came instead of a key")
    return text
