"""Models that are encrypted, listed and signed: from the publisher's command line to answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.publishing import STEPS, Publisher, naming
from tests.support.wire import (
    Client,
    WireServer,
    answer_to_zero,
    eventually,
    server_process,
    serving,
)

POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.3",
    "--repository-settle-secs=0.2",
)
WITHIN_S = 20.0
ALL = naming("checksum", "signature", "decrypt")


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture(scope="module")
def server(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    with serving(repository, *publisher.flags) as server:
        yield server


def reasons(client: Client, model: str = "sealed") -> str:
    return " ".join(row[3] for row in client.index() if row[0] == model)


def test_what_is_encrypted_then_listed_then_signed_serves(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    folder = server.repository.onnx("sealed", onnx_small.add_constant(1), extra=ALL)
    publisher.do(folder, *STEPS)

    client.load("sealed")

    assert answer_to_zero(client, "sealed") == 1
    assert "backend" not in (folder / "config.pbtxt").read_text()


def test_what_is_listed_after_it_was_signed_is_refused_with_the_right_order(
    server: WireServer, client: Client, publisher: Publisher
) -> None:
    folder = server.repository.onnx("hasty", onnx_small.add_constant(1), extra=ALL)
    publisher.do(folder, "encrypt", "sign", "manifest")

    refusal = client.load_refusal("hasty")

    assert "there and not signed: manifest.json (sign again: 'interlock sign' " in refusal.text
    publisher.do(folder, "sign")
    client.load("hasty")
    assert answer_to_zero(client, "hasty") == 1


def test_a_version_that_is_published_step_by_step_serves_after_the_last_one(
    publisher: Publisher, tmp_path: Path
) -> None:
    repository = Repository(tmp_path)
    folder = repository.onnx("sealed", onnx_small.add_constant(1), extra=ALL)
    publisher.do(folder, *STEPS)
    flags = (*POLL, *publisher.flags)
    with server_process(repository, *flags) as process, Client(process.address) as client:
        assert answer_to_zero(client, "sealed") == 1

        repository.replace("sealed", "2/model.onnx", onnx_small.add_constant(2))
        publisher.do(folder, "encrypt", "manifest")
        eventually(
            lambda: "model.sig: version 2 is not signed" in reasons(client), within_s=WITHIN_S
        )
        assert answer_to_zero(client, "sealed") == 1

        publisher.do(folder, "sign")
        eventually(lambda: answer_to_zero(client, "sealed") == 2, within_s=WITHIN_S)
        eventually(lambda: "model.sig" not in reasons(client), within_s=WITHIN_S)
        assert process.terminate() == 0
