"""What a decrypted model holds reaches no disk: every write of a server is seen and read.

One server loads, reloads, rolls back and refuses encrypted models, and is killed while others
are in every phase of their lives. What it wrote is known from strace, in whatever file of
whatever file system. Swap space and what other processes do with what they are sent are not.
"""

import json
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from interlock.pb import control_pb2
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.secrets import SecretModels, found_on_disk, sealed
from tests.support.server_process import ServerProcess
from tests.support.tracing import Trace, why_no_secrets
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    arrays,
    eventually,
    given,
    infer_request,
    load_request,
    server_process,
    whatever_the_transport,
)
from tools.file_writes import Writes, leaks, stretches

pytestmark = whatever_the_transport

WITHIN_S = 60.0
FOR_EVER_MS = 3_600_000
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path.home())
ONNX = 'backend: "onnxruntime"\nmax_batch_size: 0'
IDENTITY = """
    backend: "identity"
    max_batch_size: 0
    input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
    output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
"""
WARM_UP = """
    model_warmup { name: "one" batch_size: 1 inputs { key: "INPUT0" value {
      data_type: TYPE_FP32 dims: [1] zero_data: true } } }"""
GOLDEN = json.dumps({"input": {"INPUT0": [1.0]}, "expect": {"OUTPUT0": [1.0]}}).encode()
AGENTS = {
    "gate": """
        import time
        from pathlib import Path
        from interlock_agents.api import RepositoryAgent

        FOLDER = Path(__file__).parent

        class Agent(RepositoryAgent):
            '''Hangs at an action until it is let go.'''

            def act(self, action, model):
                if model.parameters["at"] == action.value:
                    (FOLDER / f"{model.name}.reached").touch()
                    while not (FOLDER / "open").exists():
                        time.sleep(0.02)
        """,
    "leaks": """
        import mmap
        import shutil
        import subprocess
        import tempfile
        from interlock_agents.api import Action, RepositoryAgent

        class Agent(RepositoryAgent):
            '''Puts on a disk what is to stay in memory.'''

            def act(self, action, model):
                if action is Action.LOAD:
                    self.place = model.scratch() / model.parameters["how"]
                    file = model.location.file("1/model.onnx")
                    getattr(self, model.parameters["how"])(file)

            def written(self, file):
                self.place.write_bytes(file.read())

            def split(self, file):
                content = file.read()
                with self.place.open("wb", buffering=0) as target:
                    for at in range(0, len(content), 7):
                        target.write(content[at:at + 7])

            def mapped(self, file):
                with self.place.open("w+b") as target:
                    target.truncate(file.size)
                    with mmap.mmap(target.fileno(), file.size) as memory:
                        memory[:] = file.read()

            def copied(self, file):
                shutil.copyfile(file.path, self.place)

            def passed_on(self, file):
                subprocess.run(["dd", f"of={self.place}"], input=file.read(), stderr=-3)

            def unnamed(self, file):
                with tempfile.TemporaryFile() as target:
                    target.write(file.read())
        """,
}
DUMPING = ("sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")
"""In front of a command: lets it dump its memory when it crashes."""
WAYS = ("written", "split", "mapped", "copied", "passed_on", "unnamed")


@dataclass(slots=True)
class World:
    """Everything that a server of encrypted models may write to, but folders of others."""

    root: Path
    began_ns: int = field(default_factory=time.time_ns)

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def agents(self) -> Path:
        return self.root / "agents"

    @contextmanager
    def serving(
        self, models: SecretModels, trace: Trace | None, *flags: str
    ) -> Iterator[ServerProcess]:
        """Start a server, traced if there is a trace."""
        places = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp")}
        with server_process(
            models.repository,
            "--model-control-mode=explicit",
            "--model-load-thread-count=16",
            f"--scratch-directory={self.scratch}",
            f"--key-directory={models.key_directory}",
            f"--repoagent-directory={self.agents}",
            *flags,
            env={**places, "XDG_CACHE_HOME": str(self.root / "home" / "cache")},
            cwd=self.work,
            program=() if trace is None else trace.program,
        ) as process:
            yield process

    def trace(self, name: str) -> Trace | None:
        """Return a trace, if there can be one."""
        return None if why_no_secrets() else Trace(self.root / name)

    def models(self) -> SecretModels:
        return SecretModels(Repository(self.root / "repository"), self.root / "keys")

    def found(self, models: SecretModels, *writes: Writes) -> list[str]:
        """Return what is on the disk of what should not be."""
        opened = {Path(path) for one in writes for path in one.opened}
        return found_on_disk(
            models.markers, own=[self.root, *opened], shared=SHARED, since_ns=self.began_ns
        )


