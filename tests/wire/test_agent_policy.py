"""A server with a policy of its own: which agents run, what is refused, what is told."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.publishing import naming_with
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    WireServer,
    answer_to_zero,
    load_request,
    row_of,
    serving,
    transport_flags,
)

FAILED = "failed to load '{}', failed to poll from model repository: {}"
OVERRIDE = """{"backend": "onnxruntime",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}]}"""
AGENT = """\
from interlock_agents.api import Action, AgentError, RepositoryAgent


class Agent(RepositoryAgent):
    '''Refuses models that say so.'''

    def act(self, action, model):
        if action is Action.LOAD and "bad" in model.location.file("note.txt").read().decode():
            raise AgentError("it is bad")
"""
POLICY = """\
version: 1
rules:
  - match: "plain-*"
  - match: ["sealed-*", "brought-*"]
    required: [{agent: gate}]
    forbidden: ["copy*"]
    allow: {config_overrides: true, file_overrides: true}
  - match: "strict-*"
    required: [{agent: gate}]
  - match: "warned-*"
    mode: warn
    required: [{agent: gate}]
  - match: "tried-*"
    mode: audit
    required: [{agent: gate}]
"""
BAD = "it is bad"


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    for name in ("gate", "copying"):
        (folder / name).mkdir()
        (folder / name / "agent.py").write_text(AGENT)
    return folder


def written(folder: Path, text: str) -> Path:
    """Write a policy in one step, as nobody else can."""
    folder.chmod(0o755)
    draft = folder / "draft"
    draft.write_text(text)
    draft.chmod(0o644)
    return draft.rename(folder / "policy.yaml")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("policy"), POLICY)


@pytest.fixture(scope="module")
def server(
    agents: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    flags = (f"--repoagent-directory={agents}", f"--agent-policy={policy}")
    with serving(repository, *flags) as server:
        yield server


def put(
    repository: Repository, model: str, constant: float, note: str = "good", extra: str = ""
) -> None:
    folder = repository.onnx(model, onnx_small.add_constant(constant), extra=extra)
    (folder / "note.txt").write_text(note)


def warning(client: Client, model: str) -> str | None:
    """Load, and return what is told behind the reply."""
    _, call = client.stub.RepositoryModelLoad.with_call(load_request(model), timeout=TIMEOUT_S)
    told = dict(call.trailing_metadata()).get("interlock-policy-warning")
    return None if told is None else unquote(told)


def test_a_model_meets_the_agents_that_the_policy_requires(
    server: WireServer, client: Client
) -> None:
    put(server.repository, "strict-1", 1)
    assert warning(client, "strict-1") is None
    assert (answer_to_zero(client, "strict-1"), row_of(client, "strict-1")) == (1, ("READY", ""))

    put(server.repository, "strict-1", 2, note="bad")
    refusal = client.load_refusal("strict-1")

    assert refusal == ("INTERNAL", FAILED.format("strict-1", BAD))
    assert row_of(client, "strict-1") == ("READY", f"Invalid argument: {BAD}")
    assert answer_to_zero(client, "strict-1") == 1


def test_an_edit_of_the_configuration_drops_no_agent(server: WireServer, client: Client) -> None:
    put(server.repository, "strict-2", 1, extra=naming_with("gate"))
    client.load("strict-2")

    put(server.repository, "strict-2", 2, note="bad")

    assert client.load_refusal("strict-2").text == FAILED.format("strict-2", BAD)
    assert answer_to_zero(client, "strict-2") == 1


def test_an_override_drops_no_agent(server: WireServer, client: Client) -> None:
    put(server.repository, "sealed-1", 1, note="bad")

    refusal = client.load_refusal("sealed-1", config=OVERRIDE)
    assert refusal.text == FAILED.format("sealed-1", BAD)

    put(server.repository, "sealed-1", 1)
    client.load("sealed-1", config=OVERRIDE)
    assert answer_to_zero(client, "sealed-1") == 1


def test_files_of_a_request_meet_the_agents_too(server: WireServer, client: Client) -> None:
    def load(note: bytes) -> object:
        content = onnx_small.add_constant(6)
        files = {"file:1/model.onnx": content, "file:note.txt": note}
        return load_request("brought-1", {"config": OVERRIDE, **files})

    refusal = client.refusal("RepositoryModelLoad", load(b"bad"))
    assert refusal.text == FAILED.format("brought-1", BAD)

    client.call("RepositoryModelLoad", load(b"good"))
    assert answer_to_zero(client, "brought-1") == 6


@pytest.mark.parametrize(
    ("files", "key", "words"),
    [
        ({}, "config_overrides", "a load may not bring a configuration"),
        ({"file:1/model.onnx": b"x"}, "file_overrides", "a load may not bring files"),
    ],
    ids=["a configuration", "files"],
)
def test_what_a_load_may_not_bring_is_refused(
    server: WireServer, client: Client, files: dict[str, bytes], key: str, words: str
) -> None:
    put(server.repository, "plain-1", 1)
    client.load("plain-1")

    refusal = client.refusal(
        "RepositoryModelLoad", load_request("plain-1", {"config": OVERRIDE, **files})
    )

    assert refusal.code == "INTERNAL"
    assert f"policy: {words}: the rule needs 'allow: {{{key}: true}}'" in refusal.text
    assert "(rule 'plain-*', " in refusal.text
    assert answer_to_zero(client, "plain-1") == 1
    client.load("plain-1")
    assert row_of(client, "plain-1") == ("READY", "")


def test_a_model_that_no_rule_speaks_of_is_refused(server: WireServer, client: Client) -> None:
    put(server.repository, "unknown", 1)

    refusal = client.load_refusal("unknown")

    assert "policy: no rule speaks of the model 'unknown'" in refusal.text
    state, reason = row_of(client, "unknown")
    assert state == "UNAVAILABLE"
    assert reason.startswith("Invalid argument: policy: no rule speaks of")


def test_an_agent_that_is_forbidden_is_refused(server: WireServer, client: Client) -> None:
    put(server.repository, "sealed-2", 1, extra=naming_with("copying"))

    assert "policy: the agent 'copying' is forbidden" in client.load_refusal("sealed-2").text


def test_code_in_python_needs_leave_whatever_backends_there_are(
    server: WireServer, client: Client
) -> None:
    server.repository.add("plain-python", 'backend: "python"', files={"1/model.py": b"pass"})

    assert "policy: the model is code in Python: " in client.load_refusal("plain-python").text


def test_a_warning_is_told_in_the_index_and_behind_the_reply(
    server: WireServer, client: Client
) -> None:
    put(server.repository, "warned-1", 1, note="bad")

    told = warning(client, "warned-1")

    assert told is not None
    assert told.startswith(f"policy: the agent 'gate' refuses it: {BAD} (rule 'warned-*', ")
    assert row_of(client, "warned-1") == ("READY", told)
    assert answer_to_zero(client, "warned-1") == 1
    put(server.repository, "warned-1", 2)
    assert warning(client, "warned-1") is None
    assert (answer_to_zero(client, "warned-1"), row_of(client, "warned-1")) == (2, ("READY", ""))


def test_a_trial_is_told_in_the_log_alone(server: WireServer, client: Client) -> None:
    put(server.repository, "tried-1", 1, note="bad")

    assert warning(client, "tried-1") is None

    assert (answer_to_zero(client, "tried-1"), row_of(client, "tried-1")) == (1, ("READY", ""))
    server.process.wait_for_log("the agent policy is against a model .*tried-1")


def test_instances_change_in_place_where_no_agent_is_required(
    server: WireServer, client: Client
) -> None:
    folder = server.repository.onnx("plain-2", onnx_small.add_constant(1))
    client.load("plain-2")
    config = (folder / "config.pbtxt").read_text()
    server.repository.replace(
        "plain-2", "config.pbtxt", config.replace("count: 1", "count: 2").encode()
    )

    client.load("plain-2")

    (generation,) = client.generations("plain-2")
    assert generation.instances == 2


def test_a_new_policy_that_is_broken_leaves_the_old_one_in_force(
    server: WireServer, client: Client, policy: Path
) -> None:
    put(server.repository, "strict-3", 1)
    written(policy.parent, POLICY.replace("required:", "requires:"))
    told = server.process.wait_for_log("kept the old agent policy.*").group()
    assert "a rule has no key 'requires'; did you mean 'required'?" in told

    client.load("strict-3")
    put(server.repository, "strict-3", 2, note="bad")

    assert client.load_refusal("strict-3").text == FAILED.format("strict-3", BAD)
    assert row_of(client, "strict-1")[0] == "READY"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nrules: [{match: a, requires: []}]\n", "has no key 'requires'"),
        (
            "version: 1\nrules: [{match: a, required: [{agent: antivirus}]}]\n",
            "there is no agent 'antivirus'",
        ),
    ],
    ids=["broken", "an agent that nobody has"],
)
def test_a_server_does_not_start_with_a_policy_that_it_cannot_use(
    tmp_path: Path, text: str, words: str
) -> None:
    said = refused_start(tmp_path / "models", written(tmp_path, text))

    assert "--agent-policy cannot be used: " in said
    assert words in said


def test_a_server_does_not_start_with_a_policy_in_its_repository(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    policy = written(tmp_path / "models", POLICY)

    assert "lies in the model repository" in refused_start(tmp_path / "models", policy)


def refused_start(repository: Path, policy: Path) -> str:
    repository.mkdir(exist_ok=True)
    flags = [f"--model-repository={repository}", f"--agent-policy={policy}", *transport_flags()]
    with pytest.raises(ServerProcessError) as refused:
        ServerProcess.start(flags)
    assert "ended with 1" in str(refused.value)
    return str(refused.value)
