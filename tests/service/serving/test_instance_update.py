"""A version that serves gets other instances: built beside, warmed up, proven, then swapped."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from interlock.backends.base import BatchResult, VersionFiles
from interlock.backends.catalog import Catalog
from interlock.domain.config import ModelConfig, ModelFacts
from interlock.domain.errors import InternalError, InvalidRequestError, UnavailableError
from interlock.domain.request import InferRequest
from interlock.domain.response import InferResponse
from interlock.domain.tensor import InputTensor, OutputTensor
from interlock.serving.instance_update import InstanceUpdate
from interlock.serving.loader import ModelLoader
from interlock.serving.served_model import ServedModel
from tests.support.proving import write_npz
from tests.support.running import PATIENCE_S, answer, config_of, job_of, request


@dataclass
class Backend:
    """A model whose instances answer with zero; remembers what became of them."""

    name: str = "fake"
    facts: ModelFacts | None = None
    events: list[str] = field(default_factory=list)
    room: int = 100
    answers: float = 0.0
    is_open: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    told: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.gate.set()

    def open(self, files: VersionFiles, config: ModelConfig) -> "Backend":
        self.is_open = True
        return self

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> "Instance":
        assert self.is_open
        if index >= self.room:
            raise InternalError("no room")
        self.tell(f"make {name}")
        return Instance(name, self)

    def close(self) -> None:
        self.is_open = False
        self.tell("close model")

    def tell(self, event: str) -> None:
        with self.told:
            self.events.append(event)
            self.told.notify_all()

    def wait_for(self, event: str) -> None:
        with self.told:
            assert self.told.wait_for(lambda: event in self.events, PATIENCE_S), self.events


@dataclass
class Instance:
    name: str
    backend: Backend
    is_open: bool = True

    def run(self, requests: Sequence[InferRequest]) -> BatchResult:
        assert self.is_open
        if any(one.id == "held" for one in requests):
            self.backend.begun.release()
            assert self.backend.gate.wait(PATIENCE_S)
        self.backend.tell(f"run {self.name}")
        data = np.array([self.backend.answers], "<f4").tobytes()
        answers = [InferResponse([OutputTensor("y", "FP32", (1,), data)], {}) for _ in requests]
        return BatchResult(answers, 1, 2, 3, 4)

    def close(self) -> None:
        self.is_open = False
        self.backend.tell(f"close {self.name}")


WARMUP = """
    model_warmup { name: "w" batch_size: 1
      inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }"""


FAR = """
    backend: "fake"
    input { name: "x" data_type: TYPE_FP32 dims: 1 }
    output { name: "y" data_type: TYPE_FP32 dims: 1 }
    instance_group { name: "far" count: 1 kind: KIND_CPU host_policy: "far" }"""


def config(count: int, extra: str = "") -> ModelConfig:
    return config_of(f"""
        backend: "fake"
        input {{ name: "x" data_type: TYPE_FP32 dims: 1 }}
        output {{ name: "y" data_type: TYPE_FP32 dims: 1 }}
        instance_group {{ count: {count} kind: KIND_CPU }}
        {extra}""")


class World:
    """A version that serves with one instance."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.backend = Backend()
        self.trims = 0
        self.loader = ModelLoader(Catalog({"fake": self.backend}, {}), trim=self._trim)
        self.directory = directory
        self.extra = extra
        self.served = self.loader.load(job_of(directory, config(1, extra)))
        self.backend.events.clear()

    def _trim(self) -> int:
        self.trims += 1
        return 0

    def prepare(self, count: int, extra: str | None = None) -> InstanceUpdate:
        wanted = config(count, self.extra if extra is None else extra)
        return self.loader.prepare_update(self.served, job_of(self.directory, wanted))

    def change(self, count: int, extra: str | None = None) -> ServedModel:
        update = self.prepare(count, extra)
        self.served = update.apply()
        self.loader.close_update(update)
        return self.served

    def ask(self, name: str = "") -> InferRequest:
        data = np.zeros(1, "<f4").tobytes()
        asked = request(InputTensor("x", "FP32", (1,), data), name=name)
        self.served.scheduler.enqueue(asked)
        return asked


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    return tmp_path


def test_more_instances_are_built_beside_the_one_that_runs(directory: Path) -> None:
    world = World(directory)
    before = world.served

    after = world.change(3)

    assert world.backend.events == ["make m_0_1", "make m_0_2"]
    assert (before.instances.count, after.config.instance_groups[0].count) == (3, 3)
    assert (after.key, after.statistics, after.leases) == (
        before.key,
        before.statistics,
        before.leases,
    )
    world.loader.unload(after)
    assert world.backend.events[-1] == "close model"
    assert sum(event.startswith("close m_") for event in world.backend.events) == 3


