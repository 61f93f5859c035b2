"""What `interlock agents` says of the agents that a server would have."""

import json
from pathlib import Path

from interlock_agents.catalog import AgentCatalog
from tests.support.command_line import CommandLine

HELLO = '''
from interlock_agents.api import Parameter, RepositoryAgent

class Agent(RepositoryAgent):
    """Says hello."""

    parameters = (
        Parameter("word", "what to say", is_required=True),
        Parameter("times", "how often"),
    )
'''


def write(directory: Path, name: str, text: str) -> Path:
    (directory / name).mkdir()
    path = directory / name / "agent.py"
    path.write_text(text)
    return path


def test_lists_agents_with_what_they_take(command_line: CommandLine, tmp_path: Path) -> None:
    path = write(tmp_path, "hello", HELLO)

    printed = command_line.run("agents", "--repoagent-directory", str(tmp_path))

    assert (printed.code, printed.err) == (0, "")
    lines = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert lines[0] == "AGENT FROM PARAMETER"
    assert "checksum built in Compares files with digests before they are loaded." in lines
    assert any(line.startswith("decrypt built in Decrypts what lies") for line in lines)
    assert "MD5:<path> the MD5 of a file, or of all files in a directory" in lines
    first = lines.index(f"hello {path} Says hello.")
    assert lines[first : first + 3] == [
        f"hello {path} Says hello.",
        "word what to say (required)",
        "times how often",
    ]


def test_lists_them_as_json(command_line: CommandLine, tmp_path: Path) -> None:
    path = write(tmp_path, "hello", HELLO)

    printed = command_line.run("agents", f"--repoagent-directory={tmp_path}", "-o", "json")

    assert printed.code == 0
    listed = {agent["name"]: agent for agent in json.loads(printed.out)}
    assert listed["hello"] == {
        "name": "hello",
        "from": str(path),
        "summary": "Says hello.",
        "parameters": [
            {"name": "word", "summary": "what to say", "required": True},
            {"name": "times", "summary": "how often", "required": False},
        ],
    }
    assert set(listed) == {*AgentCatalog().names(), "decrypt", "signature", "snapshot", "hello"}


def test_says_which_cannot_be_imported(command_line: CommandLine, tmp_path: Path) -> None:
    path = write(tmp_path, "broken", "1 / 0")
    text = f"agent 'broken' ({path}): ZeroDivisionError: division by zero"

    printed = command_line.run("agents", f"--repoagent-directory={tmp_path}")

    assert printed.code == 1
    assert "cannot be imported" in printed.out
    assert printed.err == f"interlock agents: {text}\n"
    as_json = command_line.run("agents", f"--repoagent-directory={tmp_path}", "-o", "json")
    assert as_json.code == 1
    assert {"name": "broken", "from": str(path), "error": text} in json.loads(as_json.out)


def test_without_a_directory_there_are_those_that_are_installed(command_line: CommandLine) -> None:
    printed = command_line.run("agents")

    assert printed.code == 0
    assert "checksum" in printed.out


def test_a_directory_that_is_not_there_is_not_taken_for_an_empty_one(
    command_line: CommandLine, tmp_path: Path
) -> None:
    printed = command_line.run("agents", f"--repoagent-directory={tmp_path}/absent")

    assert (printed.code, printed.out) == (2, "")
    assert printed.err == f"interlock agents: {tmp_path}/absent is no directory\n"
