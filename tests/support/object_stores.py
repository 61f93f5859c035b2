"""Object stores for tests: one that breaks as it is told to, and S3's protocol on loopback."""

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Final, Self

from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.store import MovedError, OddKeyError, StoreError

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def remote(path: str, content: bytes = b"x", *, age_s: float = 3600.0) -> RemoteObject:
    """What a listing tells of an object that was put there so long before `NOW`."""
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    return RemoteObject(path, len(content), etag, NOW - timedelta(seconds=age_s))


class FakeStore:
    """An `ObjectStore` in memory: `put` and `delete` change it, `problem` breaks it."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.contents: dict[str, bytes] = {}
        self.objects: dict[str, RemoteObject] = {}
        self.odd: set[str] = set()
        self.problem = ""
        self.fetched: list[str] = []
        self.before_read: Callable[[RemoteObject], None] = lambda _: None
        self.alter: Callable[[bytes], bytes] = lambda piece: piece
        for path, content in (files or {}).items():
            self.put(path, content)

    def put(self, path: str, content: bytes = b"x", *, age_s: float = 3600.0) -> None:
        self.contents[path] = content
        self.objects[path] = remote(path, content, age_s=age_s)

    def delete(self, *paths: str) -> None:
        for path in paths:
            del self.contents[path], self.objects[path]

    def list(self, folder: str = "") -> Sequence[RemoteObject]:
        self._answer()
        inside = f"{folder}/" if folder else ""
        self._refuse(key for key in self.odd if key.startswith(inside))
        return [one for path, one in self.objects.items() if path.startswith(inside)]

    def folders(self) -> Sequence[str]:
        self._answer()
        self._refuse(key for key in self.odd if key.startswith("/"))
        return sorted({path.partition("/")[0] for path in self.objects if "/" in path})

    def folders_but_odd_ones(self) -> Sequence[str]:
        self._refuse(key for key in self.odd if not key.startswith("/"))
        return sorted({path.partition("/")[0] for path in self.objects if "/" in path})

    def read(self, one: RemoteObject, start: int, end: int) -> Iterable[bytes]:
        self._answer()
        self.before_read(one)
        if self.objects.get(one.path) != one:
            raise MovedError(one.path)
        if not start:
            self.fetched.append(one.path)
        yield self.alter(self.contents[one.path][start:end])

    def _answer(self) -> None:
        if self.problem:
            raise StoreError(self.problem)

    def _refuse(self, keys: Iterable[str]) -> None:
        for key in sorted(keys):
            raise OddKeyError(f"{key!r} is no path")


_numbers = itertools.count(1)


class Bucket:
    """A bucket of S3's protocol, served by moto in this process on a port of loopback."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._make: Callable[..., Any] = ThreadedMotoServer
        self.name = f"bucket-{next(_numbers)}"
        self._port = 0
        self.open()
        self._client.create_bucket(Bucket=self.name)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The model repository `repo` in this bucket."""
        return f"s3://127.0.0.1:{self._port}/{self.name}/repo"

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

    def put(self, path: str, content: bytes = b"x") -> None:
        """Put an object below the repository; any key is taken."""
        self._client.put_object(Bucket=self.name, Key=f"repo/{path}", Body=content)

    def put_all(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            self.put(path, content)

    def delete(self, *paths: str) -> None:
        for path in paths:
            self._client.delete_object(Bucket=self.name, Key=f"repo/{path}")

    def open(self) -> None:
        """Answer, on the same port as before."""
        self._server = self._make(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def shut(self) -> None:
        """Refuse every connection; what the bucket holds is kept."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shut()

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
