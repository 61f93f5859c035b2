"""Load, unload and index models: spec/protocol.md 11."""

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.wire import (
    Client,
    ParameterValue,
    Refusal,
    WireServer,
    arrays,
    eventually,
    given,
    infer_request,
    invalid,
    load_request,
    server_process,
    serving,
    set_parameters,
    unavailable,
)

NOT_ALLOWED = (
    "explicit model load / unload is not allowed if polling is enabled: the model control mode is "
    "none; start the server with --model-control-mode=explicit, or with --allow-explicit-control"
)
NO_NAME = "Model name cannot be empty. Please enter a valid name to deploy."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("first")
    with serving(repository) as server:
        yield server


@pytest.fixture(scope="module")
def none_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server in mode none."""
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("first")
    with server_process(repository, "--model-control-mode=none") as process:
        with Client(process.address) as client:
            yield client
        assert process.terminate() == 0


@pytest.fixture
def repository(server: WireServer) -> Repository:
    return server.repository


def rows(client: Client, model: str) -> list[tuple[str, str, str]]:
    """What the index says of a model: version, state, reason."""
    return [row[1:] for row in client.index() if row[0] == model]


def answer_of(client: Client, model: str, version: str = "") -> float:
    """What an adding model answers for 0: its constant."""
    request = infer_request(model, given("x", np.zeros(1, "<f4")), version=version)
    return float(arrays(client.infer(request))["y"][0])


def test_a_model_that_was_never_loaded_is_listed_by_name(
    repository: Repository, client: Client
) -> None:
    repository.identity("never")

    eventually(lambda: rows(client, "never") == [("", "", "")])
    assert ("never", "", "", "") not in client.index(ready=True)


def test_a_loaded_model_serves_and_is_ready(repository: Repository, client: Client) -> None:
    repository.identity("loaded", versions=(1, 2), extra="version_policy { all {} }")

    client.load("loaded")

    assert rows(client, "loaded") == [("1", "READY", ""), ("2", "READY", "")]
    assert client.model_ready("loaded")


def test_the_index_is_ordered_by_name_then_by_number(
    repository: Repository, client: Client
) -> None:
    repository.identity("b", versions=(10, 9), extra="version_policy { all {} }")
    repository.identity("a")
    client.load("b")
    client.load("a")

    index = [(name, version) for name, version, _, _ in client.index(ready=True)]

    assert index == sorted(index, key=lambda row: (row[0], int(row[1])))
    assert [row for row in index if row[0] == "b"] == [("b", "9"), ("b", "10")]


def test_an_unloaded_model_is_unavailable_and_says_so(
    repository: Repository, client: Client
) -> None:
    repository.identity("leaving")
    client.load("leaving")

    client.unload("leaving")

    assert not client.model_ready("leaving")
    eventually(lambda: rows(client, "leaving") == [("1", "UNAVAILABLE", "unloaded")])


def test_the_log_tells_of_each_version_that_is_unloaded(
    repository: Repository, client: Client, server: WireServer
) -> None:
    """L0_lifecycle counts these lines."""
    repository.identity("told", versions=(1, 2), extra="version_policy { all {} }")
    client.load("told")

    client.unload("told")

    for version in (1, 2):
        server.process.wait_for_log(f"successfully unloaded 'told' version {version}")


def test_an_unloaded_model_can_come_back(repository: Repository, client: Client) -> None:
    repository.identity("back")
    for _ in range(3):
        client.load("back")
        assert client.model_ready("back")
        client.unload("back")
        assert not client.model_ready("back")


def test_unload_returns_before_the_drain_is_over(repository: Repository, client: Client) -> None:
    repository.identity("busy", parameters={"execute_delay_ms": "700"})
    client.load("busy")
    call = client.start(infer_request("busy", given("INPUT0", np.ones(1, "<f4")), id="in"))
    # On the same connection, and so behind the call: when these are answered, it has arrived.
    for _ in range(10):
        client.infer(infer_request("first", given("INPUT0", np.ones(1, "<f4"))))

    client.unload("busy")

    assert not call.done()
    assert rows(client, "busy")[0][:2] == ("1", "UNLOADING")
    assert client.ready()
    assert call.result().id == "in"
    eventually(lambda: rows(client, "busy") == [("1", "UNAVAILABLE", "unloaded")])


def test_loading_what_has_not_changed_does_nothing(repository: Repository, client: Client) -> None:
    repository.identity("same")
    client.load("same")
    client.infer(infer_request("same", given("INPUT0", np.ones(1, "<f4"))))

    client.load("same")

    assert client.statistics("same").inference_count == 1


def test_a_changed_model_takes_over(repository: Repository, client: Client) -> None:
    repository.onnx("changing", onnx_small.add_constant(1))
    client.load("changing")
    assert answer_of(client, "changing") == 1

    repository.replace("changing", "1/model.onnx", onnx_small.add_constant(2))
    assert answer_of(client, "changing") == 1  # until somebody asks
    client.load("changing")

    assert answer_of(client, "changing") == 2
    assert rows(client, "changing") == [("1", "READY", "")]


def test_a_new_version_takes_over_from_the_latest(repository: Repository, client: Client) -> None:
    repository.onnx("growing", onnx_small.add_constant(1))
    client.load("growing")

    repository.replace("growing", "2/model.onnx", onnx_small.add_constant(2))
    client.load("growing")

    assert answer_of(client, "growing") == 2
    assert rows(client, "growing")[-1] == ("2", "READY", "")
    eventually(lambda: rows(client, "growing")[0] == ("1", "UNAVAILABLE", "unloaded"))


def test_a_successor_that_fails_leaves_the_old_one_serving(
    repository: Repository, client: Client
) -> None:
    repository.onnx("stays", onnx_small.add_constant(1))
    client.load("stays")

    repository.replace("stays", "1/model.onnx", b"this is no graph")
    refusal = client.load_refusal("stays")

    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.text.startswith("load failed for model 'stays': version 1 is at ")
    assert answer_of(client, "stays") == 1
    assert ("1", "READY") in [row[:2] for row in rows(client, "stays")]
    assert client.ready()


def test_a_model_that_fails_says_why_and_leaves_the_others_serving(
    repository: Repository, client: Client
) -> None:
    repository.onnx("bad", b"this is no graph")

    code, text = client.load_refusal("bad")

    assert code == "INVALID_ARGUMENT"
    assert text.startswith(
        "load failed for model 'bad': version 1 is at UNAVAILABLE state: Internal: "
    )
    assert text.endswith(";\n")
    ((version, state, reason),) = rows(client, "bad")
    assert (version, state) == ("1", "UNAVAILABLE")
    assert reason.startswith("Internal: onnx runtime error ")
    assert reason in text
    assert not client.ready()
    assert client.infer(infer_request("first", given("INPUT0", np.ones(1, "<f4")))).outputs
    client.unload("bad")
    assert client.ready()


def test_a_model_without_its_file_is_unavailable(repository: Repository, client: Client) -> None:
    folder = repository.onnx("empty", b"")
    (folder / "1" / "model.onnx").unlink()

    code, text = client.load_refusal("empty")

    assert code == "INVALID_ARGUMENT"
    assert "version 1 is at UNAVAILABLE state: Unavailable: unable to find '" in text
    client.unload("empty")


@pytest.mark.parametrize(
    ("versions", "policy"),
    [
        pytest.param((), "", id="no version at all"),
        pytest.param((1, 2), "version_policy { specific { versions: [7] } }", id="none chosen"),
    ],
)
def test_a_model_of_which_no_version_qualifies_does_not_load(
    repository: Repository, client: Client, versions: tuple[int, ...], policy: str
) -> None:
    repository.identity("none", versions=versions, extra=policy)

    assert client.load_refusal("none") == invalid(
        "load failed for model 'none': at least one version must be available "
        "under the version policy of model 'none'\n"
    )
    client.unload("none")
    for version in versions:
        (repository.root / "none" / str(version)).rmdir()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("nowhere", id="not in the repository"),
        pytest.param("...", id="three dots"),
        pytest.param("..my_model", id="leading dots"),
        pytest.param("model..1", id="dots inside"),
    ],
)
def test_a_model_that_is_not_there_cannot_be_polled(client: Client, name: str) -> None:
    code, text = client.load_refusal(name)

    assert code == "INTERNAL"
    assert text.startswith(f"failed to load '{name}', failed to poll from model repository")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param('backend: "identity', id="cannot be parsed"),
        pytest.param('backend: "identity" name: "somebody_else"', id="name of another"),
        pytest.param('backend: "identity" max_batch_size: -1', id="cannot be"),
    ],
)
def test_a_configuration_that_is_wrong_is_a_failed_poll(
    repository: Repository, client: Client, config: str
) -> None:
    repository.add("wrong", config)

    code, text = client.load_refusal("wrong")

    assert code == "INTERNAL"
    assert text.startswith("failed to load 'wrong', failed to poll from model repository")


def test_a_wrong_configuration_leaves_the_model_serving(
    repository: Repository, client: Client
) -> None:
    repository.onnx("kept", onnx_small.add_constant(1))
    client.load("kept")
    repository.replace("kept", "config.pbtxt", b"max_batch_size: ]")

    assert client.load_refusal("kept").code == "INTERNAL"

    assert answer_of(client, "kept") == 1


@pytest.mark.parametrize(
    ("model", "config", "missing"),
    [
        ("sequences", 'backend: "identity" sequence_batching {}', "sequence_batching"),
        ("several", 'platform: "ensemble" ensemble_scheduling { step [] }', "ensemble"),
        ("strange", 'backend: "exotic"', "exotic"),
    ],
)
def test_what_cannot_be_served_yet_says_what_is_missing(
    repository: Repository, client: Client, model: str, config: str, missing: str
) -> None:
    repository.add(model, config)

    refusal = client.load_refusal(model)

    assert refusal.code in {"INVALID_ARGUMENT", "INTERNAL"}
    assert missing in refusal.text
    client.unload(model)


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/hostname", "1/../../secret.txt", "link"])
def test_labels_cannot_come_from_outside_the_model(
    repository: Repository, client: Client, path: str
) -> None:
    secret = repository.root / "secret.txt"
    secret.write_text("secret\n")
    folder = repository.identity("curious", Port(labels=path))
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to(secret)

    refusal = client.load_refusal("curious")

    assert refusal.code in {"INVALID_ARGUMENT", "INTERNAL"}
    assert "outside model directory" in refusal.text
    assert "secret\n" not in refusal.text
    client.unload("curious")


PARAMETERS = pytest.mark.parametrize(
    ("parameters", "text"),
    [
        *(
            pytest.param(
                {"config": value},
                "invalid value type for load parameter 'config', expected string_param.",
                id=f"config {value!r}",
            )
            for value in (True, 1, b"{}")
        ),
        *(
            pytest.param(
                {"file:1/x": value},
                "invalid value type for load parameter 'file:1/x', expected bytes_param.",
                id=f"file {value!r}",
            )
            for value in (True, 1, "x")
        ),
        pytest.param({"foo": "x"}, "unrecognized load parameter 'foo'.", id="unknown"),
    ],
)


@PARAMETERS
@pytest.mark.parametrize("name", ["first", "nowhere", ""])
def test_a_bad_load_parameter_is_refused_before_the_name(
    client: Client, name: str, parameters: dict[str, ParameterValue], text: str
) -> None:
    assert client.load_refusal(name, **parameters) == invalid(text)


@PARAMETERS
def test_a_bad_load_parameter_is_refused_before_the_mode(
    none_mode: Client, parameters: dict[str, ParameterValue], text: str
) -> None:
    assert none_mode.load_refusal("first", **parameters) == invalid(text)


@pytest.mark.parametrize("value", [1, "true", b""])
def test_unload_dependents_must_be_a_bool(
    client: Client, none_mode: Client, value: ParameterValue
) -> None:
    unload = pb.RepositoryModelUnloadRequest(model_name="nowhere")
    set_parameters(unload.parameters, {"unload_dependents": value})

    for asked in (client, none_mode):
        assert asked.refusal("RepositoryModelUnload", unload) == invalid(
            "invalid value type for 'unload_dependents' parameter, expected bool_param."
        )


@pytest.mark.parametrize("value", [True, False])
def test_unload_dependents_may_be_given(client: Client, value: bool) -> None:
    unload = pb.RepositoryModelUnloadRequest(model_name="nowhere")
    unload.parameters["unload_dependents"].bool_param = value
    unload.parameters["anything else"].int64_param = 1

    client.call("RepositoryModelUnload", unload)


@pytest.mark.parametrize("name", ["", " ", "\t \n"])
def test_load_wants_a_name(client: Client, none_mode: Client, name: str) -> None:
    assert client.load_refusal(name) == invalid(NO_NAME)
    assert none_mode.load_refusal(name) == invalid(NO_NAME)


@pytest.mark.parametrize("name", ["..", " .. ", "a/b", "/", "../first", "/etc"])
def test_load_does_not_leave_the_repository(client: Client, name: str) -> None:
    code, text = client.load_refusal(name)

    assert code == "INVALID_ARGUMENT"
    assert text in {
        f"invalid model name '{shown}', model name must not contain path traversal characters"
        for shown in (name, name.strip())
    }


@pytest.mark.parametrize("name", ["nowhere", "", "a/b", ".."])
def test_unload_of_a_model_that_is_not_there_is_fine(client: Client, name: str) -> None:
    client.unload(name)


def test_mode_none_refuses_load_and_unload(none_mode: Client) -> None:
    unload = pb.RepositoryModelUnloadRequest(model_name="first")

    assert none_mode.load_refusal("first") == unavailable(NOT_ALLOWED)
    assert none_mode.load_refusal("nowhere") == unavailable(NOT_ALLOWED)
    assert none_mode.refusal("RepositoryModelUnload", unload) == unavailable(NOT_ALLOWED)
    assert none_mode.model_ready("first")


@pytest.mark.parametrize("which", ["explicit", "none"])
def test_a_repository_name_is_not_supported(client: Client, none_mode: Client, which: str) -> None:
    asked = client if which == "explicit" else none_mode
    refusal = Refusal("UNIMPLEMENTED", "'repository_name' specification is not supported")

    load = load_request("first", {"foo": 1}, repository="r")
    unload = pb.RepositoryModelUnloadRequest(repository_name="r", model_name="first")
    index = pb.RepositoryIndexRequest(repository_name="r")
    assert asked.refusal("RepositoryModelLoad", load) == refusal
    assert asked.refusal("RepositoryModelUnload", unload) == refusal
    assert asked.refusal("RepositoryIndex", index) == refusal


def test_loads_of_different_models_do_not_wait_for_each_other(
    repository: Repository, client: Client
) -> None:
    repository.identity("long", parameters={"creation_delay_sec": "2"})
    repository.identity("quick")
    loading = client.stub.RepositoryModelLoad.future(load_request("long"), timeout=30)
    eventually(lambda: rows(client, "long") == [("1", "LOADING", "")])

    client.load("quick")

    assert not loading.done()
    loading.result()
    assert client.model_ready("long")


def test_an_unload_during_a_load_comes_after_it(repository: Repository, client: Client) -> None:
    repository.identity("passing", parameters={"creation_delay_sec": "1"})
    loading = client.stub.RepositoryModelLoad.future(load_request("passing"), timeout=30)
    eventually(lambda: rows(client, "passing") == [("1", "LOADING", "")])

    client.unload("passing")

    loading.result()
    assert not client.model_ready("passing")


def test_a_reload_keeps_the_old_version_until_the_new_one_is_there(
    repository: Repository, client: Client
) -> None:
    repository.identity("swap", versions=(1,))
    client.load("swap")
    repository.identity("swap", versions=(1, 2), parameters={"creation_delay_sec": "1"})
    loading = client.stub.RepositoryModelLoad.future(load_request("swap"), timeout=30)
    request = infer_request("swap", given("INPUT0", np.ones(1, "<f4")))
    versions = []

    while not loading.done():
        versions.append(client.infer(request).model_version)

    loading.result()
    assert client.infer(request).model_version == "2"
    assert versions == sorted(versions)
    assert versions[0] == "1"


def test_the_server_stays_ready_while_a_model_s_next_version_loads(
    repository: Repository, client: Client
) -> None:
    """L0_lifecycle, reload: ready through the load, since version 1 answers."""
    repository.identity("upgrade", versions=(1,))
    client.load("upgrade")
    repository.identity("upgrade", versions=(1, 2), parameters={"creation_delay_sec": "1"})
    loading = client.stub.RepositoryModelLoad.future(load_request("upgrade"), timeout=30)
    eventually(lambda: ("2", "LOADING", "") in rows(client, "upgrade"))

    assert client.ready()
    loading.result()