def test_one_that_goes_is_closed_by_its_own_thread_once_it_has_run(directory: Path) -> None:
    world = World(directory)
    world.backend.gate.clear()
    busy = world.ask("held")
    assert world.backend.begun.acquire(timeout=PATIENCE_S)

    update = world.loader.prepare_update(world.served, job_of(directory, config_of(FAR)))
    world.served = update.apply()
    world.loader.close_update(update)
    answer(world.ask())
    assert "close m_0_0" not in world.backend.events
    world.backend.gate.set()
    answer(busy)

    world.backend.wait_for("close m_0_0")
    assert world.backend.is_open
    assert world.backend.events.index("run far_0") < world.backend.events.index("run m_0_0")
    world.loader.unload(world.served)


def test_new_instances_are_warmed_up_and_those_that_stay_are_not(directory: Path) -> None:
    world = World(directory, WARMUP)

    world.change(3)

    assert world.backend.events == ["make m_0_1", "make m_0_2", "run m_0_1", "run m_0_2"]
    world.loader.unload(world.served)


def test_golden_requests_are_asked_of_a_new_instance(directory: Path) -> None:
    zero = np.zeros(1, "<f4")
    write_npz(directory / "golden" / "a.npz", input__x=zero, expect__y=zero)
    world = World(directory)
    world.backend.answers = 3.0

    with pytest.raises(InvalidRequestError, match="output y"):
        world.prepare(2)

    assert world.backend.events == ["make m_0_1", "run m_0_1", "close m_0_1"]
    assert world.served.instances.count == 1
    world.loader.unload(world.served)


def test_what_was_built_is_closed_when_the_rest_cannot_be(directory: Path) -> None:
    world = World(directory)
    world.backend.room = 2

    with pytest.raises(InternalError, match="no room"):
        world.prepare(3)

    assert world.backend.events == ["make m_0_1", "close m_0_1"]
    answer(world.ask())
    assert world.backend.events[-1] == "run m_0_0"
    assert world.trims == 1
    world.loader.unload(world.served)
    assert world.backend.events[-1] == "close model"


def test_an_update_that_is_given_up_leaves_all_as_it_was(directory: Path) -> None:
    world = World(directory)
    answer(world.ask())
    threads = threading.active_count()
    del world.backend.events[:]

    world.loader.close_update(world.prepare(3))

    assert threading.active_count() == threads
    assert sorted(world.backend.events[2:]) == ["close m_0_1", "close m_0_2"]
    assert world.served.instances.count == 1
    world.loader.unload(world.served)
    assert world.backend.events[-1] == "close model"


def test_passive_instances_that_go_are_closed_with_the_update(directory: Path) -> None:
    passive = 'instance_group { name: "p" count: 1 kind: KIND_CPU passive: true }'
    world = World(directory, passive)

    world.change(1, "")

    assert world.backend.events == ["close p_0"]
    world.loader.unload(world.served)


def test_a_model_stays_open_while_its_instances_are_being_built(directory: Path) -> None:
    """An unload does not wait; whoever builds closes the model in the end."""
    world = World(directory)
    update = world.prepare(2)

    world.loader.unload(world.served)
    assert "close model" not in world.backend.events
    world.loader.close_update(update)

    assert world.backend.events[-2:] == ["close m_0_1", "close model"]


def test_nothing_is_built_for_a_version_that_is_unloaded(directory: Path) -> None:
    world = World(directory)
    world.loader.unload(world.served)

    with pytest.raises(UnavailableError, match="being unloaded"):
        world.prepare(2)


def test_a_configuration_in_which_nothing_could_run_is_refused(directory: Path) -> None:
    world = World(directory)
    wanted = config_of(
        """backend: "fake"
           input { name: "x" data_type: TYPE_FP32 dims: 1 }
           output { name: "y" data_type: TYPE_FP32 dims: 1 }
           instance_group { count: 1 kind: KIND_CPU passive: true }"""
    )

    with pytest.raises(InvalidRequestError, match="is passive"):
        world.loader.prepare_update(world.served, job_of(directory, wanted))

    assert answer(world.ask()) is not None
    world.loader.unload(world.served)


@pytest.mark.parametrize(
    ("count", "summary"),
    [
        pytest.param(3, "instances 1 -> 3 (2 new, 0 gone)", id="more"),
        pytest.param(1, "1 instances as before", id="the same"),
    ],
)
def test_an_update_says_what_changes(directory: Path, count: int, summary: str) -> None:
    world = World(directory)

    update = world.prepare(count)

    assert update.summary == summary
    world.loader.close_update(update)
    world.loader.unload(world.served)
