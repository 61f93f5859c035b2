"""Where nobody follows the repositories: what is loaded is complete, and has a digest."""

from pathlib import Path

import pytest

from interlock.cli.main import main
from interlock.cli.manifest import FINE
from interlock.repository.digest import digest_files, version_digest
from interlock.repository.fingerprint import files_of
from interlock.repository.listing import list_model
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import LISTENING, STARTED
from tests.support.wire import (
    Client,
    eventually,
    server_process,
    serving,
)

SETTLE_S = 3
GIVEN_TIME = "models are given time to lie still"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_load_obeys_the_manifest_though_the_operator_says_it_is_complete(
    repository: Repository,
) -> None:
    repository.onnx("listed", onnx_small.add_constant(1.0))
    assert main(["manifest", str(repository.root / "listed")]) == FINE
    with serving(repository) as server, server.client() as client:
        client.load("listed")
        serves = client.index()
        repository.replace("listed", "1/model.onnx", onnx_small.add_constant(2.0))

        refusal = client.load_refusal("listed")

        assert "version 1 is not what manifest.json says: 1 of 2 files, 1/model.onnx" in (
            refusal.text
        )
        assert client.model_ready("listed")
        assert [entry[:3] for entry in client.index()] == [entry[:3] for entry in serves]

        assert main(["manifest", str(repository.root / "listed")]) == FINE
        client.load("listed")
        assert [entry[:3] for entry in client.index()] == [("listed", "1", "READY")]


def test_what_serves_has_a_digest_that_anybody_can_check(repository: Repository) -> None:
    repository.identity("plain")
    directory = repository.root / "plain"
    files = files_of(1, list_model(directory).entries)
    with serving(repository) as server, server.client() as client:
        client.load("plain")
        expected = version_digest(digest_files(directory, files))
        eventually(lambda: client.generations("plain")[-1].digest == expected)


@pytest.mark.parametrize("mode", [["none"], ["explicit", "--load-model=late"]], ids="-".join)
def test_a_file_that_is_being_written_at_the_start_is_waited_for(
    repository: Repository, mode: list[str]
) -> None:
    content = onnx_small.add_constant(1.0)
    repository.onnx("late", content)
    flags = [f"--model-control-mode={mode[0]}", *mode[1:], f"--repository-settle-secs={SETTLE_S}"]
    with (repository.root / "late" / "1" / "model.onnx").open("wb", buffering=0) as file:
        file.write(content[: len(content) // 2])
        with server_process(repository, *flags, wait_for=LISTENING) as process:
            process.wait_for_log(GIVEN_TIME)
            file.write(content[len(content) // 2 :])
            file.close()
            process.wait_for_log(STARTED)
            with Client(process.address) as client:
                assert client.model_ready("late")
            assert process.terminate() == 0
