"""Repository agents in a server: who may pass, what is read then, and what is left behind."""

import hashlib
import json
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.publishing import naming_with
from tests.support.wire import (
    Client,
    WireServer,
    answer_to_zero,
    eventually,
    load_request,
    row_of,
    server_process,
    serving,
)

FAILED = "failed to load '{}', failed to poll from model repository: {}"
TIMEOUT_S = 1.0
OVERRIDE = """{"backend": "onnxruntime",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}]}"""
AGENTS = {
    "raises": """
        def act(self, action, model):
            self.tell(action, model)
            if action is Action.LOAD and "bad" in model.location.file("note.txt").read().decode():
                raise ZeroDivisionError("nobody meant this")
        """,
    "hangs": """
        def act(self, action, model):
            self.tell(action, model)
            if action is Action.LOAD and "bad" in model.location.file("note.txt").read().decode():
                threading.Event().wait()
        """,
    "copies": """
        def act(self, action, model):
            self.tell(action, model)
            if action is not Action.LOAD:
                return
            target = model.scratch()
            for path, file in model.location.files().items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                content = file.read()
                if path == "1/model.onnx":
                    content = (Path(__file__).parent / "other.onnx").read_bytes()
                (target / path).write_bytes(content)
            model.publish(DirectoryLocation(target))
        """,
}
HEAD = """\
import threading
from pathlib import Path

from interlock_agents.api import Action, DirectoryLocation, RepositoryAgent


class Agent(RepositoryAgent):
    '''For a test.'''

    def tell(self, action, model):
        with (Path(__file__).parent / "story.txt").open("a") as story:
            story.write(f"{model.name} {list(model.versions)} {action.value}\\n")

"""


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    for name, body in AGENTS.items():
        (folder / name).mkdir()
        code = HEAD + textwrap.indent(textwrap.dedent(body), "    ")
        (folder / name / "agent.py").write_text(code)
    (folder / "copies" / "other.onnx").write_bytes(onnx_small.add_constant(7))
    return folder


