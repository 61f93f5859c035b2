"""Poll mode: the repository changes in any way, and no client notices."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from interlock.pb import control_pb2 as pb
from interlock.repository.digest import digest_files
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import FILE, list_model
from interlock.repository.manifest import manifest_of, write
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    server_process,
)

FLAGS = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.2",
    "--repository-settle-secs=0.3",
    "--exit-on-error=false",
)
WITHIN_S = 20.0
BROKEN = onnx_small.add_constant(9.0)[:40]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One for all tests here; each has a model of its own, but for those that move the root."""
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def process(repository: Repository) -> Iterator[ServerProcess]:
    with server_process(repository, *FLAGS) as process:
        yield process


@pytest.fixture
def client(process: ServerProcess) -> Iterator[Client]:
    with Client(process.address) as client:
        yield client


def answer_of(client: Client, model: str) -> float:
    request = infer_request(model, given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def put(repository: Repository, model: str, version: int, constant: float) -> None:
    repository.replace(model, f"{version}/model.onnx", onnx_small.add_constant(constant))


def serve(repository: Repository, client: Client, model: str) -> Path:
    """Put a model there that answers 1, and wait until it does; return its directory."""
    directory = repository.onnx(model, onnx_small.add_constant(1.0))
    eventually(lambda: client.model_ready(model), within_s=WITHIN_S)
    return directory


def answers(client: Client, model: str, constant: float) -> None:
    eventually(lambda: answer_of(client, model) == constant, within_s=WITHIN_S)


def reason_of(client: Client, model: str, version: str) -> str:
    found = (row[3] for row in client.index() if row[:2] == (model, version))
    return next(found, "")


def says(client: Client, model: str, version: str, beginning: str) -> None:
    eventually(lambda: reason_of(client, model, version).startswith(beginning), within_s=WITHIN_S)


def ask(client: Client, method: str, **fields: str) -> Any:
    """Call Describe or Retry."""
    call = client.channel.unary_unary(
        f"/interlock.v1.Control/{method}",
        getattr(pb, f"{method}Request").SerializeToString,
        getattr(pb, f"{method}Response").FromString,
    )
    return call(getattr(pb, f"{method}Request")(**fields), timeout=TIMEOUT_S)


def refusal_of(client: Client, model: str, version: str = "") -> tuple[grpc.StatusCode, str]:
    """Return how a retry is refused."""
    with pytest.raises(grpc.RpcError) as error:
        ask(client, "Retry", model=model, version=version)
    return error.value.code(), error.value.details()


def version_of(client: Client, model: str, version: str) -> Any:
    described = ask(client, "Describe", model=model).versions
    return next(one for one in described if one.version == version)


def test_a_new_version_takes_over(repository: Repository, client: Client) -> None:
    serve(repository, client, "new")
    put(repository, "new", 2, 2.0)

    answers(client, "new", 2.0)


def test_a_file_of_an_older_time_is_a_change(repository: Repository, client: Client) -> None:
    model = serve(repository, client, "older")
    older = repository.root / ".older.onnx"
    older.write_bytes(onnx_small.add_constant(7.0))
    os.utime(older, (1_000_000_000, 1_000_000_000))
    shutil.copy2(older, model / "1" / "model.onnx")

    answers(client, "older", 7.0)


def test_a_broken_version_is_put_into_quarantine_until_it_is_repaired(
    repository: Repository, client: Client
) -> None:
    serve(repository, client, "broken")
    repository.replace("broken", "2/model.onnx", BROKEN)
    says(client, "broken", "2", "In")

    assert answer_of(client, "broken") == 1.0
    assert client.ready()
    told = version_of(client, "broken", "2")
    assert "; quarantined, next try in 1" in told.why_not_ready
    state = told.generations[-1].state
    assert (state.phase, state.failures) == (pb.PHASE_FAILED, 1)
    assert state.next_try.ToSeconds() - state.since.ToSeconds() == 15

    code, text = refusal_of(client, "broken", "2")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("load failed for model 'broken': version 2 is at UNAVAILABLE state: ")
    assert version_of(client, "broken", "2").generations[-1].state.failures == 2

    put(repository, "broken", 2, 2.0)
    answers(client, "broken", 2.0)


def test_nothing_is_tried_again_that_has_not_failed(repository: Repository, client: Client) -> None:
    serve(repository, client, "sound")

    assert refusal_of(client, "sound") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "nothing to try again: no version of model 'sound' has failed",
    )
    assert refusal_of(client, "sound", "7")[0] is grpc.StatusCode.NOT_FOUND
    assert refusal_of(client, "nobody")[0] is grpc.StatusCode.NOT_FOUND


