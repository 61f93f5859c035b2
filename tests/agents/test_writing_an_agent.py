"""The agents that docs/writing-an-agent.md shows run in a real chain."""

import lzma
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from interlock.control.agent_chain import AgentChain, Link, Surroundings
from interlock.control.agent_model import Found, Subject
from interlock.control.agent_pool import AgentPool
from interlock.domain.errors import InvalidRequestError
from interlock.repository.scratch import Scratch
from interlock_agents.api import DirectoryLocation
from interlock_agents.catalog import AgentCatalog
from tests.support.agents import config_file_of
from tests.support.server_process import ROOT

TEXT = (ROOT / "docs" / "writing-an-agent.md").read_text()
SHOWN = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text("m")
    (directory / "1" / "model.onnx").write_bytes(bytes(1_500_000))
    return directory


@pytest.fixture
def agents(tmp_path: Path) -> AgentCatalog:
    for name, text in zip(("size_limit", "unpack"), SHOWN, strict=True):
        (tmp_path / "agents" / name).mkdir(parents=True)
        (tmp_path / "agents" / name / "agent.py").write_text(text)
    return AgentCatalog(directory=tmp_path / "agents")


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[Surroundings]:
    scratch = Scratch(tmp_path)
    yield Surroundings(AgentPool(timeout_s=60), scratch, config_file_of)
    scratch.close()


def chain(surroundings: Surroundings, model: Path, *links: Link) -> AgentChain:
    found = Found(DirectoryLocation(model), {"name": "m"})
    return AgentChain(Subject("m", (1,)), links, found, surroundings)


def link(agents: AgentCatalog, name: str, parameters: Mapping[str, str] | None = None) -> Link:
    return Link(name, agents.find(name).make, parameters or {})


def test_the_example_has_about_twenty_lines() -> None:
    assert len([line for line in SHOWN[0].splitlines() if line]) <= 20


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("1", "the model has 1500001 bytes, and may have 1 MB"),
        ("many", "max_mb must be a number, and is 'many'"),
    ],
)
def test_the_example_refuses_what_it_says(
    surroundings: Surroundings, agents: AgentCatalog, model: Path, limit: str, reason: str
) -> None:
    made = chain(surroundings, model, link(agents, "size_limit", {"max_mb": limit}))

    with pytest.raises(InvalidRequestError) as refused:
        made.load()

    assert str(refused.value) == reason


def test_the_example_lets_the_others_through(
    surroundings: Surroundings, agents: AgentCatalog, model: Path
) -> None:
    made = chain(surroundings, model, link(agents, "size_limit", {"max_mb": "2"}))

    assert made.load() == DirectoryLocation(model)

    assert [words.notes for words in made.heard] == [{"size in bytes": "1500001"}]
    made.close()


def test_the_other_example_unpacks_in_memory(
    surroundings: Surroundings, agents: AgentCatalog, model: Path
) -> None:
    (model / "1" / "model.onnx").unlink()
    (model / "1" / "model.onnx.xz").write_bytes(lzma.compress(b"weights"))
    made = chain(surroundings, model, link(agents, "unpack"))

    files = made.load().files()

    assert list(files) == ["1/model.onnx", "config.pbtxt"]
    assert files["1/model.onnx"].path.read_bytes() == b"weights"
    made.complete()
    assert list(model.rglob("model.onnx")) == []
    made.close()


def test_its_parameters_are_listed(agents: AgentCatalog) -> None:
    offer = agents.find("size_limit").offer()

    assert offer.summary == "Refuses a model whose files are larger than a limit."
    assert [(one.name, one.is_required) for one in offer.parameters] == [("max_mb", True)]