@pytest.fixture(scope="module")
def server(agents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("plain")
    scratch = tmp_path_factory.mktemp("scratch")
    flags = (
        f"--scratch-directory={scratch}",
        f"--repoagent-directory={agents}",
        f"--agent-timeout-secs={TIMEOUT_S}",
    )
    with serving(repository, *flags) as server:
        yield server
    assert list(scratch.iterdir()) == []


def checked(repository: Repository, model: str, constant: float, *, right: bool = True) -> str:
    """Write a model that adds a constant, and a checksum that fits or does not; return it."""
    content = onnx_small.add_constant(constant)
    digest = hashlib.sha256(content if right else b"another").hexdigest()
    repository.onnx(model, content, extra=naming_with("checksum", {"SHA256:1/model.onnx": digest}))
    return hashlib.sha256(content).hexdigest()


def mismatch(expected: str, got: str) -> str:
    return f"Mismatched SHA256 hash for file 1/model.onnx, expect: {expected}, got: {got}"


def story(agents: Path, agent: str, model: str) -> list[str]:
    told = (agents / agent / "story.txt").read_text().splitlines()
    return [line.removeprefix(f"{model} ") for line in told if line.startswith(f"{model} ")]


def test_a_model_that_passes_its_agents_serves(server: WireServer, client: Client) -> None:
    checked(server.repository, "right", 3)

    client.load("right")

    assert answer_to_zero(client, "right") == 3
    assert row_of(client, "right") == ("READY", "")


def test_a_model_that_its_agents_refuse_is_not_loaded(server: WireServer, client: Client) -> None:
    got = checked(server.repository, "wrong", 3, right=False)
    reason = mismatch(hashlib.sha256(b"another").hexdigest(), got)

    refusal = client.load_refusal("wrong")

    assert refusal == ("INTERNAL", FAILED.format("wrong", reason))
    assert row_of(client, "wrong") == ("UNAVAILABLE", f"Invalid argument: {reason}")


def test_what_is_refused_leaves_what_serves(server: WireServer, client: Client) -> None:
    before = checked(server.repository, "damaged", 1)
    client.load("damaged")
    content = onnx_small.add_constant(2)
    server.repository.replace("damaged", "1/model.onnx", content)
    reason = mismatch(before, hashlib.sha256(content).hexdigest())

    refusal = client.load_refusal("damaged")

    assert refusal.text == FAILED.format("damaged", reason)
    assert answer_to_zero(client, "damaged") == 1
    assert row_of(client, "damaged") == ("READY", f"Invalid argument: {reason}")

    checked(server.repository, "damaged", 2)
    client.load("damaged")
    assert answer_to_zero(client, "damaged") == 2
    assert row_of(client, "damaged") == ("READY", "")


def test_an_agent_that_nobody_has_is_an_error_that_lists_the_others(
    server: WireServer, client: Client
) -> None:
    server.repository.onnx("unknown", onnx_small.add_constant(1), extra=naming_with("antivirus"))

    refusal = client.load_refusal("unknown")

    assert refusal.code == "INTERNAL"
    assert "for repo agent 'antivirus'" in refusal.text
    assert "this server has checksum, copies, decrypt, hangs, raises" in refusal.text


def test_only_a_configuration_that_passed_is_what_the_model_runs_with(
    server: WireServer, client: Client
) -> None:
    folder = server.repository.add(
        "broken_after", f'backend: "identity"\nmax_batch_size: -5\n{naming_with("checksum")}'
    )

    refusal = client.load_refusal("broken_after")

    assert refusal.code == "INTERNAL"
    assert refusal.text.startswith("failed to load 'broken_after', failed to poll from")
    assert "max_batch_size" in refusal.text
    assert folder.exists()


def test_what_an_agent_raises_is_the_reason_and_hurts_nobody(
    server: WireServer, client: Client, agents: Path
) -> None:
    text = naming_with("raises")
    folder = server.repository.onnx("raising", onnx_small.add_constant(1), extra=text)
    (folder / "note.txt").write_text("good")
    client.load("raising")
    server.repository.replace("raising", "note.txt", b"bad")
    reason = "agent 'raises' failed: ZeroDivisionError: nobody meant this"

    refusal = client.load_refusal("raising")

    assert refusal == ("INTERNAL", FAILED.format("raising", reason))
    assert row_of(client, "raising") == ("READY", f"Internal: {reason}")
    assert answer_to_zero(client, "raising") == 1
    client.unload_and_wait("raising")
    told = ["LOAD", "LOAD_COMPLETE", "LOAD", "LOAD_FAIL", "UNLOAD", "UNLOAD_COMPLETE"]
    eventually(lambda: story(agents, "raises", "raising") == [f"[1] {action}" for action in told])


def test_an_agent_that_hangs_is_not_waited_for(server: WireServer, client: Client) -> None:
    folder = server.repository.onnx(
        "hanging", onnx_small.add_constant(1), extra=naming_with("hangs")
    )
    (folder / "note.txt").write_text("good")
    client.load("hanging")
    server.repository.replace("hanging", "note.txt", b"bad")

    refusal = client.load_refusal("hanging")

    reason = f"agent 'hangs' did not come to an end within --agent-timeout-secs={TIMEOUT_S:g}"
    assert refusal == ("INTERNAL", FAILED.format("hanging", reason))
    assert answer_to_zero(client, "hanging") == 1


def test_no_model_waits_for_the_agents_of_another(server: WireServer, client: Client) -> None:
    folder = server.repository.onnx("slow", onnx_small.add_constant(1), extra=naming_with("hangs"))
    (folder / "note.txt").write_text("bad")
    checked(server.repository, "quick", 5)
    refused = threading.Event()

    def load_slow() -> None:
        with server.client() as other:
            other.load_refusal("slow")
        refused.set()

    thread = threading.Thread(target=load_slow)
    thread.start()
    eventually(lambda: row_of(client, "slow")[0] == "LOADING")
    client.load("quick")
    is_quicker = not refused.is_set()
    thread.join()

    assert is_quicker
    assert answer_to_zero(client, "quick") == 5


def test_a_copy_that_an_agent_publishes_is_what_is_loaded(
    server: WireServer, client: Client, agents: Path
) -> None:
    server.repository.onnx("copied", onnx_small.add_constant(1), extra=naming_with("copies"))

    client.load("copied")

    assert answer_to_zero(client, "copied") == 7
    client.unload_and_wait("copied")
    told = ["LOAD", "LOAD_COMPLETE", "UNLOAD", "UNLOAD_COMPLETE"]
    eventually(lambda: story(agents, "copies", "copied") == [f"[1] {action}" for action in told])


def test_instances_of_a_model_with_agents_change_by_a_reload(
    server: WireServer, client: Client
) -> None:
    digest = checked(server.repository, "grown", 4)
    client.load("grown")
    text = naming_with("checksum", {"SHA256:1/model.onnx": digest})
    server.repository.onnx("grown", onnx_small.add_constant(4), instances=2, extra=text)

    client.load("grown")

    assert answer_to_zero(client, "grown") == 4
    assert row_of(client, "grown") == ("READY", "")


def test_a_configuration_override_drops_no_agent(server: WireServer, client: Client) -> None:
    got = checked(server.repository, "overridden", 3, right=False)
    reason = mismatch(hashlib.sha256(b"another").hexdigest(), got)

    refusal = client.load_refusal("overridden", config=OVERRIDE)

    assert refusal == ("INTERNAL", FAILED.format("overridden", reason))
    checked(server.repository, "overridden", 3)
    client.load("overridden", config=OVERRIDE)
    assert answer_to_zero(client, "overridden") == 3


def test_agents_of_an_override_run_as_well(server: WireServer, client: Client) -> None:
    server.repository.onnx("asked", onnx_small.add_constant(1))

    refusal = client.load_refusal(
        "asked",
        config='{"backend": "onnxruntime", "model_repository_agents": {"agents": [{"name": '
        '"checksum", "parameters": {"SHA256:1/model.onnx": "00"}}]}}',
    )

    assert refusal.code == "INTERNAL"
    assert "Mismatched SHA256 hash for file 1/model.onnx" in refusal.text


def test_files_of_a_request_are_for_the_agents_of_its_configuration(
    server: WireServer, client: Client
) -> None:
    content = onnx_small.add_constant(6)

    def config(digest: str) -> str:
        agent = {"name": "checksum", "parameters": {"SHA256:1/model.onnx": digest}}
        return json.dumps({**json.loads(OVERRIDE), "model_repository_agents": {"agents": [agent]}})

    def load(digest: str) -> pb.RepositoryModelLoadRequest:
        return load_request("brought", {"config": config(digest), "file:1/model.onnx": content})

    refusal = client.refusal("RepositoryModelLoad", load("00"))
    assert "Mismatched SHA256 hash for file 1/model.onnx, expect: 00" in refusal.text

    client.call("RepositoryModelLoad", load(hashlib.sha256(content).hexdigest()))
    assert answer_to_zero(client, "brought") == 6


def test_a_server_stops_though_an_agent_hangs(tmp_path: Path, agents: Path) -> None:
    repository = Repository(tmp_path)
    folder = repository.onnx("stuck", onnx_small.add_constant(1), extra=naming_with("hangs"))
    (folder / "note.txt").write_text("bad")
    flags = ("--model-control-mode=explicit", f"--repoagent-directory={agents}")
    with server_process(repository, *flags) as process, Client(process.address) as client:
        call = client.stub.RepositoryModelLoad.future(load_request("stuck"))
        eventually(lambda: row_of(client, "stuck")[0] == "LOADING")

        assert process.terminate(within_s=10.0) == 0
        assert call.exception() is not None


def test_a_repository_may_be_named_by_a_relative_path(
    agents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    repository = Repository(Path("models"))
    checked(repository, "right", 3)
    repository.onnx("relative", onnx_small.add_constant(1), extra=naming_with("copies"))
    flags = ("--model-control-mode=explicit", "--load-model=*", f"--repoagent-directory={agents}")
    with server_process(repository, *flags) as process, Client(process.address) as client:
        assert (answer_to_zero(client, "right"), answer_to_zero(client, "relative")) == (3, 7)


def test_a_kill_while_agents_are_at_work_leaves_nothing(tmp_path: Path, agents: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.root.mkdir()
    folder = repository.onnx("stuck", onnx_small.add_constant(1), extra=naming_with("hangs"))
    (folder / "note.txt").write_text("bad")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    flags = (
        "--model-control-mode=explicit",
        f"--scratch-directory={scratch}",
        f"--repoagent-directory={agents}",
    )
    with server_process(repository, *flags) as process, Client(process.address) as client:
        call = client.stub.RepositoryModelLoad.future(load_request("stuck"))
        eventually(lambda: row_of(client, "stuck")[0] == "LOADING")
        process.kill()
        assert call.exception() is not None
    assert _readable_by_others(scratch) == []

    with server_process(repository, *flags) as process, Client(process.address) as client:
        assert len(list(scratch.iterdir())) == 1
        assert process.terminate() == 0
    assert list(scratch.iterdir()) == []


def _readable_by_others(scratch: Path) -> list[Path]:
    return [path for path in scratch.iterdir() if path.stat().st_mode & 0o077]