def new_world(root: Path) -> World:
    world = World(root)
    for name in ("repository", "scratch", "home", "tmp", "work"):
        (root / name).mkdir()
    for name, code in AGENTS.items():
        (world.agents / name).mkdir(parents=True)
        (world.agents / name / "agent.py").write_text(textwrap.dedent(code))
    return world


def agent(name: str, key: str, value: str) -> str:
    return f'{{ name: "{name}" parameters [ {{ key: "{key}" value: "{value}" }} ] }}'


def at(action: str) -> tuple[str]:
    return (agent("gate", "at", action),)


def delayed(parameter: str, value: int) -> str:
    return f'{IDENTITY} parameters {{ key: "{parameter}" value {{ string_value: "{value}" }} }}'


def answer(client: Client, model: str, size: int = 2048) -> NDArray[np.float32]:
    request = infer_request(model, given("x", np.zeros(size, "<f4")))
    return arrays(client.infer(request))["y"]


def control(client: Client, method: str, model: str) -> Any:
    call: Any = client.channel.unary_unary(
        f"/interlock.v1.Control/{method}",
        getattr(control_pb2, f"{method}Request").SerializeToString,
        getattr(control_pb2, f"{method}Response").FromString,
    )
    return call(getattr(control_pb2, f"{method}Request")(model=model), timeout=TIMEOUT_S)


def is_busy(client: Client, model: str) -> bool:
    versions = control(client, "Describe", model).versions
    return any(one.leases for version in versions for one in version.generations)


class Stuck:
    """Models, each of which stays in another phase of its life."""

    def __init__(self, models: SecretModels) -> None:
        self._models = models
        self.names: list[str] = []
        self._put("preparing", agents=at("LOAD"))
        self._put("told", agents=at("LOAD_COMPLETE"))
        refuses = agent("checksum", "SHA256:1/weights.bin", "00")
        self._put("failing", agents=(*at("LOAD_FAIL"), refuses))
        self._put("leaving", agents=at("UNLOAD"))
        self._put("gone", agents=at("UNLOAD_COMPLETE"))
        self._put("loading", delayed("creation_delay_sec", FOR_EVER_MS))
        self._put("warming", f"{delayed('execute_delay_ms', FOR_EVER_MS)} {WARM_UP}")
        self._put("proving", delayed("execute_delay_ms", FOR_EVER_MS))
        self._put("draining", delayed("execute_delay_ms", FOR_EVER_MS), golden=False)

    def _put(
        self, model: str, config: str = IDENTITY, *, agents: Sequence[str] = (), golden: bool = True
    ) -> None:
        weights = self._models.weights(model, 512).tobytes()
        files = {"1/weights.bin": weights} | ({"golden/one.json": GOLDEN} if golden else {})
        self._models.put(model, config, files, agents)
        self.names.append(model)

    def mend(self) -> None:
        """Let all of them load quickly."""
        for model in ("loading", "warming", "proving", "draining"):
            config = f"{IDENTITY} {WARM_UP}"
            self._models.replace(model, "config.pbtxt", config.encode())
        # What it was refused for is gone.
        self._put("failing", agents=at("LOAD_FAIL"))

    def bring_about(self, process: ServerProcess, client: Client, agents: Path) -> list[Any]:
        """Have each model in its phase; return calls that are not answered any more."""
        calls = [
            client.stub.RepositoryModelLoad.future(load_request(model))
            for model in ("preparing", "failing", "loading", "warming", "proving")
        ]
        for model in ("told", "leaving", "gone", "draining"):
            client.load(model)
        request = infer_request("draining", given("INPUT0", np.zeros(1, "<f4")))
        calls.append(client.stub.ModelInfer.future(request))
        eventually(lambda: is_busy(client, "draining"))
        for model in ("leaving", "gone", "draining"):
            client.unload(model)
        for model in ("preparing", "told", "failing", "leaving", "gone"):
            eventually((agents / "gate" / f"{model}.reached").exists, within_s=WITHIN_S)
        for model in ("loading", "warming", "proving", "draining"):
            process.wait_for_log(f"model={model} .* to={model}", within_s=WITHIN_S)
        return calls