def test_a_version_with_a_manifest_says_how_far_it_is(
    repository: Repository, client: Client
) -> None:
    model = serve(repository, client, "staged")
    complete = repository.root / ".complete"
    shutil.copytree(model, complete)
    (complete / "2").mkdir()
    (complete / "2" / "model.onnx").write_bytes(onnx_small.add_constant(2.0))
    (complete / "2" / "notes.txt").write_text("two")
    files = [entry for entry in list_model(complete).entries if entry.kind == FILE]
    write(manifest_of(digest_files(complete, files), [1, 2]), model / MANIFEST_FILE)
    watch = client.channel.unary_stream(
        "/interlock.v1.Control/Watch",
        pb.WatchRequest.SerializeToString,
        pb.WatchResponse.FromString,
    )(pb.WatchRequest(model="staged"), timeout=TIMEOUT_S)
    assert next(watch).HasField("snapshot")

    put(repository, "staged", 2, 2.0)
    arriving = next(event.staging for event in watch if event.staging.version == "2")
    watch.cancel()
    assert (arriving.phase, arriving.generation) == (pb.PHASE_STAGING, 0)
    assert arriving.reason.startswith("staging: ")
    eventually(
        lambda: version_of(client, "staged", "2").staging == "staging: 2 of 3 files",
        within_s=WITHIN_S,
    )
    assert version_of(client, "staged", "2").why_not_ready == "staging: 2 of 3 files"
    assert reason_of(client, "staged", "2") == "staging: 2 of 3 files"
    assert answer_of(client, "staged") == 1.0
    repository.replace("staged", "2/notes.txt", b"two")

    answers(client, "staged", 2.0)


def test_digests_are_told_once_they_have_been_made(repository: Repository, client: Client) -> None:
    serve(repository, client, "digested")

    eventually(
        lambda: len(version_of(client, "digested", "1").generations[0].digest) == 64,
        within_s=WITHIN_S,
    )
    assert version_of(client, "digested", "1").size_bytes > 0


@pytest.mark.parametrize("what", ["", "1"], ids=["the model", "its last version"])
def test_what_is_deleted_is_unloaded_and_may_come_back(
    repository: Repository, client: Client, what: str
) -> None:
    name = f"deleted{what}"
    model = serve(repository, client, name)
    shutil.rmtree(model / what)
    eventually(lambda: not client.model_ready(name), within_s=WITHIN_S)
    repository.onnx(name, onnx_small.add_constant(3.0))
    eventually(lambda: client.model_ready(name), within_s=WITHIN_S)

    assert answer_of(client, name) == 3.0


def test_a_root_that_goes_and_returns_unloads_nothing(
    repository: Repository, client: Client, process: ServerProcess
) -> None:
    serve(repository, client, "rooted")
    aside = repository.root.with_name("aside")
    repository.root.rename(aside)
    process.wait_for_log("model repository cannot be listed", within_s=WITHIN_S)
    assert answer_of(client, "rooted") == 1.0
    (aside / "rooted" / "2").mkdir()
    (aside / "rooted" / "2" / "model.onnx").write_bytes(onnx_small.add_constant(2.0))
    aside.rename(repository.root)
    process.wait_for_log("model repository can be listed again", within_s=WITHIN_S)

    answers(client, "rooted", 2.0)


def test_a_dangling_link_costs_that_entry_only(repository: Repository, client: Client) -> None:
    serve(repository, client, "linked")
    nowhere = repository.root / "nowhere"
    (repository.root / "dangling").symlink_to(nowhere)
    (repository.root / "linked" / "3").symlink_to(nowhere)
    put(repository, "linked", 2, 2.0)

    answers(client, "linked", 2.0)
    (repository.root / "dangling").unlink()


def three_versions(root: Path) -> Repository:
    """Version 3 is broken, the two others are good."""
    repository = Repository(root)
    repository.onnx("m", onnx_small.add_constant(1.0))
    put(repository, "m", 2, 2.0)
    repository.replace("m", "3/model.onnx", BROKEN)
    return repository


def test_the_next_newest_serves_where_the_newest_is_broken_at_start(tmp_path: Path) -> None:
    repository = three_versions(tmp_path)
    with server_process(repository, *FLAGS) as process, Client(process.address) as client:
        assert answer_of(client, "m") == 2.0
        assert reason_of(client, "m", "2") == "serves in the place of version 3, which failed"
        assert reason_of(client, "m", "3").startswith("In")
        put(repository, "m", 3, 3.0)
        answers(client, "m", 3.0)
        eventually(lambda: not client.model_ready("m", "2"), within_s=WITHIN_S)


def test_without_fallback_nothing_takes_its_place(tmp_path: Path) -> None:
    repository = three_versions(tmp_path)
    flags = ("--version-fallback=false", "--exit-on-error=false")
    with server_process(repository, *flags) as process, Client(process.address) as client:
        assert reason_of(client, "m", "3").startswith("In")
        assert not client.model_ready("m")

        put(repository, "m", 3, 3.0)
        ask(client, "Retry", model="m")
        assert answer_of(client, "m") == 3.0


def test_a_custom_configuration_comes_changes_and_goes(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    plain = (repository.onnx("m", onnx_small.add_constant(1.0)) / "config.pbtxt").read_text()
    put(repository, "m", 2, 2.0)

    with (
        server_process(repository, *FLAGS, "--model-config-name=custom") as process,
        Client(process.address) as client,
    ):
        answers(client, "m", 2.0)
        for version in (1, 2, 1):
            policy = f"version_policy {{ specific {{ versions: [ {version} ] }} }}"
            repository.replace("m", "configs/custom.pbtxt", f"{plain} {policy}".encode())
            answers(client, "m", float(version))
        (repository.root / "m" / "configs" / "custom.pbtxt").unlink()
        answers(client, "m", 2.0)
        assert client.ready()
