"""Where agents come from, and what is said of one that does not come."""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from interlock_agents.api import AgentError, Fault, RepositoryAgent
from interlock_agents.catalog import GROUP, AgentCatalog, KnownAgent, Offer
from interlock_agents.checksum import ChecksumAgent
from tests.support.agent_model import AgentModelFake

AGENT = """
from interlock_agents.api import Parameter, RepositoryAgent

class Agent(RepositoryAgent):
    '''Says {says}.

    And more.
    '''

    parameters = (Parameter("word", "what to say", is_required=True),)

    def act(self, action, model):
        model.note("says", "{says}")
"""

COUNTING = """
with open({count!r}, "a") as file:
    file.write("x")
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "agents"


def write(directory: Path, name: str, text: str = "", **others: str) -> Path:
    folder = directory / name
    folder.mkdir(parents=True)
    (folder / "agent.py").write_text(text or AGENT.format(says=name))
    for module, content in others.items():
        (folder / f"{module}.py").write_text(content)
    return folder / "agent.py"


def catalog(
    directory: Path | None = None,
    *,
    built_in: Mapping[str, Offer] | None = None,
    installed: tuple[EntryPoint, ...] = (),
) -> AgentCatalog:
    return AgentCatalog(built_in, directory=directory, installed=lambda: installed)


def what_it_says(agent: KnownAgent, somewhere: Path) -> str:
    model = AgentModelFake(somewhere)
    model.load(agent.make())
    return dict(model.notes)["says"]


def refusal(agent: KnownAgent) -> AgentError:
    with pytest.raises(AgentError) as refused:
        agent.make()
    return refused.value


def test_checksum_is_built_in() -> None:
    known = AgentCatalog().find("checksum")

    assert known.origin == "built in"
    assert known.offer().kind is ChecksumAgent
    assert isinstance(known.make(), ChecksumAgent)
    assert known.offer().summary == "Compares files with digests before they are loaded."
    assert [parameter.name for parameter in known.offer().parameters][:2] == [
        "MD5:<path>",
        "SHA1:<path>",
    ]


def test_each_model_gets_an_agent_of_its_own(directory: Path) -> None:
    write(directory, "hello")
    known = catalog(directory).find("hello")

    assert known.make() is not known.make()


def test_an_agent_comes_from_the_directory(directory: Path, tmp_path: Path) -> None:
    path = write(directory, "hello")

    known = catalog(directory).find("hello")

    assert known.origin == str(path)
    assert known.offer().summary == "Says hello."
    assert [parameter.is_required for parameter in known.offer().parameters] == [True]
    assert what_it_says(known, tmp_path) == "hello"


def test_an_agent_that_comes_later_is_found_without_a_new_start(directory: Path) -> None:
    agents = catalog(directory)
    assert agents.names() == ("checksum",)

    write(directory, "hello")

    assert agents.names() == ("checksum", "hello")
    assert agents.find("hello").offer().summary == "Says hello."


def test_code_is_imported_when_it_is_needed_and_once(directory: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    write(directory, "hello", COUNTING.format(count=str(count)) + AGENT)
    agents = catalog(directory)
    agents.names()
    agents.find("hello")
    assert not count.exists()

    agents.find("hello").make()
    agents.find("hello").make()

    assert count.read_text() == "x"


def test_what_lies_beside_it_is_its_own(directory: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "o.ne", "o-ne", "o_ne"):
        text = AGENT.format(says=name).replace(f'"{name}")', "word)")
        write(directory, name, f"from .words import word\n{text}", words=f"word = {name!r}")
    agents = catalog(directory)
    before = [*sys.path]

    said = [what_it_says(agents.find(name), tmp_path) for name in agents.names()[1:]]

    assert sorted(said) == ["o-ne", "o.ne", "o_ne", "one", "two"]
    assert sys.path == before
    assert "words" not in sys.modules
    assert "agent" not in sys.modules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from .beside import x", "cannot import name 'x'"),
    ],
)
def test_code_that_cannot_be_imported_is_the_reason(directory: Path, text: str, says: str) -> None:
    path = write(directory, "broken", text, beside="y = 1")

    refused = refusal(catalog(directory).find("broken"))

    assert str(refused).startswith(f"agent 'broken' ({path}): ")
    assert says in str(refused)
    assert refused.fault is Fault.INTERNAL
    assert not [name for name in sys.modules if "broken" in name]


def test_code_that_was_mended_is_imported_after_all(directory: Path, tmp_path: Path) -> None:
    path = write(directory, "mended", "import nothing_of_this_name", beside="y = 1")
    known = catalog(directory).find("mended")
    refusal(known)

    path.write_text(AGENT.format(says="mended"))

    assert what_it_says(known, tmp_path) == "mended"


@pytest.mark.parametrize("text", ["x = 1", "Agent = 3", "class Agent: pass"])
def test_a_file_without_an_agent_is_none(directory: Path, text: str) -> None:
    path = write(directory, "empty", text)

    assert str(refusal(catalog(directory).find("empty"))) == (
        f"{path} has no class 'Agent' that is a RepositoryAgent of interlock_agents.api"
    )


def test_an_unknown_name_is_refused_with_those_that_are_known(directory: Path) -> None:
    write(directory, "hello")

    with pytest.raises(AgentError) as refused:
        catalog(directory).find("helo")
    assert str(refused.value) == (
        f"unable to find 'agent.py' for repo agent 'helo', searched: {directory / 'helo'}; "
        "this server has checksum, hello"
    )
    with pytest.raises(AgentError) as refused:
        catalog().find("helo")
    assert str(refused.value) == "unable to find repo agent 'helo': this server has checksum"


@pytest.mark.parametrize("name", ["..", "../other", "a/b", "", ".", ".hidden", "-x", "a\0b", "ü"])
def test_a_name_does_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    write(tmp_path, "other")
    write(tmp_path / "agents" / "a", "b")
    for folder in (tmp_path, tmp_path / "agents", tmp_path / "agents" / ".hidden"):
        folder.mkdir(exist_ok=True)
        (folder / "agent.py").write_text(AGENT)

    with pytest.raises(AgentError, match="unable to find 'agent"):
        catalog(tmp_path / "agents").find(name)
    assert catalog(tmp_path / "agents").names() == ("checksum",)


def test_a_directory_that_is_not_there_has_no_agents(directory: Path) -> None:
    assert catalog(directory).names() == ("checksum",)


def test_an_agent_comes_from_an_installed_package(tmp_path: Path) -> None:
    """As pip leaves one behind."""
    package = tmp_path / "some_agents"
    package.mkdir()
    (package / "__init__.py").write_text(AGENT.format(says="installed"))
    metadata = tmp_path / "some_agents-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-agents\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nhello = some_agents:Agent\n")
    (distribution,) = distributions(path=[os.fspath(tmp_path)])
    agents = catalog(installed=tuple(distribution.entry_points.select(group=GROUP)))
    sys.path.insert(0, os.fspath(tmp_path))
    try:
        assert agents.names() == ("checksum", "hello")
        assert agents.find("hello").origin == "package some-agents 1.2"
        assert what_it_says(agents.find("hello"), tmp_path) == "installed"
    finally:
        sys.path.remove(os.fspath(tmp_path))
        del sys.modules["some_agents"]


def point(value: str, name: str = "hello") -> EntryPoint:
    return EntryPoint(name, value, GROUP)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            "nothing_of_this_name:Agent",
            "agent 'hello' (nothing_of_this_name:Agent): ModuleNotFound",
        ),
        ("interlock_agents.api:Nothing", "agent 'hello' (interlock_agents.api:Nothing): Attribute"),
        ("interlock_agents.api:Action", "'interlock_agents.api:Action' is no class that is a Repo"),
        ("interlock_agents.api", "'interlock_agents.api' is no class that is a RepositoryAgent"),
    ],
)
def test_a_package_that_offers_no_agent_is_the_reason(value: str, says: str) -> None:
    assert str(refusal(catalog(installed=(point(value),)).find("hello"))).startswith(says)


def test_two_packages_cannot_offer_one_name() -> None:
    points = (point("one:Agent"), point("another:Agent"))

    text = str(refusal(catalog(installed=points).find("hello")))

    assert text == (
        "several packages offer an agent 'hello': another:Agent, one:Agent; one of them must go"
    )


def test_what_is_nearer_goes_first(directory: Path) -> None:
    for name in ("checksum", "hello"):
        write(directory, name)
    points = tuple(point("some:Agent", name) for name in ("checksum", "hello", "other"))
    agents = catalog(directory, installed=points)

    assert agents.find("checksum").origin == "built in"
    assert agents.find("hello").origin == str(directory / "hello" / "agent.py")
    assert agents.find("other").origin == "some:Agent"
    assert agents.names() == ("checksum", "hello", "other")


def test_the_server_can_bring_agents_of_its_own() -> None:
    class Own(RepositoryAgent):
        def __init__(self, key: str) -> None:
            self.key = key

    agents = catalog(built_in={"own": Offer(Own, lambda: Own("k1"))})

    made = agents.find("own").make()

    assert isinstance(made, Own)
    assert made.key == "k1"
    assert agents.find("own").offer().summary == ""
    assert agents.names() == ("own",)


def test_finds_what_is_installed_here() -> None:
    assert "checksum" in AgentCatalog().names()
