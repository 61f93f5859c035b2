"""Agents at work without a server: what they leave, what they refuse, what nobody can tell."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from interlock.cli.rehearsal import Left, Rehearsal
from interlock.control.agent_pool import AgentPool
from interlock.domain.config_agents import AgentConfig
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import UnavailableError
from interlock.repository.scratch import Scratch
from interlock.repository.snapshot import read_model
from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DirectoryLocation,
    Fault,
    RepositoryAgent,
)
from interlock_agents.catalog import AgentCatalog, Offer
from tests.support import onnx_small
from tests.support.agents import in_memory
from tests.support.command_line import CommandLine
from tests.support.encryption import MASTER, PAIR, encrypted as encrypted_file, write_key
from tests.support.models import Repository
from tests.support.signing import OTHER, P256, public_pem, write_private_key

NAMED = 'model_repository_agents {{ agents [ {{ name: "{}" {} }} ] }}'


def naming(agent: str, key: str = "", value: str = "") -> str:
    parameter = f'parameters {{ key: "{key}" value: "{value}" }}' if key else ""
    return NAMED.format(agent, parameter)


class Actor(RepositoryAgent):
    """For a test: publishes what its parameter says, or refuses; remembers what it heard."""

    heard: list[Action]

    def act(self, action: Action, model: AgentModel) -> None:
        self.heard.append(action)
        if action is not Action.LOAD:
            return
        match model.parameters.get("do"):
            case "copy":
                (model.scratch() / "1").mkdir()
                (model.scratch() / "config.pbtxt").write_text("max_batch_size: 7")
                model.publish(DirectoryLocation(model.scratch()))
            case "hide":
                model.publish(in_memory(model, config=b"max_batch_size: 8"))
            case "miss":
                raise AgentError("cannot be reached", Fault.UNAVAILABLE)
            case _:
                pass


@pytest.fixture(autouse=True)
def heard() -> list[Action]:
    Actor.heard = []
    return Actor.heard


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (tmp_path / "scratch").mkdir()
    with closing(Scratch(tmp_path / "scratch")) as scratch:
        yield scratch
        assert [one.name for one in scratch.open().iterdir()] == [".lock"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text("max_batch_size: 1")
    return directory


def rehearse(model: Path, scratch: Scratch, do: str, *, lacking: str = "") -> tuple[Left, bool]:
    """Return what one agent has left, and whether its directory was there in between."""
    rehearsal = Rehearsal(
        AgentCatalog({"decrypt": Offer(Actor, Actor)}, installed=lambda: ()),
        AgentPool(),
        scratch,
        lacking=frozenset({lacking}),
    )
    source = read_model([model.parent], model.name)
    with rehearsal.at_work(source, [AgentConfig("decrypt", {"do": do})], (1,)) as left:
        return left, left.source is not None and left.source.directory.is_dir()


@pytest.mark.parametrize(
    ("do", "text", "is_linked", "is_secret"),
    [
        pytest.param("", "max_batch_size: 1", False, False, id="nothing"),
        pytest.param("copy", "max_batch_size: 7", False, False, id="a copy"),
        pytest.param("hide", "max_batch_size: 8", True, True, id="files in memory"),
    ],
)
def test_what_agents_leave_is_there_until_it_was_looked_at(
    model: Path,
    scratch: Scratch,
    heard: list[Action],
    do: str,
    text: str,
    is_linked: bool,
    is_secret: bool,
) -> None:
    left, was_there = rehearse(model, scratch, do)

    assert left.source is not None
    assert (left.source.config_text, left.versions) == (text, (1,))
    assert (left.is_linked, left.is_secret, was_there) == (is_linked, is_secret, True)
    assert left.source.directory == model or not left.source.directory.exists()
    assert heard == [Action.LOAD, Action.LOAD_FAIL]


def test_what_could_not_be_reached_is_against_the_model_only_if_it_was_there_to_be(
    model: Path, scratch: Scratch, heard: list[Action]
) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        rehearse(model, scratch, "miss")

    left, _ = rehearse(model, scratch, "miss", lacking="decrypt")
    assert left.source is None
    assert left.gaps[0].message.startswith("not examined, since there is no key: ")
    assert heard == [Action.LOAD, Action.LOAD_FAIL] * 2


def test_an_agent_that_nobody_has_is_shown_where_it_is_named(model: Path, scratch: Scratch) -> None:
    catalog = AgentCatalog({"decrypt": Offer(Actor, Actor)}, installed=lambda: ())
    source = read_model([model.parent], model.name)
    rehearsal = Rehearsal(catalog, AgentPool(), scratch)
    agents = [AgentConfig("decrypt"), AgentConfig("antivirus")]

    with pytest.raises(ConfigError) as refused, rehearsal.at_work(source, agents, (1,)):
        pass

    assert refused.value.field == ("model_repository_agents", "agents", 1, "name")
    assert refused.value.message == (
        "unable to find repo agent 'antivirus': this server has decrypt"
    )
    assert "--repoagent-directory" in refused.value.hint


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "repository").mkdir()
    return Repository(tmp_path / "repository")


def findings(
    command_line: CommandLine, repository: Repository, *flags: str
) -> list[dict[str, object]]:
    """Return what `interlock validate` says but for what has no meaning here."""
    printed = command_line.run("validate", str(repository.root), "-o=json", *flags)
    shown = ("severity", "message", "hint", "unexamined")
    found = [{key: one[key] for key in shown if one.get(key)} for one in printed.json]
    assert printed.code == int(any(one["severity"] == "error" for one in found))
    return found


FINE = [{"severity": "ok"}]


def test_checksums_need_nothing(command_line: CommandLine, repository: Repository) -> None:
    content = onnx_small.add_constant(1)
    digest = hashlib.sha256(content).hexdigest()
    repository.onnx("m", content, extra=naming("checksum", "SHA256:1/model.onnx", digest))
    assert findings(command_line, repository) == FINE

    repository.replace("m", "1/model.onnx", content + b"x")
    (finding,) = findings(command_line, repository)
    assert str(finding["message"]).startswith(
        f"Mismatched SHA256 hash for file 1/model.onnx, expect: {digest}, got: "
    )


@pytest.mark.parametrize(
    ("agent", "key", "reason"),
    [
        ("checksum", "1/model.onnx", "failed to parse key: 1/model.onnx"),
        ("checksum", "CRC32:1/model.onnx", "Unsupported checksum algorithm: CRC32"),
        ("checksum", "MD5:../m", "failed to open text file for read ../m: '../m' leads out"),
        ("decrypt", "keys", "unknown parameter 'keys'"),
        ("signature", "key", "unknown parameter 'key'"),
        ("antivirus", "", "unable to find repo agent 'antivirus'"),
    ],
)
def test_wrong_parameters_are_told_whatever_the_agent_lacks(
    command_line: CommandLine, repository: Repository, agent: str, key: str, reason: str
) -> None:
    repository.onnx("m", onnx_small.add_constant(1), extra=naming(agent, key, "x"))

    (finding,) = findings(command_line, repository)

    assert finding["severity"] == "error"
    assert str(finding["message"]).startswith(reason)


@pytest.fixture
def encrypted(command_line: CommandLine, repository: Repository, tmp_path: Path) -> Path:
    """Write a model that is encrypted for a pair of keys; return the directory of the keys."""
    folder = repository.onnx("m", onnx_small.add_constant(1))
    public = tmp_path / "pair.pub"
    public.write_bytes(PAIR.public().line())
    assert command_line.run("encrypt", str(folder), f"--recipient={public}").code == 0
    return write_key(tmp_path / "keys", PAIR).parent


def test_without_a_key_it_is_said_what_nobody_has_looked_at(
    command_line: CommandLine, repository: Repository, encrypted: Path
) -> None:
    assert findings(command_line, repository) == [
        {
            "severity": "warning",
            "message": "not examined, since there is no key: 1/model.onnx.enc, config.pbtxt.enc",
            "hint": "See --key-directory and --key-source.",
            "unexamined": ["1/model.onnx.enc", "config.pbtxt.enc"],
        }
    ]
    printed = command_line.run("validate", str(repository.root))
    assert printed.out == (
        "warning  m\n"
        "    not examined, since there is no key: 1/model.onnx.enc, config.pbtxt.enc\n"
        f"    {repository.root / 'm'}\n"
        "    See --key-directory and --key-source.\n"
        "1 model: 1 warning\n"
    )


def test_agents_behind_one_that_cannot_decrypt_are_named(
    command_line: CommandLine, repository: Repository, encrypted: Path
) -> None:
    agents = '{ name: "decrypt" }, { name: "checksum" }, { name: "signature" }'
    text = f"model_repository_agents {{ agents [ {agents} ] }}"
    repository.replace("m", "config.pbtxt", text.encode())

    (finding,) = findings(command_line, repository)

    assert str(finding["message"]).endswith(
        "; nor what checksum, signature would say of the clear files"
    )


def test_with_the_key_all_of_it_is_examined(
    command_line: CommandLine, repository: Repository, encrypted: Path
) -> None:
    assert findings(command_line, repository, f"--key-directory={encrypted}") == FINE


def test_a_key_that_is_not_the_right_one_is_an_error(
    command_line: CommandLine, repository: Repository, encrypted: Path
) -> None:
    (encrypted / "pair.key").unlink()
    write_key(encrypted, MASTER)

    (finding,) = findings(command_line, repository, f"--key-directory={encrypted}")

    assert finding["severity"] == "error"
    assert "no key 'pair' in key directory" in str(finding["message"])


def test_an_encrypted_configuration_is_examined_and_not_quoted(
    command_line: CommandLine, repository: Repository, tmp_path: Path
) -> None:
    folder = repository.add("m", 'backend: "identity"')
    keys = write_key(tmp_path / "keys", MASTER).parent
    assert (
        command_line.run(
            "encrypt", str(folder), "--recipient=master", f"--key-directory={keys}"
        ).code
        == 0
    )
    secret = b'backend: "identity"\nmax_batch_size: very-secret\n'
    repository.replace("m", "config.pbtxt.enc", encrypted_file(secret, MASTER, path="config.pbtxt"))

    printed = command_line.run("validate", str(repository.root), f"--key-directory={keys}")

    assert printed.code == 1
    assert "config.pbtxt:2:" in printed.out
    assert "cannot be used, and is not quoted" in printed.out
    assert "very-secret" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--key-source=file:x", "'file:x' is no source of keys"),
        ("--agent-timeout-secs=-1", "agent_timeout_secs must be at least 0, got -1.0"),
    ],
)
def test_flags_that_a_server_would_refuse_are_wrong_usage(
    command_line: CommandLine, repository: Repository, flag: str, said: str
) -> None:
    printed = command_line.run("validate", str(repository.root), flag)

    assert printed.code == 2
    assert printed.err.startswith(f"interlock validate: {said}")


@pytest.fixture
def signers(tmp_path: Path) -> Path:
    folder = tmp_path / "signers"
    folder.mkdir(mode=0o755)
    (folder / "release.pem").write_bytes(public_pem(P256))
    (folder / "release.pem").chmod(0o644)
    return folder


def test_without_signers_a_model_is_examined_but_for_who_has_signed_it(
    command_line: CommandLine, repository: Repository, signers: Path, tmp_path: Path
) -> None:
    folder = repository.onnx("m", onnx_small.add_constant(1), extra=naming("signature"))
    unsigned = {
        "severity": "warning",
        "message": "not examined, since nobody is said to be trusted: who has signed it",
        "hint": "See --signer-directory.",
    }
    assert findings(command_line, repository) == [unsigned]
    (finding,) = findings(command_line, repository, f"--signer-directory={signers}")
    assert finding["message"] == "model.sig: the model is not signed: it has no file model.sig"

    for key, expected in ((OTHER, "signed with another key"), (P256, "")):
        private = write_private_key(tmp_path / "private.pem", key)
        assert command_line.run("sign", str(folder), f"--key={private}").code == 0
        (finding,) = findings(command_line, repository, f"--signer-directory={signers}")
        assert expected in str(finding.get("message", ""))
    assert finding == FINE[0]

    repository.replace("m", "1/model.onnx", b"no graph")
    first, second = findings(command_line, repository)
    assert first == unsigned
    assert second["severity"] == "error"


def write_agent(directory: Path, name: str, act: str) -> Path:
    (directory / name).mkdir(parents=True)
    (directory / name / "agent.py").write_text(
        "import threading\n"
        "from interlock_agents.api import AgentError, RepositoryAgent\n"
        "class Agent(RepositoryAgent):\n"
        f"    def act(self, action, model): {act}\n"
    )
    return directory


def test_an_agent_that_hangs_need_not_be_waited_for(
    command_line: CommandLine, repository: Repository, tmp_path: Path
) -> None:
    agents = write_agent(tmp_path / "agents", "slow", "threading.Event().wait()")
    repository.onnx("m", onnx_small.add_constant(1), extra=naming("slow"))
    flags = (f"--repoagent-directory={agents}", "--agent-timeout-secs=0.05")

    (finding,) = findings(command_line, repository, *flags)

    assert finding["message"] == (
        "agent 'slow' did not come to an end within --agent-timeout-secs=0.05"
    )


def test_agents_of_the_operators_own_are_asked(
    command_line: CommandLine, repository: Repository, tmp_path: Path
) -> None:
    agents = write_agent(
        tmp_path / "agents", "picky", "raise AgentError(f'{model.name} will not do')"
    )
    repository.onnx("m", onnx_small.add_constant(1), extra=naming("picky"))
    (finding,) = findings(command_line, repository)
    assert "--repoagent-directory" in str(finding["hint"])

    assert findings(command_line, repository, f"--repoagent-directory={agents}") == [
        {"severity": "error", "message": "m will not do"}
    ]
