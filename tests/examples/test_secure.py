"""The example of an encrypted, signed model: what its README has a person type, word for word."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from interlock.cli.flag_table import FLAGS
from tests.support.server_process import ROOT, ServerProcess

EXAMPLE = ROOT / "examples" / "secure"
README = (EXAMPLE / "README.md").read_text()
PREPARE, RELEASE, SERVE, ASK, ROTATE = re.findall(
    r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE
)
SERVING = shlex.split(SERVE.replace("\\\n", ""))
AGAIN = "".join(PREPARE.splitlines(keepends=True)[:2]) + "cd ~/secure\n"
"""What a second terminal needs."""


def type_it(home: Path, commands: str, **environment: str) -> str:
    """Run commands in a shell, from the project's folder, and return all that they say."""
    program = Path(sys.executable).parent
    done = subprocess.run(
        ["timeout", "120", "bash", "-euc", commands],
        cwd=ROOT,
        env={
            **os.environ,
            **environment,
            "HOME": str(home),
            "PATH": f"{program}:{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def served_as_shown(home: Path) -> ServerProcess:
    program, *words = SERVING
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    assert found is not None
    return ServerProcess.start(
        [*words, "--grpc-address=127.0.0.1", "--grpc-port=0", "--repository-settle-secs=0.2"],
        program=["env", "-C", str(home / "secure"), found],
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_commands_of_the_readme_serve_a_digit_and_rotate_its_key(tmp_path: Path) -> None:
    shown = type_it(tmp_path, PREPARE + RELEASE)
    assert "4 files as signed by release" in shown

    with served_as_shown(tmp_path) as server:
        shown = type_it(tmp_path, AGAIN + ASK, INTERLOCK_SERVER=server.address)
        assert re.search(r"7 +seven", shown)
        assert re.search(r"^digits +1 +READY$", shown, re.MULTILINE)

        shown = type_it(tmp_path, AGAIN + ROTATE)
        assert re.search(r"^release-1 +x25519 +0$", shown, re.MULTILINE)
        server.wait_for_log("version moved model=digits version=1 generation=2 .*to=ready")

        shown = type_it(tmp_path, AGAIN + ASK, INTERLOCK_SERVER=server.address)
        assert re.search(r"7 +seven", shown)
    clear = (ROOT / "examples" / "repository" / "digits" / "1" / "model.onnx").read_bytes()
    there = [path for path in (tmp_path / "secure").rglob("*") if path.is_file()]
    assert not any(clear[100:164] in path.read_bytes() for path in there)
    assert (tmp_path / "secure" / "log" / "audit.jsonl").read_text()


@pytest.fixture(scope="module")
def service() -> Mapping[str, Any]:
    text = (EXAMPLE / "docker-compose.yml").read_text()
    found: Mapping[str, Any] = YAML(typ="safe").load(text)["services"]["interlock"]
    return found


def test_the_container_is_started_with_flags_that_the_readme_shows(
    service: Mapping[str, Any],
) -> None:
    names = {word.partition("=")[0] for word in service["command"]}
    shown = {word.partition("=")[0] for word in SERVING if word.startswith("--")}

    assert shown <= names
    assert names <= {f"--{flag.name}" for flag in FLAGS}


def test_the_container_can_change_nothing_but_its_audit_log(service: Mapping[str, Any]) -> None:
    writable = [one["target"] for one in service["volumes"] if not one.get("read_only", False)]

    assert writable == ["/var/log/interlock"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_the_container_finds_what_its_flags_name(service: Mapping[str, Any]) -> None:
    targets = [one["target"] for one in service["volumes"]]
    paths = [word.partition("=")[2] for word in service["command"] if "=/" in word]

    assert paths
    assert [path for path in paths if not path.startswith(tuple(targets))] == []
