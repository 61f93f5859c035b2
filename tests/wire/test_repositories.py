"""Several repositories: duplicate names, and --model-namespacing (spec/lifecycle.md 1.9)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import (
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    invalid,
    server_process,
)

TWICE = "model appears in two or more repositories"
NOT_UNIQUE = "failed to poll model 'both': not unique across all model repositories"
AMBIGUOUS = (
    "There are 2 identifiers of model 'both' in global map, model namespace must be provided to "
    "resolve ambiguity."
)
POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.5",
    "--repository-settle-secs=0.1",
)
EXPLICIT = "--model-control-mode=explicit"
TOLERANT = "--exit-on-error=false"
WITHIN_S = 20.0


def adder(repository: Repository, model: str, constant: float) -> None:
    repository.onnx(model, onnx_small.add_constant(constant))


@pytest.fixture
def first(tmp_path: Path) -> Repository:
    (tmp_path / "first").mkdir()
    repository = Repository(tmp_path / "first")
    adder(repository, "both", 1.0)
    return repository


@pytest.fixture
def second(tmp_path: Path) -> Repository:
    (tmp_path / "second").mkdir()
    repository = Repository(tmp_path / "second")
    adder(repository, "alone", 2.0)
    return repository


@contextmanager
def started(
    first: Repository, second: Repository, *flags: str
) -> Iterator[tuple[ServerProcess, Client]]:
    with server_process(first, f"--model-repository={second.root}", *flags) as process:
        with Client(process.address) as client:
            yield process, client
        assert process.terminate() == 0


def answer_of(client: Client, model: str) -> float:
    request = infer_request(model, given("x", np.zeros(1, "<f4")))
    return float(arrays(client.infer(request))["y"][0])


def refusal_of(client: Client, model: str) -> tuple[str, str]:
    return client.infer_refusal(infer_request(model, given("x", np.zeros(1, "<f4"))))


def test_a_duplicate_is_refused_and_disturbs_nothing(first: Repository, second: Repository) -> None:
    adder(second, "both", 3.0)

    with started(first, second, TOLERANT) as (process, client):
        assert answer_of(client, "alone") == 2.0
        assert ("both", "", "UNAVAILABLE", TWICE) in client.index()
        assert refusal_of(client, "both")[0] == "NOT_FOUND"
        process.wait_for_log(NOT_UNIQUE)
        assert client.ready()  # a failed poll never counts


def test_a_duplicate_ends_the_start(first: Repository, second: Repository) -> None:
    adder(second, "both", 3.0)

    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(first, f"--model-repository={second.root}"),
    ):
        pass

    assert NOT_UNIQUE in str(failed.value)


def test_a_repository_that_is_given_twice_has_no_duplicates(first: Repository) -> None:
    with started(first, Repository(first.root / ".")) as (_, client):
        assert client.index() == [("both", "1", "READY", "")]


def test_a_model_that_becomes_a_duplicate_goes_on_serving(
    first: Repository, second: Repository
) -> None:
    with started(first, second, EXPLICIT, "--load-model=both") as (_, client):
        adder(second, "both", 3.0)

        code, text = client.load_refusal("both")
        assert code == "INTERNAL"
        assert text.startswith("failed to load 'both', failed to poll from model repository")
        assert answer_of(client, "both") == 1.0
        eventually(lambda: ("both", "", "UNAVAILABLE", TWICE) in client.index(), within_s=WITHIN_S)
        assert ("both", "1", "READY") in [row[:3] for row in client.index()]
        assert client.ready()


def test_a_model_that_becomes_a_duplicate_goes_on_serving_in_poll_mode(
    first: Repository, second: Repository
) -> None:
    with started(first, second, *POLL) as (process, client):
        adder(second, "both", 3.0)

        process.wait_for_log(NOT_UNIQUE)
        assert answer_of(client, "both") == 1.0
        assert client.ready()
        shutil.rmtree(first.root / "both")
        eventually(lambda: answer_of(client, "both") == 3.0, within_s=WITHIN_S)


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_with_namespacing_both_serve_and_are_told_apart(
    first: Repository, second: Repository, mode: str
) -> None:
    adder(second, "both", 3.0)

    flags = ("--model-namespacing=true", f"--model-control-mode={mode}")
    with started(first, second, *flags) as (_, client):
        assert client.index() == [
            ("alone", "1", "READY", ""),
            ("first::both", "1", "READY", ""),
            ("second::both", "1", "READY", ""),
        ]
        assert answer_of(client, "alone") == 2.0
        assert answer_of(client, "first::both") == 1.0
        assert answer_of(client, "second::both") == 3.0
        assert refusal_of(client, "both") == invalid(AMBIGUOUS)
        assert client.model_ready("second::both")
        assert client.ready()


def test_with_namespacing_models_are_loaded_and_unloaded_by_their_qualified_names(
    first: Repository, second: Repository
) -> None:
    adder(second, "both", 3.0)

    with started(first, second, "--model-namespacing=true", EXPLICIT) as (_, client):
        code, text = client.load_refusal("both")
        assert code == "INTERNAL"
        assert text.endswith(AMBIGUOUS)
        client.load("second::both")
        assert answer_of(client, "both") == 3.0  # one identifier: the bare name is enough
        client.load("first::both")
        assert refusal_of(client, "both") == invalid(AMBIGUOUS)
        client.unload("first::both")
        assert answer_of(client, "second::both") == 3.0
        gone = ("first::both", "1", "UNAVAILABLE", "unloaded")
        eventually(lambda: gone in client.index(), within_s=WITHIN_S)


def test_with_namespacing_a_name_is_bare_again_when_it_is_the_only_one(
    first: Repository, second: Repository
) -> None:
    adder(second, "both", 3.0)

    with started(first, second, "--model-namespacing=true", *POLL) as (_, client):
        assert refusal_of(client, "both") == invalid(AMBIGUOUS)

        shutil.rmtree(first.root / "both")

        eventually(lambda: ("both", "1", "READY", "") in client.index(), within_s=WITHIN_S)
        assert answer_of(client, "both") == 3.0
