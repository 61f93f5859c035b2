"""Speak to an object store through obstore, which is imported nowhere else.

What obstore raises becomes a `StoreError` here, in a line that an operator can act on and
that holds no secret.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from interlock.domain.cloud_location import CloudLocation, Scheme
from interlock.repository.cloud.credentials import CredentialError, access_to
from interlock.repository.cloud.objects import RemoteObject

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore as Obstore, RetryConfig

_PAGE: Final = 1000
_PIECE_BYTES: Final = 1 << 20
_CONNECT_S: Final = 5
_REQUEST_S: Final = 60
"""For one request and all of its answer: a listing's page, or a part of an object."""
_RETRIES: Final = 3
_RETRY_S: Final = 30
_AFTER_ODD_KEYS: Final = "0"
"""Sorts behind the keys that begin with a slash or a dot, in front of letters and digits."""
_QUERY: Final = re.compile(r"\?\S*")
_ATTEMPTS: Final = re.compile(
    r" in [0-9.]+\S*s(?:, after \d+ retries)?(?:, max_retries: \d+)?(?:, retry_timeout: \S+)?(?= -)"
)
"""How long it took, which would make two texts of one problem."""
_ANSWER: Final = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
_MAX_TEXT: Final = 300


class StoreError(Exception):
    """The store did not answer, or not as it should; the text says why."""


class OddKeyError(StoreError):
    """A key among those that were to be listed is none that obstore can make a path of."""


class MovedError(Exception):
    """An object is not, or no longer, the one that was listed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changes while it is fetched")
        self.path = path


class MissingPackageError(Exception):
    """The extra that object stores need is not installed."""


class ObjectStore(Protocol):
    """A repository in an object store; paths are relative to it. Any thread may call.

    Raise StoreError where the store fails.
    """

    def list(self, folder: str = "") -> Sequence[RemoteObject]:
        """Return every object below a folder; raise OddKeyError for a key that is no path."""
        ...

    def folders(self) -> Sequence[str]:
        """Return the names of the folders; raise OddKeyError as `list` does."""
        ...

    def folders_but_odd_ones(self) -> Sequence[str]:
        """Return the names of those folders that can be listed in spite of odd keys."""
        ...

    def read(self, one: RemoteObject, start: int, end: int) -> Iterable[bytes]:
        """Yield a part of an object, piece by piece; raise MovedError if it is another now."""
        ...


def check_package() -> None:
    """Raise MissingPackageError where obstore is not installed."""
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "a model repository in an object store needs the package obstore, which is not"
            f" installed: pip install 'interlock[cloud]' ({error})"
        ) from error


def open_store(location: CloudLocation, environment: Mapping[str, str]) -> ObjectStore:
    """Make what speaks to the store; nothing is asked of it yet. Raise StoreError."""
    from obstore.exceptions import BaseError

    try:
        if location.scheme is Scheme.MEMORY:
            return StoreOverObstore(memory_store(location.bucket), location.prefix)
        return StoreOverObstore(_obstore(location, environment))
    except (BaseError, ValueError, CredentialError) as error:
        raise StoreError(_text_of(error)) from error


class StoreOverObstore:
    """An `ObjectStore` on any store of obstore's, `prefix` for those that know of none."""

    def __init__(self, store: "Obstore", prefix: str = "") -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""

    def list(self, folder: str = "") -> Sequence[RemoteObject]:
        return self._listed(folder, None)

    def folders(self) -> Sequence[str]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.list_with_delimiter(self._store, self._prefix or None)
            return [path.removeprefix(self._prefix) for path in found["common_prefixes"]]
        except (BaseError, OSError, ValueError) as error:
            raise _translated(error) from error

    def folders_but_odd_ones(self) -> Sequence[str]:
        objects = self._listed("", _AFTER_ODD_KEYS)
        return sorted({one.path.partition("/")[0] for one in objects if "/" in one.path})

    def read(self, one: RemoteObject, start: int, end: int) -> Iterator[bytes]:
        import obstore
        from obstore.exceptions import BaseError, PreconditionError

        options: GetOptions = {}
        if end - start < one.size:
            options["range"] = (start, end)
        if one.etag:
            options["if_match"] = one.etag
        try:
            result = obstore.get(self._store, self._prefix + one.path, options=options)
            if not _is_same(self._object(result.meta), one):
                raise MovedError(one.path)
            yield from result.stream(min_chunk_size=_PIECE_BYTES)
        except (FileNotFoundError, PreconditionError) as error:
            raise MovedError(one.path) from error
        except (BaseError, OSError, ValueError) as error:
            raise _translated(error) from error

    def _listed(self, folder: str, offset: str | None) -> Sequence[RemoteObject]:
        import obstore
        from obstore.exceptions import BaseError

        found: list[RemoteObject] = []
        try:
            for page in obstore.list(
                self._store, self._prefix + folder or None, offset=offset, chunk_size=_PAGE
            ):
                found.extend(map(self._object, page))
        except (BaseError, OSError, ValueError) as error:
            raise _translated(error) from error
        # The folder of all has a key of its own at times, of which no path is left.
        return [one for one in found if one.path]

    def _object(self, meta: "ObjectMeta") -> RemoteObject:
        modified = meta["last_modified"]
        etag = meta["e_tag"] or ""
        return RemoteObject(
            path=meta["path"].removeprefix(self._prefix),
            size=meta["size"],
            etag=etag,
            modified=modified,
            # Whole seconds: an answer's header has no more of it.
            stamp="" if etag else modified.isoformat(timespec="seconds"),
        )


