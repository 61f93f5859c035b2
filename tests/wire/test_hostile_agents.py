"""Agents that do what they must not: refused in readable words, while all else goes on."""

import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.small_disk import small_disk
from tests.support.wire import (
    Client,
    WireServer,
    answer_to_zero,
    eventually,
    row_of,
    server_process,
    serving,
    whatever_the_transport,
)

pytestmark = whatever_the_transport

FAILED = "failed to load '{}', failed to poll from model repository: "
TIMEOUT_S = 2.0
NOT_THE_MODELS = "neither where the model's files were found nor in the agent's scratch directory"
AGENT = """
    import os
    import sys
    import threading
    from pathlib import Path

    from interlock_agents.api import (
        Action, AgentError, DirectoryLocation, DiskFile, FilesLocation, RepositoryAgent,
    )


    class Agent(RepositoryAgent):
        '''Does at an action what its model's note says.'''

        def act(self, action, model):
            if action is Action.LOAD:
                self.at, _, self.deed = model.location.file("note").read().decode().partition(" ")
                model.scratch()
                (model.scratch() / "rubbish").write_text("rubbish")
            if action.value == self.at:
                getattr(self, self.deed)(model)

        def agrees(self, model):
            pass

        def hangs(self, model):
            threading.Event().wait()

        def exits(self, model):
            sys.exit(3)

        def publishes_outside(self, model):
            model.publish(DirectoryLocation(Path("/etc")))

        def publishes_nothing(self, model):
            model.publish(DirectoryLocation(model.scratch() / "nothing"))

        def publishes_a_file(self, model):
            model.publish(DirectoryLocation(model.scratch() / "rubbish"))

        def publishes_another(self, model):
            model.publish(DirectoryLocation(model.location.directory.parent / "plain"))

        def publishes_a_file_of_another(self, model):
            other = model.location.directory.parent / "plain"
            file = DiskFile(other / "config.pbtxt", other)
            files = {**model.location.files(), "1/model.onnx": file}
            model.publish(FilesLocation(files))

        def publishes_a_way_out(self, model):
            self.copy(model)
            (model.scratch() / "1" / "model.onnx").unlink()
            other = model.location.directory.parent / "linked"
            (model.scratch() / "1" / "model.onnx").symlink_to(other / "1" / "model.onnx")
            model.publish(DirectoryLocation(model.scratch()))

        def publishes_depth(self, model):
            self.copy(model)
            place = os.open(model.scratch(), os.O_RDONLY)
            for _ in range(1100):
                os.mkdir("deep", dir_fd=place)
                inner = os.open("deep", os.O_RDONLY, dir_fd=place)
                os.close(place)
                place = inner
            os.close(place)
            model.publish(DirectoryLocation(model.scratch()))

        def publishes_a_text(self, model):
            model.publish(str(model.scratch()))

        def publishes_half(self, model):
            memory = model.memory_file(9)
            model.publish(FilesLocation({**model.location.files(), "1/model.onnx": memory}))

        def publishes_above(self, model):
            model.publish(FilesLocation({"../config.pbtxt": model.location.file("config.pbtxt")}))

        def changes_the_model(self, model):
            path = model.location.file("1/model.onnx").path
            path.write_bytes(path.read_bytes() + b"more")

        def fills_scratch(self, model):
            with (model.scratch() / "large").open("wb") as file:
                while True:
                    file.write(bytes(65536))

        def says_what_is_no_text(self, model):
            raise AgentError("lone \\ud800 " + "x" * 5_000_000)

        def raises_what_cannot_speak(self, model):
            class Unspeakable(Exception):
                def __str__(self):
                    raise RuntimeError

            raise Unspeakable

        def fills_memory(self, model):
            model.memory_file(1 << 60)

        def copy(self, model):
            for path, file in model.location.files().items():
                (model.scratch() / path).parent.mkdir(parents=True, exist_ok=True)
                (model.scratch() / path).write_bytes(file.read())
"""
DEEDS = {
    "exits": "agent 'hostile' failed: SystemExit: 3",
    "hangs": f"agent 'hostile' did not come to an end within --agent-timeout-secs={TIMEOUT_S:g}",
    "publishes_outside": f"cannot publish '/etc': it lies {NOT_THE_MODELS}",
    "publishes_nothing": "/nothing': it is no directory by an absolute path",
    "publishes_a_file": "/rubbish': it is no directory by an absolute path",
    "publishes_another": f"/plain': it lies {NOT_THE_MODELS}",
    "publishes_a_file_of_another": f"/plain/config.pbtxt' lies {NOT_THE_MODELS}",
    "publishes_a_way_out": (
        f"cannot publish '1/model.onnx': it leads to what lies {NOT_THE_MODELS}"
    ),
    "publishes_depth": "agent 'hostile' failed: File name too long: '",
    "publishes_a_text": "cannot publish a str: it is no location",
    "publishes_half": "cannot publish '1/model.onnx': it is not sealed",
    "publishes_above": "'../config.pbtxt' leads out of the model directory",
    "says_what_is_no_text": "lone ? xxxxx",
    "raises_what_cannot_speak": "agent 'hostile' failed: Unspeakable",
    "fills_memory": "agent 'hostile' failed: ",
}
HOSTILE = 'model_repository_agents { agents [ { name: "hostile" } ] }'


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    with small_disk(tmp_path_factory.mktemp("disk")) as folder:
        yield folder