@dataclass(slots=True)
class Story:
    """What has come of a server that was killed, and of the next one."""

    models: SecretModels
    left: dict[str, int] = field(default_factory=dict)
    """What lay in the scratch directory after the kill, and its mode."""
    swept: list[str] = field(default_factory=list)
    """What lies there while the next one serves."""
    left_at_end: list[str] = field(default_factory=list)
    """What lies there once that has stopped."""
    states: dict[str, str] = field(default_factory=dict)
    """Of the models in the next one, by name."""
    writes: list[Writes] = field(default_factory=list)
    found: dict[str, list[str]] = field(default_factory=dict)
    """On the disk, by the moment."""
    logs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    world = new_world(tmp_path_factory.mktemp("world"))
    models = world.models()
    story = Story(models)
    _kill_one(world, story)
    _restart(world, story)
    return story


def _kill_one(world: World, story: Story) -> None:
    models = story.models
    models.put("inline", ONNX, {"1/model.onnx": onnx_small.add_array(models.weights("first"))})
    graph, data = onnx_small.external(models.weights("outside 1"))
    models.put("outside", ONNX, {"1/model.onnx": graph, "1/weights.bin": data})
    stuck = Stuck(models)
    trace = world.trace("trace-1")
    first = ("--load-model=inline", "--load-model=outside")
    with world.serving(models, trace, *first) as process, Client(process.address) as client:
        assert serves(client, models, inline="first", outside="outside 1")
        _change(client, models)
        calls = stuck.bring_about(process, client, world.agents)
        assert serves(client, models, inline="second", outside="outside 1")
        process.kill()
        assert all(call.exception() is not None for call in calls)
    story.left = {
        str(place.relative_to(world.scratch)): stat.S_IMODE(place.stat().st_mode)
        for place in world.scratch.iterdir()
    }
    story.writes += [] if trace is None else [trace.writes_of(process)]
    story.logs.append(process.log)
    story.found["killed"] = world.found(models, *story.writes)
    stuck.mend()


def _change(client: Client, models: SecretModels) -> None:
    """Reload, add a version, roll back, and be refused."""
    second = onnx_small.add_array(models.weights("second"))
    models.replace("inline", "1/model.onnx", second)
    client.load("inline")
    graph, data = onnx_small.external(models.weights("outside 2"))
    models.replace("outside", "2/model.onnx", graph)
    models.replace("outside", "2/weights.bin", data)
    client.load("outside")
    assert serves(client, models, inline="second", outside="outside 2")
    control(client, "Rollback", "outside")
    bent = bytearray(sealed("1/model.onnx", onnx_small.add_array(models.weights("bent"))))
    bent[-1] ^= 1
    models.repository.replace("inline", "1/model.onnx.enc", bytes(bent))
    assert "failed to decrypt" in client.load_refusal("inline").text
    models.replace("inline", "1/model.onnx", second)


def serves(client: Client, models: SecretModels, **names: str) -> bool:
    """Whether models answer with the weights of these names."""
    return all(
        answer(client, model).tobytes() == models.secrets[name] for model, name in names.items()
    )


def _restart(world: World, story: Story) -> None:
    models = story.models
    (world.agents / "gate" / "open").touch()
    trace = world.trace("trace-2")
    with (
        world.serving(models, trace, "--load-model=*") as process,
        Client(process.address) as client,
    ):
        story.states = {name: state for name, _, state, _ in client.index() if state == "READY"}
        story.swept = [place.name for place in world.scratch.iterdir()]
        assert serves(client, models, inline="second", outside="outside 2")
        story.found["serving"] = world.found(models)
        assert process.terminate() == 0
    story.writes += [] if trace is None else [trace.writes_of(process)]
    story.logs.append(process.log)
    story.found["stopped"] = world.found(models, *story.writes)
    story.left_at_end = [place.name for place in world.scratch.iterdir()]


