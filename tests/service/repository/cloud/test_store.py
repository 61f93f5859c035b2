"""What obstore and S3's protocol do, as far as we count on it."""

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from interlock.domain.cloud_location import parse_location
from interlock.repository.cloud.fetching import Download, Fetcher
from interlock.repository.cloud.store import (
    MovedError,
    ObjectStore,
    OddKeyError,
    StoreError,
    StoreOverObstore,
    check_package,
    memory_store,
    open_store,
)
from tests.support.object_stores import Bucket

FILES = {
    "m/config.pbtxt": b"config",
    "m/1/model.onnx": bytes(range(256)) * 10,
    "m/1/sp ace%41ü+&?#x": b"odd but sound",
    "m2/1/model.onnx": b"another",
    "readme": b"no model",
}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def module_bucket() -> Iterator[Bucket]:
    with Bucket() as bucket:
        bucket.put_all(FILES)
        yield bucket


def memory(prefix: str = "", files: Mapping[str, bytes] = FILES) -> StoreOverObstore:
    store = MemoryStore()
    for path, content in files.items():
        obstore.put(store, f"{prefix}/{path}" if prefix else path, content)
    obstore.put(store, "elsewhere/3/model.onnx", b"of others")
    return StoreOverObstore(store, prefix)


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return memory("repo")
    bucket: Bucket = request.getfixturevalue("module_bucket")
    return open_store(parse_location(bucket.url), bucket.environment)


def content(store: ObjectStore, path: str) -> bytes:
    (one,) = (one for one in store.list() if one.path == path)
    return b"".join(bytes(piece) for piece in store.read(one, 0, one.size))


def test_every_object_below_the_prefix_is_listed_and_read(store: ObjectStore) -> None:
    listed = {one.path: one.size for one in store.list()}

    assert listed == {path: len(content) for path, content in FILES.items()}
    assert all(one.etag for one in store.list())
    assert {path: content(store, path) for path in FILES} == FILES


def test_a_folder_is_not_one_that_begins_as_it_does(store: ObjectStore) -> None:
    assert {one.path for one in store.list("m")} == {
        path for path in FILES if path.startswith("m/")
    }
    assert store.list("nobody") == []


def test_folders_have_names(store: ObjectStore) -> None:
    assert sorted(store.folders()) == ["m", "m2"]


def test_a_part_is_read(store: ObjectStore) -> None:
    (one,) = (one for one in store.list() if one.path == "m/1/model.onnx")

    pieces = store.read(one, 10, 700)

    assert b"".join(bytes(piece) for piece in pieces) == FILES["m/1/model.onnx"][10:700]


def test_a_large_object_is_fetched_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    downloads = [Download(one, tmp_path / one.path) for one in store.list()]

    Fetcher(is_cancelled=lambda: False, part_bytes=100).fetch(store, downloads)

    assert {path: (tmp_path / path).read_bytes() for path in FILES} == FILES


def test_what_is_listed_twice_is_equal(store: ObjectStore) -> None:
    assert store.list() == store.list()


def test_another_object_of_the_same_name_is_not_read() -> None:
    with Bucket() as bucket:
        bucket.put("m/1/x", b"first")
        store = open_store(parse_location(bucket.url), bucket.environment)
        (one,) = store.list()

        bucket.put("m/1/x", b"other")
        with pytest.raises(MovedError):
            list(store.read(one, 0, one.size))

        bucket.delete("m/1/x")
        with pytest.raises(MovedError):
            list(store.read(one, 1, one.size))


def test_the_key_of_a_folder_itself_is_an_object_without_its_slash() -> None:
    with Bucket() as bucket:
        bucket.put_all({"": b"", "m/": b"", "m/1/": b"", "m/1/x": b"x"})
        store = open_store(parse_location(bucket.url), bucket.environment)

        assert sorted(one.path for one in store.list()) == ["m", "m/1", "m/1/x"]


def test_a_key_that_is_no_path_is_told_apart_from_a_store_that_fails() -> None:
    with Bucket() as bucket:
        bucket.put_all({"m/1/x": b"x", "n//x": b"odd"})
        store = open_store(parse_location(bucket.url), bucket.environment)

        with pytest.raises(OddKeyError, match="repo/n//x"):
            store.list()
        assert [one.path for one in store.list("m")] == ["m/1/x"]
        assert sorted(store.folders()) == ["m", "n"]
        bucket.delete("n//x")
        bucket.put("/x", b"odd")
        with pytest.raises(OddKeyError):
            store.folders()
        assert store.folders_but_odd_ones() == ["m"]


