"""The agents that a configuration names, and the configuration at a location."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.control.agent_links import ConfigReader, links_of
from interlock.control.agent_policy import ChosenAgent
from interlock.domain.config_agents import AgentConfig
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import InvalidRequestError
from interlock_agents.api import AgentError, DirectoryLocation, FilesLocation, Location, MemoryFile
from interlock_agents.catalog import AgentCatalog
from interlock_agents.checksum import ChecksumAgent


@pytest.fixture(params=["on disk", "in memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    (tmp_path / "configs").mkdir()
    (tmp_path / "config.pbtxt").write_text("name: 'plain'")
    (tmp_path / "configs" / "gpu.pbtxt").write_text("name: 'gpu'")
    on_disk = DirectoryLocation(tmp_path)
    if request.param == "on disk":
        yield on_disk
        return
    files = {path: MemoryFile.of(file.read()) for path, file in on_disk.files().items()}
    yield FilesLocation(files)
    for file in files.values():
        file.close()


@pytest.mark.parametrize("kind", [ChosenAgent, AgentConfig])
def test_a_name_leads_to_an_agent_with_its_parameters(
    kind: type[ChosenAgent] | type[AgentConfig],
) -> None:
    (link,) = links_of([kind("checksum", {"MD5:x": "ab"})], AgentCatalog())

    assert link.is_binding
    assert link.name == "checksum"
    assert link.parameters == {"MD5:x": "ab"}
    assert isinstance(link.make(), ChecksumAgent)


def test_a_name_that_nobody_has_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    agents = [ChosenAgent("checksum", {}), ChosenAgent("nobody", {})]
    catalog = AgentCatalog(directory=tmp_path, installed=lambda: ())

    with pytest.raises(InvalidRequestError) as refused:
        links_of(agents, catalog)

    assert str(refused.value) == (
        f"unable to find 'agent.py' for repo agent 'nobody', searched: {tmp_path / 'nobody'}; "
        "this server has checksum"
    )


def test_one_that_only_looks_on_and_that_nobody_has_refuses_the_model() -> None:
    (link,) = links_of(
        [ChosenAgent("nobody", {}, is_binding=False)], AgentCatalog(installed=lambda: ())
    )

    assert not link.is_binding
    with pytest.raises(AgentError, match="unable to find repo agent 'nobody'"):
        link.make()


def test_the_configuration_is_read_wherever_it_lies(location: Location) -> None:
    assert ConfigReader().text_at(location) == ("config.pbtxt", "name: 'plain'")
    assert ConfigReader().fields_at(location) == {"name": "plain"}


def test_one_with_the_name_that_was_asked_for_goes_first(location: Location) -> None:
    assert ConfigReader("gpu").text_at(location) == ("configs/gpu.pbtxt", "name: 'gpu'")
    assert ConfigReader("other").fields_at(location) == {"name": "plain"}


def test_without_a_configuration_there_is_an_empty_one(tmp_path: Path) -> None:
    for location in (DirectoryLocation(tmp_path), FilesLocation({})):
        assert ConfigReader().text_at(location) == ("config.pbtxt", None)
        assert ConfigReader().fields_at(location) == {}


def test_a_configuration_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text("name: 3")

    with pytest.raises(ConfigError, match=r"config\.pbtxt:1:"):
        ConfigReader().fields_at(DirectoryLocation(tmp_path))
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError):
        ConfigReader().fields_at(DirectoryLocation(tmp_path))


def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m" / "config.pbtxt"
    path.mkdir(parents=True)
    location = DirectoryLocation(tmp_path / "m")

    with pytest.raises(InvalidRequestError, match=r"read config\.pbtxt: Is a directory"):
        ConfigReader().text_at(location)
    path.rmdir()
    path.symlink_to("/etc/passwd")
    with pytest.raises(InvalidRequestError, match="leads out of the model directory"):
        ConfigReader().text_at(location)
    path.unlink()
    path.write_bytes(b" " * ((16 << 20) + 1))
    with pytest.raises(InvalidRequestError, match=r"config\.pbtxt is longer than 16 MiB"):
        ConfigReader().text_at(location)