def skip_without_a_trace() -> None:
    if why := why_no_secrets():
        pytest.skip(why)


def test_no_secret_is_written_to_a_file(story: Story) -> None:
    skip_without_a_trace()
    secrets = stretches(story.models.secrets)

    assert [leaks(writes, secrets) for writes in story.writes] == [[], []]
    # It was looked at: a server writes its log to a file, and opens its lock.
    assert all(writes.content and writes.opened for writes in story.writes)


def test_no_secret_is_found_on_a_disk(story: Story) -> None:
    assert story.found == {"killed": [], "serving": [], "stopped": []}
    markers = story.models.markers
    (story.models.repository.root / "planted").write_bytes(b"-" + markers["first (end)"])
    assert found_on_disk(markers, own=[story.models.repository.root]) == [
        f"'{story.models.repository.root / 'planted'}' holds first (end)"
    ]


def test_no_secret_is_in_a_log(story: Story) -> None:
    words = [word.decode() for name, word in story.models.secrets.items() if "config" in name]

    assert not [word for word in words for log in story.logs if word in log]


def test_what_a_kill_leaves_is_private_and_swept_at_the_next_start(story: Story) -> None:
    (left,) = story.left
    assert story.left == {left: 0o700}
    assert len(story.swept) == 1
    assert story.swept != [left]
    assert story.left_at_end == []


def test_a_kill_in_every_phase_blocks_nothing(story: Story) -> None:
    killed = {"preparing", "told", "failing", "leaving", "gone"}
    killed |= {"loading", "warming", "proving", "draining"}

    assert story.states.keys() == killed | {"inline", "outside"}


@dataclass(slots=True)
class Leaks:
    """What agents that leak have put on the disk, and what the server left that crashed then."""

    caught: list[str]
    found: list[str]
    crashed: str


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Leaks:
    skip_without_a_trace()
    world = new_world(tmp_path_factory.mktemp("leaky"))
    models = world.models()
    for how in WAYS:
        content = onnx_small.add_array(models.weights(how))
        models.put(how, ONNX, {"1/model.onnx": content}, (agent("leaks", "how", how),))
    trace = Trace(world.root / "trace", DUMPING)
    with world.serving(models, trace, "--load-model=*") as process:
        with Client(process.address) as client:
            assert {row[0] for row in client.index(ready=True)} == set(WAYS)
        found = world.found(models)
        process.send_signal(signal.SIGABRT)
        code = process.wait_for_exit()
    caught = leaks(trace.writes_of(process), stretches(models.secrets))
    return Leaks(caught, found, f"{code} {[place.name for place in world.work.iterdir()]}")


def test_an_agent_that_puts_a_secret_on_a_disk_is_caught(leaky: Leaks) -> None:
    for how in ("written", "split", "passed_on"):
        assert any(f"/{how}' has got content of {how}" in one for one in leaky.caught), leaky
    assert any("/mapped' was written to by mmap" in one for one in leaky.caught), leaky
    assert any("/copied' was written to by sendfile" in one for one in leaky.caught), leaky
    assert any("' has got content of unnamed" in one for one in leaky.caught), leaky
    on_disk = {re.sub(r".*/(\w+)' holds .*", r"\1", one) for one in leaky.found}
    assert on_disk == {"written", "split", "mapped", "copied", "passed_on"}


def test_a_crash_dumps_no_memory(leaky: Leaks, tmp_path: Path) -> None:
    aborts = [sys.executable, "-c", "import os; os.abort()"]
    subprocess.run([*DUMPING, *aborts], cwd=tmp_path, check=False, capture_output=True)
    if not list(tmp_path.iterdir()):
        pytest.skip("what crashes here leaves nothing where it was")

    assert leaky.crashed == f"{-signal.SIGABRT} []"
