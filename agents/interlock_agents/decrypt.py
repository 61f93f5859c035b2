"""The `decrypt` agent: put the clear content of a model's encrypted files into memory.

Every `PATH.enc` becomes `PATH`, which no disk ever sees; what is not encrypted stays where it
is. Who may read a model is decided by who has its key, and never by the model: where keys
come from is the server's to say.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    Fault,
    FilesLocation,
    MemoryFile,
    ModelFile,
    Parameter,
    PathError,
    RepositoryAgent,
)
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.encryption.content import EncryptedFile
from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.header import MAGIC, is_encrypted
from interlock_agents.encryption.key_sources import Keys, RememberedKeys
from interlock_agents.encryption.names import MANIFEST, SUFFIX, pairs, stands_for_itself
from interlock_agents.locked_memory import LockedMemory

_CLEAR_FILES: Final = "clear_files"
_ALLOW: Final = "allow"
_REFUSE: Final = "refuse"


class Decryption:
    """What all `decrypt` agents of one server have in common. Any thread may call.

    `warn` is told, once, that decrypted models may be swapped out.
    """

    def __init__(
        self, keys: Keys, dumps: CoreDumps, warn: Callable[[str], None], locked: LockedMemory
    ) -> None:
        self.keys = keys
        self.dumps = dumps
        self._warn = warn
        self._locked = locked
        # Guards the flag.
        self._lock = threading.Lock()
        self._has_warned = False

    def agent(self) -> "DecryptAgent":
        """Return an agent for one model."""
        return DecryptAgent(self)

    def warn(self) -> None:
        """Say, unless that was said, where memory cannot be locked as it should."""
        text = self._locked.warning()
        with self._lock:
            is_news = bool(text) and not self._has_warned
            self._has_warned = self._has_warned or is_news
        if is_news:
            self._warn(text)

    def lock(self, memory: MemoryFile) -> None:
        """Keep a file out of the swap space, if that can be."""
        if not memory.lock():
            self.warn()


class DecryptAgent(RepositoryAgent):
    """Decrypts what lies in the repository as PATH.enc, in memory and nowhere else."""

    parameters: ClassVar[Sequence[Parameter]] = (
        Parameter(
            _CLEAR_FILES,
            f"'{_REFUSE}' to refuse a model that has files that are not encrypted; "
            f"'{_ALLOW}' (the default) to take them as they are",
        ),
    )

    def __init__(self, shared: Decryption) -> None:
        self._shared = shared
        self._is_hiding = False

    def act(self, action: Action, model: AgentModel) -> None:
        match action:
            case Action.LOAD:
                self._hide()
                with _translated():
                    self._load(model)
            case Action.LOAD_FAIL | Action.UNLOAD_COMPLETE:
                self._show()
            case _:
                pass  # the model is in the backend's memory, and nobody's to see

    def _hide(self) -> None:
        if not self._is_hiding:
            self._shared.dumps.forbid()
            self._is_hiding = True

    def _show(self) -> None:
        if self._is_hiding:
            self._is_hiding = False
            self._shared.dumps.allow()

    def _load(self, model: AgentModel) -> None:
        refuses_clear = _refuses_clear(model.parameters)
        files = _files_to_load(model)
        encrypted = pairs(files)
        if not encrypted:
            raise AgentError(f"no file of the model is encrypted: no name ends in {SUFFIX}")
        places = set(encrypted.values())
        clear = {path: file for path, file in files.items() if path not in places}
        for path, file in clear.items():
            _check_clear(path, file, refuses_clear=refuses_clear)
        published: dict[str, ModelFile] = {
            path: file for path, file in clear.items() if path not in encrypted and path != MANIFEST
        }
        key_ids = set()
        with RememberedKeys(self._shared.keys) as keys:
            for path, place in encrypted.items():
                try:
                    published[path], key_id = self._decrypted(model, path, files[place], keys)
                except EncryptionError as error:
                    raise _refusal(place, error) from None
                key_ids.add(key_id)
        model.publish(FilesLocation(published))
        model.note("keys", ", ".join(sorted(key_ids)))

    def _decrypted(
        self, model: AgentModel, path: str, file: ModelFile, keys: Keys
    ) -> tuple[MemoryFile, str]:
        with (
            file.open() as stream,
            EncryptedFile.open(stream, keys, path=path, file_bytes=file.size) as encrypted,
        ):
            memory = model.memory_file(encrypted.size)
            self._shared.lock(memory)
            with memory.room_ahead() as ready:

                def before(begin: int, size: int) -> None:
                    model.check()
                    ready(begin, size)

                encrypted.read_into(memory.buffer, before=before)
            memory.seal()
        return memory, encrypted.key_id


def _refuses_clear(parameters: Mapping[str, str]) -> bool:
    unknown = sorted(parameters.keys() - {_CLEAR_FILES})
    if unknown:
        raise AgentError(f"unknown parameter '{unknown[0]}'; known is '{_CLEAR_FILES}'")
    value = parameters.get(_CLEAR_FILES, _ALLOW)
    if value not in {_ALLOW, _REFUSE}:
        raise AgentError(f"{_CLEAR_FILES} is '{_ALLOW}' or '{_REFUSE}', not '{value}'")
    return value == _REFUSE


def _files_to_load(model: AgentModel) -> Mapping[str, ModelFile]:
    """Return the files of the model but for those of versions that are not to be loaded."""
    wanted = {str(version) for version in model.versions}
    return {
        path: file
        for path, file in model.location.files().items()
        if not wanted or not _is_of_a_version(path) or path.partition("/")[0] in wanted
    }


def _is_of_a_version(path: str) -> bool:
    first, slash, _ = path.partition("/")
    return bool(slash) and first.isascii() and first.isdecimal()


def _check_clear(path: str, file: ModelFile, *, refuses_clear: bool) -> None:
    if refuses_clear and not stands_for_itself(path):
        raise AgentError(f"'{path}' is not encrypted, and {_CLEAR_FILES} is '{_REFUSE}'")
    with file.open() as stream:
        beginning = stream.read(len(MAGIC))
    if is_encrypted(beginning):
        raise AgentError(f"'{path}' is encrypted; its name must end in {SUFFIX} to be read")


def _refusal(path: str, error: EncryptionError) -> AgentError:
    is_away = isinstance(error, KeyUnavailableError)
    fault = Fault.UNAVAILABLE if is_away else Fault.INVALID
    return AgentError(f"failed to decrypt '{path}': {error}", fault)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (EncryptionError, PathError) as error:
        raise AgentError(str(error)) from None
    except OSError as error:
        what = f"read '{error.filename}'" if error.filename else "decrypt the model"
        raise AgentError(f"failed to {what}: {error.strerror}", Fault.INTERNAL) from error
