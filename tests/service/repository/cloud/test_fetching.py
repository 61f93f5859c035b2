"""Objects become files: whole, and the very ones that were listed."""

import threading
from pathlib import Path

import pytest

from interlock.repository.cloud.fetching import (
    Download,
    FetchCancelledError,
    Fetcher,
    in_parallel,
)
from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.store import MovedError, StoreError
from tests.support.object_stores import FakeStore


def fetcher(*, part_bytes: int = 4, is_cancelled: bool = False) -> Fetcher:
    return Fetcher(is_cancelled=lambda: is_cancelled, threads=3, part_bytes=part_bytes)


def downloads(store: FakeStore, folder: Path) -> list[Download]:
    return [Download(one, folder / path) for path, one in store.objects.items()]


def test_large_objects_come_in_parts_and_empty_ones_in_none(tmp_path: Path) -> None:
    files = {"m/a": b"0123456789", "m/b/c": b"xy", "m/empty": b""}
    store = FakeStore(files)

    fetcher().fetch(store, downloads(store, tmp_path))

    assert {path: (tmp_path / path).read_bytes() for path in files} == files


def test_many_files_are_not_open_at_once(tmp_path: Path) -> None:
    files = {f"m/{number}": str(number).encode() for number in range(300)}
    store = FakeStore(files)
    most = 0

    def look(_: RemoteObject) -> None:
        nonlocal most
        most = max(most, len(list(Path("/proc/self/fd").iterdir())))

    store.before_read = look
    before = len(list(Path("/proc/self/fd").iterdir()))

    fetcher().fetch(store, downloads(store, tmp_path))

    assert most - before < 200
    assert (tmp_path / "m/299").read_bytes() == b"299"


def test_an_object_that_is_replaced_meanwhile_ends_the_fetch(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123456789"})
    listed = downloads(store, tmp_path)
    store.put("m/a", b"9876543210")

    with pytest.raises(MovedError, match="m/a changes while it is fetched"):
        fetcher().fetch(store, listed)


def test_an_object_that_goes_while_its_parts_come_ends_the_fetch(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123456789"})
    listed = downloads(store, tmp_path)

    def vanish(one: RemoteObject) -> None:
        store.objects.pop(one.path, None)

    store.before_read = vanish

    with pytest.raises(MovedError):
        fetcher().fetch(store, listed)


@pytest.mark.parametrize(
    ("piece", "text"), [(b"", "does not arrive whole"), (b"01234", "is larger than it was listed")]
)
def test_another_size_than_was_listed_is_refused(tmp_path: Path, piece: bytes, text: str) -> None:
    store = FakeStore({"m/a": b"0123456789"})
    store.alter = lambda _: piece

    with pytest.raises(StoreError, match=text):
        fetcher().fetch(store, downloads(store, tmp_path))


def test_content_that_breaks_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123"})
    pieces = [b"0x23", b"0123"]
    store.alter = lambda _: pieces.pop(0)

    with pytest.raises(StoreError, match="does not arrive whole"):
        fetcher().fetch(store, downloads(store, tmp_path))

    assert not pieces
    fetcher().fetch(FakeStore({"m/a": b"0123"}), downloads(store, tmp_path))
    assert (tmp_path / "m/a").read_bytes() == b"0123"


def test_an_etag_that_only_looks_like_a_digest_is_found_out_once(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123", "m/b": b"4567"})
    store.alter = lambda piece: piece[::-1]  # as if the ETags were those of something encrypted
    one = fetcher()

    one.fetch(store, downloads(store, tmp_path))

    assert (tmp_path / "m/a").read_bytes() == b"3210"
    assert store.fetched.count("m/a") == 2
    assert store.fetched.count("m/b") == 1


def test_a_server_that_stops_does_not_wait_for_a_download(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123"})

    with pytest.raises(FetchCancelledError):
        fetcher(is_cancelled=True).fetch(store, downloads(store, tmp_path))


def test_a_disk_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    store = FakeStore({"m/a": b"0123"})
    (tmp_path / "m").write_bytes(b"in the way")

    with pytest.raises(OSError, match="exists"):
        fetcher().fetch(store, downloads(store, tmp_path))


def test_tasks_run_beside_each_other_and_the_first_error_ends_the_rest() -> None:
    both = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def fail() -> None:
        raise ValueError("first")

    def meet() -> None:
        both.wait()

    in_parallel([meet, meet], 2, "test")
    with pytest.raises(ValueError, match="first"):
        in_parallel([fail, lambda: done.append(1)], 1, "test")
    in_parallel([], 2, "test")

    assert not done