@pytest.fixture(scope="module")
def scratch(disk: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk or tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "hostile").mkdir()
    (folder / "hostile" / "agent.py").write_text(textwrap.dedent(AGENT))
    return folder


@pytest.fixture(scope="module")
def server(
    scratch: Path, agents: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    for model in ("plain", "linked"):
        repository.onnx(model, onnx_small.add_constant(9))
    flags = (
        f"--scratch-directory={scratch}",
        f"--repoagent-directory={agents}",
        f"--agent-timeout-secs={TIMEOUT_S:g}",
    )
    with serving(repository, *flags) as server:
        yield server
    assert list(scratch.iterdir()) == []


def put(repository: Repository, model: str, note: str, *, constant: float = 1) -> None:
    content = onnx_small.add_constant(constant)
    folder = repository.onnx(model, content, extra=HOSTILE)
    (folder / "note").write_text(note)


def change(repository: Repository, model: str, note: str) -> None:
    repository.replace(model, "note", note.encode())


def folders(scratch: Path) -> list[Path]:
    """Return what agents have been given and not given back."""
    return sorted(scratch.glob("*/*-*"))


def test_what_an_agent_must_not_do_refuses_the_model_and_leaves_what_serves(
    server: WireServer, client: Client, scratch: Path
) -> None:
    put(server.repository, "victim", "LOAD agrees")
    client.load("victim")
    before = folders(scratch)
    said = {}
    for deed, says in DEEDS.items():
        change(server.repository, "victim", f"LOAD {deed}")

        code, text = client.load_refusal("victim")

        said[deed] = text
        assert code == "INTERNAL", said
        assert says in text, said
        state, reason = row_of(client, "victim")
        assert state == "READY"
        assert says in reason
        assert (answer_to_zero(client, "victim"), answer_to_zero(client, "plain")) == (1, 9)
        eventually(lambda: folders(scratch) == before)

    assert all(text.startswith(FAILED.format("victim")) for text in said.values()), said
    put(server.repository, "victim", "LOAD agrees", constant=2)
    client.load("victim")
    assert answer_to_zero(client, "victim") == 2
    assert row_of(client, "victim") == ("READY", "")


def test_an_agent_that_changes_the_model_in_its_repository_is_noticed(
    server: WireServer, client: Client
) -> None:
    put(server.repository, "changed", "LOAD agrees")
    client.load("changed")
    change(server.repository, "changed", "LOAD changes_the_model")

    refusal = client.load_refusal("changed")

    assert refusal.code == "INVALID_ARGUMENT"
    assert "the files of version 1 changed before it was loaded" in refusal.text
    assert "the files of version 1 changed" in row_of(client, "changed")[1]
    assert (answer_to_zero(client, "changed"), answer_to_zero(client, "plain")) == (1, 9)


def test_an_agent_that_fills_its_scratch_directory_leaves_room_for_others(
    server: WireServer, client: Client, scratch: Path, disk: Path | None
) -> None:
    if disk is None:
        pytest.skip("no file system can be mounted here")
    put(server.repository, "greedy", "LOAD agrees")
    client.load("greedy")
    change(server.repository, "greedy", "LOAD fills_scratch")

    refusal = client.load_refusal("greedy")

    reason = "agent 'hostile' failed: No space left on device"
    assert refusal == ("INTERNAL", FAILED.format("greedy") + reason)
    assert row_of(client, "greedy") == ("READY", f"Internal: {reason}")
    assert answer_to_zero(client, "greedy") == 1
    put(server.repository, "modest", "LOAD agrees")
    client.load("modest")
    assert answer_to_zero(client, "modest") == 1


def test_an_agent_that_hangs_when_it_is_told_holds_up_no_load(
    server: WireServer, client: Client
) -> None:
    actions = {f"at_{one.lower()}": one for one in ("LOAD_COMPLETE", "UNLOAD", "UNLOAD_COMPLETE")}
    for model, action in actions.items():
        put(server.repository, model, f"{action} hangs")
        client.load(model)
        assert answer_to_zero(client, model) == 1
    for model in actions:
        client.unload_and_wait(model)
        put(server.repository, model, "LOAD agrees", constant=2)
        client.load(model)
        assert answer_to_zero(client, model) == 2

    for model, action in actions.items():
        server.process.wait_for_log(
            rf"an agent was not waited for .*model={model} agent=hostile "
            rf"action=TRITONREPOAGENT_ACTION_{action}"
        )


def test_a_stop_waits_no_longer_than_it_may_for_an_agent_and_says_which(
    tmp_path: Path, agents: Path
) -> None:
    repository = Repository(tmp_path / "models")
    repository.root.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    put(repository, "stuck", "UNLOAD hangs")
    flags = (f"--repoagent-directory={agents}", f"--scratch-directory={scratch}")
    with server_process(repository, *flags, "--exit-timeout-secs=2") as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait_for_exit()

    assert time.monotonic() - began < 2 + 20
    assert "repository agents have not come to an end" in process.log
    assert "an agent is still at work model=stuck agent=hostile action=UNLOAD" in process.log
    assert process.exit_code == 0
    assert list(scratch.iterdir()) == []