def _is_same(answered: RemoteObject, listed: RemoteObject) -> bool:
    # Not the path: not all releases of obstore take the prefix off in an answer.
    return (answered.size, answered.etag, answered.stamp) == (
        listed.size,
        listed.etag,
        listed.stamp,
    )


def _translated(error: Exception) -> StoreError:
    from obstore.exceptions import InvalidPathError

    kind = OddKeyError if isinstance(error, InvalidPathError) else StoreError
    return kind(_text_of(error))


def _text_of(error: Exception) -> str:
    """Return one line: what the store itself says, if it says something."""
    text = str(error)
    answer = _ANSWER.search(text)
    if answer is not None:
        return f"{answer[1]}: {answer[2]}"[:_MAX_TEXT]
    lines = text.partition("\n\nDebug source:")[0].split()
    line = _ATTEMPTS.sub("", _QUERY.sub("", " ".join(lines)))
    return line[:_MAX_TEXT] or type(error).__name__


_memory_lock: Final = threading.Lock()
_memory: Final[dict[str, "Obstore"]] = {}
"""The stores of `memory://`, by bucket: they are the process's, and go with it."""


def memory_store(bucket: str) -> "Obstore":
    """Return what `memory://<bucket>` leads to, for whoever fills it. Any thread."""
    from obstore.store import MemoryStore

    with _memory_lock:
        return _memory.setdefault(bucket, MemoryStore())


def _obstore(location: CloudLocation, environment: Mapping[str, str]) -> "Obstore":
    from obstore.store import AzureStore, GCSStore, S3Store

    access = access_to(location, environment)
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "timeout": timedelta(seconds=_REQUEST_S),
    }
    if access.allow_http:
        client["allow_http"] = True
    retry: RetryConfig = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_S),
    }
    # By its own names for things, which are checked when the store is made.
    make: Any = {Scheme.S3: S3Store, Scheme.GOOGLE: GCSStore, Scheme.AZURE: AzureStore}
    store: Obstore = make[location.scheme](
        location.bucket,
        prefix=location.prefix or None,
        config=access.config,
        client_options=client,
        retry_config=retry,
        credential_provider=access.provider,
    )
    return store