def test_what_a_store_says_is_one_line_that_can_be_acted_on(module_bucket: Bucket) -> None:
    url = f"s3://127.0.0.1:{module_bucket.endpoint.rpartition(':')[2]}/no-such-bucket/repo"
    store = open_store(parse_location(url), module_bucket.environment)

    with pytest.raises(StoreError) as caught:
        store.list()
    assert str(caught.value) == "NoSuchBucket: The specified bucket does not exist"


SECRETS = {"AWS_ACCESS_KEY_ID": "AKIDHUSH", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code>
<Message>The request signature we calculated does not match the signature you provided.</Message>
<AWSAccessKeyId>AKIDHUSH</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>"""
LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult><Name>bucket</Name><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>
<IsTruncated>false</IsTruncated><Contents><Key>repo/m/1/model</Key><Size>1000</Size>
<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;etag&quot;</ETag></Contents>
</ListBucketResult>"""


class _Answers(BaseHTTPRequestHandler):
    """Answers listings with what its server has, and sends half of every object."""

    def do_GET(self) -> None:
        is_listing = "list-type" in self.path
        status, text = self.server.listing if is_listing else (200, bytes(500))  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text) if is_listing else 1000))
        self.send_header("ETag", '"etag"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, listing: bytes) -> Iterator[ObjectStore]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.listing = (status, listing)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"s3://127.0.0.1:{server.server_port}/bucket/repo"
            yield open_store(parse_location(url), SECRETS)
        finally:
            server.shutdown()
            thread.join()


def test_credentials_that_are_refused_are_said_and_not_repeated() -> None:
    with answering(403, REFUSAL) as store, pytest.raises(StoreError) as caught:
        store.list()

    assert str(caught.value) == (
        "SignatureDoesNotMatch: "
        "The request signature we calculated does not match the signature you provided."
    )


def test_an_object_that_breaks_off_is_never_taken_for_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with answering(200, LISTING) as store:
        (one,) = store.list()
        assert one.size == 1000

        with pytest.raises(StoreError):
            Fetcher(is_cancelled=lambda: False).fetch(store, [Download(one, target)])


def test_a_store_that_cannot_be_reached_is_said() -> None:
    with Bucket() as bucket:
        store = open_store(parse_location(bucket.url), bucket.environment)

    with pytest.raises(StoreError, match="error sending request") as caught:
        store.list()
    assert str(caught.value) == (
        f"Generic S3 error: Error performing list request: Error performing GET"
        f" {bucket.endpoint}/{bucket.name} - HTTP error: error sending request"
    )
    with pytest.raises(StoreError, match="error sending request"):
        store.folders()


def test_credentials_that_cannot_be_had_are_a_store_that_fails() -> None:
    location = parse_location("gs://bucket/models")

    with pytest.raises(StoreError, match="No such file or directory"):
        open_store(location, {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/key.json"})
    with pytest.raises(StoreError, match="TRITON_CLOUD_CREDENTIAL_PATH"):
        open_store(location, {"TRITON_CLOUD_CREDENTIAL_PATH": "/nowhere/all.json"})


@pytest.mark.parametrize("url", ["as://account/container/x", "gs://bucket/x", "s3://bucket/x"])
def test_every_kind_of_store_can_be_made(url: str) -> None:
    environment = {"AZURE_STORAGE_KEY": "a2V5", "AWS_ACCESS_KEY_ID": "k"}

    assert isinstance(open_store(parse_location(url), environment), StoreOverObstore)


def test_the_address_in_a_url_wins_over_that_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Bucket() as bucket:
        bucket.put_all(FILES)
        nowhere = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
        for name, value in nowhere.items():
            monkeypatch.setenv(name, value)

        store = open_store(parse_location(bucket.url), {**bucket.environment, **nowhere})
        assert len(store.list()) == len(FILES)

        somewhere = {"AWS_ENDPOINT_URL_S3": bucket.endpoint}
        location = parse_location(f"s3://{bucket.name}/repo")
        store = open_store(location, {**bucket.environment, **somewhere})
        assert len(store.list()) == len(FILES)


def test_memory_is_the_process_own_and_each_prefix_a_repository() -> None:
    name = f"test-{next(_numbers)}"
    obstore.put(memory_store(name), "a/m/1/x", b"x")

    (one,) = open_store(parse_location(f"memory://{name}/a"), {}).list()
    assert (one.path, one.size) == ("m/1/x", 1)
    assert open_store(parse_location(f"memory://{name}/b"), {}).list() == []


def test_obstore_is_installed_here() -> None:
    check_package()
