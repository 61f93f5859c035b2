"""Servers whose models lie in an object store, as processes: S3's protocol, on loopback."""

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interlock.repository.cloud.budget import SPARE_BYTES
from interlock.repository.digest import digest_files
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import FILE, list_model
from interlock.repository.manifest import manifest_of, render
from tests.support import onnx_small
from tests.support.models import Port, parameter, tensor
from tests.support.object_stores import Bucket
from tests.support.server_process import ServerProcess
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    transport_flags,
)

WITHIN_S = 30.0
POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.5",
    "--repository-settle-secs=0.2",
)
MANIFEST = f"adder/{MANIFEST_FILE}"
SERVING: int = health_pb2.HealthCheckResponse.SERVING
EXPLICIT = ("--model-control-mode=explicit", "--repository-poll-secs=0.5")
CONFIG = "\n".join(
    [
        'backend: "onnxruntime"',
        "instance_group [{ count: 1 kind: KIND_CPU }]",
        parameter("intra_op_thread_count", "1"),
        tensor("input", "x", Port(name="x")),
        tensor("output", "y", Port(name="y")),
    ]
).encode()


def adder(constant: float) -> bytes:
    return onnx_small.add_constant(constant)


def put_adder(bucket: Bucket, name: str, constant: float) -> None:
    bucket.put(f"{name}/config.pbtxt", CONFIG)
    bucket.put(f"{name}/1/model.onnx", adder(constant))


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as bucket:
        put_adder(bucket, "adder", 1.0)
        yield bucket


@contextmanager
def started(
    bucket: Bucket, scratch: Path, *flags: str, url: str = "", **start: Any
) -> Iterator[ServerProcess]:
    arguments = [
        f"--model-repository={url or bucket.url}",
        f"--scratch-directory={scratch}",
        *transport_flags(),
        *flags,
    ]
    process = ServerProcess.start(arguments, **{"env": bucket.environment, **start})
    try:
        yield process
    finally:
        if process.exit_code is None:
            process.kill()


def answer_of(client: Client, model: str = "adder") -> float:
    """What an adding model answers for 0: its constant."""
    request = infer_request(model, given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def mirrored(scratch: Path) -> set[str]:
    return {path.name for path in scratch.glob("interlock-scratch-*/cloud-*/models/*/*/repo/*")}


def repositories_listed(client: Client) -> bool:
    """What health says of all repositories together."""
    request = health_pb2.HealthCheckRequest(service="interlock.repository")
    stub = health_pb2_grpc.HealthStub(client.channel)
    status: int = stub.Check(request, timeout=TIMEOUT_S).status
    return status == SERVING


class Traffic:
    """Requests without a pause, for as long as the `with` lasts; `answers` is what came."""

    def __init__(self, address: str) -> None:
        self.answers: set[float] = set()
        self.sent = 0
        self._address = address
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._errors: list[Exception] = []

    def _send(self) -> None:
        try:
            with Client(self._address) as client:
                while not self._ending.wait(0.002):
                    self.answers.add(answer_of(client))
                    self.sent += 1
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._errors.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        assert not self._errors


def test_agents_see_what_was_fetched(bucket: Bucket, tmp_path: Path) -> None:
    def put(constant: float, expected: float) -> None:
        digest = hashlib.sha256(adder(expected)).hexdigest()
        agent = f'name: "checksum" parameters {{ key: "SHA256:1/model.onnx" value: "{digest}" }}'
        agents = f"model_repository_agents {{ agents [ {{ {agent} }} ] }}"
        bucket.put("adder/1/model.onnx", adder(constant))
        bucket.put("adder/config.pbtxt", CONFIG + b"\n" + agents.encode())

    put(1.0, 1.0)
    with started(bucket, tmp_path, *EXPLICIT) as process, Client(process.address) as client:
        client.load("adder")
        assert answer_of(client) == 1.0

        put(2.0, 3.0)
        refusal = client.load_refusal("adder")
        assert "Mismatched SHA256 hash for file 1/model.onnx" in refusal.text
        assert answer_of(client) == 1.0

        put(3.0, 3.0)
        client.load("adder")
        assert answer_of(client) == 3.0
        assert process.terminate() == 0
    assert not list(tmp_path.iterdir())


def test_explicit_mode_fetches_what_is_loaded_and_nothing_else(
    bucket: Bucket, tmp_path: Path
) -> None:
    put_adder(bucket, "other", 7.0)
    with started(bucket, tmp_path, *EXPLICIT) as process, Client(process.address) as client:
        assert {row[0] for row in client.index()} == {"adder", "other"}
        assert mirrored(tmp_path) == set()

        client.load("adder")
        assert answer_of(client) == 1.0
        assert mirrored(tmp_path) == {"adder"}

        bucket.put("adder/1/model.onnx", adder(2.0))
        assert answer_of(client) == 1.0
        client.load("adder")
        assert answer_of(client) == 2.0

        loads = process.log.count("to=loading")
        client.load("adder")
        assert process.log.count("to=loading") == loads

        bucket.put("third/1/model.onnx", adder(3.0))
        eventually(lambda: "third" in {row[0] for row in client.index()}, within_s=WITHIN_S)
        client.unload("adder")
        assert process.terminate() == 0
    assert not list(tmp_path.iterdir())


def test_explicit_mode_keeps_serving_what_it_has_when_the_store_is_down(
    bucket: Bucket, tmp_path: Path
) -> None:
    flags = (*EXPLICIT, "--load-model=adder")
    with started(bucket, tmp_path, *flags) as process, Client(process.address) as client:
        bucket.shut()

        refusal = client.load_refusal("adder")
        assert f"{bucket.url}/adder: " in refusal.text
        assert "error sending request" in refusal.text
        assert answer_of(client) == 1.0
        assert client.ready()

        bucket.open()
        bucket.put("adder/1/model.onnx", adder(2.0))
        client.load("adder")
        assert answer_of(client) == 2.0

        bucket.delete("adder/1/model.onnx", "adder/config.pbtxt")
        assert "failed to poll from model repository" in client.load_refusal("adder").text
        assert answer_of(client) == 2.0


def test_a_cache_that_is_full_refuses_a_load_and_keeps_what_serves(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("big/1/model.onnx", bytes(100_000))
    flags = (*EXPLICIT, "--load-model=adder", "--cloud-cache-bytes=50000")
    with started(bucket, tmp_path, *flags) as process, Client(process.address) as client:
        refusal = client.load_refusal("big")

        assert "big: needs 100000 bytes more than the " in refusal.text
        assert "--cloud-cache-bytes is 50000" in refusal.text
        assert answer_of(client) == 1.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for little more than what is left to others. Only root may."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SPARE_BYTES + (1 << 20)}", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_disk_that_is_full_refuses_a_load_and_keeps_what_serves(
    bucket: Bucket, small_disk: Path
) -> None:
    bucket.put("big/1/model.onnx", bytes(2 << 20))
    flags = (*EXPLICIT, "--load-model=adder")
    with started(bucket, small_disk, *flags) as process, Client(process.address) as client:
        refusal = client.load_refusal("big")

        assert "big: needs 2097152 bytes, and " in refusal.text
        assert "(see --scratch-directory)" in refusal.text
        assert mirrored(small_disk) == {"adder"}
        assert answer_of(client) == 1.0


def test_poll_mode_follows_the_bucket_and_no_request_fails(bucket: Bucket, tmp_path: Path) -> None:
    with (
        started(bucket, tmp_path, *POLL) as process,
        Client(process.address) as client,
        Traffic(process.address) as traffic,
    ):
        assert answer_of(client) == 1.0

        bucket.put("adder/2/model.onnx", adder(2.0))
        eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)

        bucket.put("adder/2/model.onnx", adder(4.0))  # of the same size
        eventually(lambda: answer_of(client) == 4.0, within_s=WITHIN_S)

        bucket.put("adder/3/model.onnx", adder(3.0)[:40])
        eventually(lambda: reason_of(client, "3") != "", within_s=WITHIN_S)
        assert answer_of(client) == 4.0

        bucket.put("adder/../../evil", b"evil")
        bucket.put("other/1/model.onnx", adder(9.0))
        bucket.put("other/config.pbtxt", CONFIG)
        eventually(lambda: client.model_ready("other"), within_s=WITHIN_S)
        assert "evil" in process.wait_for_log(r"cannot be looked at.*", within_s=WITHIN_S)[0]
        bucket.delete("adder/../../evil")

        bucket.delete("adder/2/model.onnx", "adder/3/model.onnx")
        eventually(lambda: answer_of(client) == 1.0, within_s=WITHIN_S)
    assert traffic.sent > 0
    assert traffic.answers <= {1.0, 2.0, 4.0}


def test_a_version_that_is_being_uploaded_is_not_touched_and_is_loaded_once(
    bucket: Bucket, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    for version in (1, 2):
        (model / str(version)).mkdir(parents=True)
        (model / str(version) / "model.onnx").write_bytes(adder(float(version)))
    (model / "2" / "notes.txt").write_text("two")
    (model / "config.pbtxt").write_bytes(CONFIG)
    files = [entry for entry in list_model(model).entries if entry.kind == FILE]
    with started(bucket, tmp_path, *POLL) as process, Client(process.address) as client:
        bucket.put(MANIFEST, render(manifest_of(digest_files(model, files), [1, 2])))
        bucket.put("adder/2/model.onnx", adder(2.0))
        eventually(lambda: reason_of(client, "2").startswith("staging: "), within_s=WITHIN_S)
        assert answer_of(client) == 1.0
        assert "version=2" not in process.log

        bucket.put("adder/2/notes.txt", b"two")
        eventually(lambda: answer_of(client) == 2.0, within_s=WITHIN_S)
        bucket.put("other/config.pbtxt", b"")  # another look has been taken when this shows
        eventually(lambda: "other" in {row[0] for row in client.index()}, within_s=WITHIN_S)
        assert process.log.count("model=adder version=2 generation=") == len(
            ("loading", "proving", "ready")
        )


def test_no_secret_is_in_a_log_or_in_the_arguments(bucket: Bucket, tmp_path: Path) -> None:
    keys = {"key_id": "AKIDHUSH", "secret_key": "hush-hush"}
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps({"s3": {bucket.url: keys}}))
    environment = {"TRITON_CLOUD_CREDENTIAL_PATH": str(file), "AWS_SESSION_TOKEN": "hush-token"}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    flags = (*EXPLICIT, "--load-model=adder", "--log-verbose=2")
    with (
        started(bucket, scratch, *flags, env=environment) as process,
        Client(process.address) as client,
    ):
        assert answer_of(client) == 1.0
        bucket.shut()
        file.write_text("{hush-hush")
        refusals = [client.load_refusal("adder").text for _ in range(2)]
        told = Path(f"/proc/{process.pid}/cmdline").read_text() + process.log + "".join(refusals)
        bucket.open()

    assert "error sending request" in refusals[0]
    assert "is not JSON" in refusals[1]  # credentials are read anew after a failure
    assert "hush" not in told.lower()


def test_poll_mode_keeps_serving_while_the_store_is_down_and_unloads_what_has_gone(
    bucket: Bucket, tmp_path: Path
) -> None:
    with started(bucket, tmp_path, *POLL) as process, Client(process.address) as client:
        with Traffic(process.address) as traffic:
            bucket.shut()
            process.wait_for_log("model repository cannot be listed", within_s=WITHIN_S)
            assert client.ready()
            assert not repositories_listed(client)
            assert {row[0] for row in client.index()} == {"adder"}
            bucket.open()
            process.wait_for_log("model repository can be listed again", within_s=WITHIN_S)
            assert repositories_listed(client)
        assert traffic.answers == {1.0}

        bucket.delete("adder/1/model.onnx", "adder/config.pbtxt")
        eventually(lambda: not client.model_ready("adder"), within_s=WITHIN_S)
        assert process.terminate() == 0


def test_a_store_that_is_down_at_the_start_is_made_up_for_in_poll_mode(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.shut()
    flags = (*POLL, "--exit-on-error=false", "--required-model=adder")
    with started(bucket, tmp_path, *flags) as process, Client(process.address) as client:
        assert not client.ready()
        assert not client.live()
        assert not repositories_listed(client)
        process.wait_for_log("required model 'adder' is not in any model repository")

        bucket.open()
        eventually(client.ready, within_s=WITHIN_S)
        eventually(client.live, within_s=WITHIN_S)
        assert answer_of(client) == 1.0
        eventually(lambda: repositories_listed(client), within_s=WITHIN_S)


def test_a_store_that_was_down_at_the_start_stays_missed_where_models_are_loaded_once(
    bucket: Bucket, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bucket.shut()
    flags = ("--exit-on-error=false", f"--model-repository={local}", "--repository-poll-secs=0.5")
    with started(bucket, scratch, *flags) as process, Client(process.address) as client:
        bucket.open()
        eventually(lambda: {row[0] for row in client.index()} == {"adder"}, within_s=WITHIN_S)
        assert repositories_listed(client)
        assert client.live()  # the folder could be listed
        assert not client.ready()
        assert f"{bucket.url}: " in process.wait_for_log(r"not ready: .*", within_s=WITHIN_S)[0]


@pytest.mark.parametrize("flags", [(), EXPLICIT, POLL], ids=["none", "explicit", "poll"])
def test_models_of_one_name_in_two_stores_are_told_apart_by_the_ends_of_the_urls(
    bucket: Bucket, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with Bucket() as other:
        put_adder(other, "adder", 5.0)
        put_adder(other, "single", 6.0)
        models = [f"{one.name}.repo::adder" for one in (bucket, other)]
        both = (f"--model-repository={other.url}", "--model-namespacing=true", *flags)
        with started(bucket, tmp_path, *both) as process, Client(process.address) as client:
            for model in (*models, "single") if flags == EXPLICIT else ():
                client.load(model)

            assert [answer_of(client, model) for model in models] == [1.0, 5.0]
            assert answer_of(client, "single") == 6.0
            assert {row[0] for row in client.index()} == {*models, "single"}
            if flags == EXPLICIT:
                assert "There are 2 identifiers of model" in client.load_refusal("adder").text
            assert process.terminate() == 0


def test_a_name_in_two_stores_is_refused_without_namespacing(
    bucket: Bucket, tmp_path: Path
) -> None:
    with Bucket() as other:
        put_adder(other, "adder", 5.0)
        both = (*EXPLICIT, f"--model-repository={other.url}")
        with started(bucket, tmp_path, *both) as process, Client(process.address) as client:
            assert [row[3] for row in client.index()] == [
                "model appears in two or more repositories"
            ]
            assert "not unique across all model repositories" in client.load_refusal("adder").text


def test_every_model_of_a_store_is_loaded_where_all_are_asked_for(
    bucket: Bucket, tmp_path: Path
) -> None:
    put_adder(bucket, "other", 7.0)
    flags = (*EXPLICIT, "--load-model=*")
    with started(bucket, tmp_path, *flags) as process, Client(process.address) as client:
        assert answer_of(client) == 1.0
        assert answer_of(client, "other") == 7.0

        bucket.put("adder/1/model.onnx", adder(2.0))
        client.load("adder")
        assert answer_of(client) == 2.0


@pytest.mark.parametrize("named_by", ["url", "variable"])
def test_mode_none_serves_all_that_was_there_at_the_start(
    bucket: Bucket, tmp_path: Path, named_by: str
) -> None:
    put_adder(bucket, "other", 7.0)
    url, environment = bucket.url, bucket.environment
    if named_by == "variable":
        url = f"s3://{bucket.name}/repo"
        environment["AWS_ENDPOINT_URL"] = bucket.endpoint
    with (
        started(bucket, tmp_path, url=url, env=environment) as process,
        Client(process.address) as client,
    ):
        bucket.put("late/1/model.onnx", adder(3.0))

        assert answer_of(client) == 1.0
        assert answer_of(client, "other") == 7.0
        assert {row[0] for row in client.index()} == {"adder", "other"}
        assert process.terminate() == 0


@pytest.mark.parametrize("flags", [(), POLL], ids=["none", "poll"])
def test_a_store_that_is_down_at_the_start_is_an_error_that_names_it(
    bucket: Bucket, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    bucket.shut()
    with started(bucket, tmp_path, *flags, wait_for="(Listening on)") as process:
        assert process.wait_for_exit() == 1
        assert f"{bucket.url}: " in process.log
    assert not list(tmp_path.iterdir())
    bucket.open()


@pytest.mark.parametrize("flags", [(), POLL], ids=["none", "poll"])
def test_a_store_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WITHIN_S)
        arguments = [
            f"--model-repository=s3://127.0.0.1:{silent.getsockname()[1]}/bucket/repo",
            f"--scratch-directory={tmp_path}",
            *transport_flags(),
            *flags,
        ]
        environment = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        with ServerProcess.start(arguments, env=environment, wait_for="(Listening on)") as process:
            connection, _ = silent.accept()
            with connection:
                assert process.terminate() == 0
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_server_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['obstore'] = None; from interlock.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    with ServerProcess.start(
        ["--model-repository=s3://bucket/models"],
        program=[sys.executable, "-c", program],
        wait_for="(not installed)",
    ) as process:
        assert process.wait_for_exit() == 1
        assert "pip install 'interlock[cloud]'" in process.log


def reason_of(client: Client, version: str) -> str:
    return next((row[3] for row in client.index() if row[:2] == ("adder", version)), "")
