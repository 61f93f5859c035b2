"""What the documents show runs, and what they name exists."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from interlock.cli.flag_table import FLAGS
from interlock.cli.main import _VERBS
from interlock.domain.cause import Deed
from interlock.domain.description import AgentDescription
from interlock.repository.digest import digest_files, version_digest
from interlock.repository.fingerprint import files_of
from interlock.repository.listing import list_model
from interlock.serving.golden.file import read_golden
from interlock.serving.golden.request import Declared
from interlock.telemetry.audit import AuditEvent
from tests.support.server_process import ROOT

README = (ROOT / "README.md").read_text()
GOLDEN = (ROOT / "docs" / "golden.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
AGENTS = (ROOT / "docs" / "agents.md").read_text()
ENCRYPTION = (ROOT / "docs" / "encryption.md").read_text()
AUDIT = (ROOT / "docs" / "audit.md").read_text()
CONTROL = (ROOT / "docs" / "model-control.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
MADE = ("service/interlock/pb/", ".venv", "tests/service/x/test_y.py", "service/interlock/x/y.py")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, "" for those without one."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def named_files(text: str) -> set[str]:
    """Return what stands between back-ticks and looks like a file of this repository."""
    names = re.findall(r"`([\w./-]+/[\w.-]*)`|`([\w-]+\.(?:md|toml|yml|lock))`", text)
    return {first or second for first, second in names} - set(MADE)


def exists(name: str) -> bool:
    # The documents name the server's modules from its own folder.
    return any((ROOT / folder / name).exists() for folder in ("", "service/interlock", "docs"))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 80


def test_the_call_in_the_readme_classifies_a_digit(example_server: str) -> None:
    (call,) = blocks(README, "python")
    assert "localhost:8001" in call

    done = subprocess.run(
        [sys.executable, "-c", call.replace("localhost:8001", example_server)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert re.search(r":7:seven'", done.stdout), done.stdout + done.stderr


def test_the_commands_in_the_readme_exist() -> None:
    commands = [line for block in blocks(README, "sh") for line in block.splitlines()]
    tools = {line.split()[0] for line in commands if line.startswith("tools/")}
    verbs = set(re.findall(r"interlock (\w+)", "\n".join(commands)))
    shown = subprocess.run(
        [Path(sys.executable).with_name("interlock"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert tools == {"tools/quickstart", "tools/test"}
    assert all((ROOT / tool).stat().st_mode & 0o111 for tool in tools)
    assert verbs <= set(re.findall(r"^  (\w+) ", shown, re.MULTILINE))


def test_the_flags_and_verbs_of_model_control_exist() -> None:
    flags = set(re.findall(r"`--([a-z-]+)", CONTROL))
    verbs = set(re.findall(r"`interlock (\w+)", CONTROL))

    assert flags <= {flag.name for flag in FLAGS}
    assert verbs <= set(_VERBS)


def test_the_golden_requests_that_are_shown_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,), (document,) = blocks(GOLDEN, "python"), blocks(GOLDEN, "json")
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "eight.json").write_text(document)
    declared = Declared(inputs={"x": "FP32"})

    seven, eight = (
        read_golden(tmp_path / name, declared, model_directory=tmp_path)
        for name in ("seven.npz", "eight.json")
    )

    assert [(one.name, one.shape) for one in seven.inputs] == [("x", (1, 64))]
    assert [(one.name, one.shape) for one in seven.expected] == [("y", (1, 10))]
    assert [(one.name, one.datatype) for one in eight.inputs] == [("x", "FP32"), ("text", "BYTES")]
    assert seven.latency_budget_ms == eight.latency_budget_ms == 20


def test_the_commands_that_encrypt_and_rotate_run_as_shown(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "1" / "model.onnx").write_text("weights")
    (tmp_path / "digits" / "config.pbtxt").write_text('backend: "onnxruntime"')
    (tmp_path / "encrypted").mkdir()
    (commands,) = blocks(ENCRYPTION, "sh")
    program = str(Path(sys.executable).with_name("interlock"))

    shown = [
        subprocess.run(
            [program, *command.split()[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in commands.splitlines()
    ]

    assert re.search(r"^release-1 +x25519 +2$", shown[2], re.MULTILINE)
    assert shown[3] == "encrypted/digits: 2 files given from 'release-1' to 'release-2'\n"
    there = {path.name for path in (tmp_path / "encrypted" / "digits").rglob("*")}
    assert there == {"config.pbtxt", "config.pbtxt.enc", "1", "model.onnx.enc"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_commands_that_sign_and_verify_run_as_shown(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "1" / "model.onnx").write_text("weights")
    signing, together = (block for block in blocks(AGENTS, "sh") if "interlock sign" in block)

    shown = run_all(signing, tmp_path)
    assert re.fullmatch(r"digits: 1 files as signed by release \(key \w+\) as 'digits'\n", shown[3])

    (tmp_path / "digits" / "model.sig").unlink()
    run_all("interlock keys new release-1 --key-directory keys", tmp_path)
    assert "digits/model.sig: 3 files signed as 'digits'" in run_all(together, tmp_path)[2]


def run_all(commands: str, directory: Path) -> list[str]:
    """Return what each of these commands prints; all must go well."""
    program = str(Path(sys.executable).with_name("interlock"))
    return [
        subprocess.run(
            [program if word == "interlock" else word for word in command.split()],
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in commands.splitlines()
    ]


def test_the_commands_that_make_a_digest_make_that_of_the_server(tmp_path: Path) -> None:
    for path in ("config.pbtxt", "manifest.json", "a b.txt", "golden/x", "1/é/w", "1/model", "2/m"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"content of {path}")
    (commands,) = blocks(AUDIT, "sh")

    done = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    files = files_of(1, list_model(tmp_path).entries)
    assert done.stdout.split()[0] == version_digest(digest_files(tmp_path, files))


def test_the_words_of_the_audit_log_are_documented() -> None:
    for deed in set(Deed) - {Deed.STOP}:
        assert f"`{deed.value}`" in AUDIT
    (example,) = blocks(AUDIT, "json")
    event = AuditEvent("load", "ok", agents=[AgentDescription("checksum", passed=True)])
    assert json.loads(example).keys() == asdict(event).keys() | {"time", "process", "seq"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_files_that_a_document_names_exist(document: str) -> None:
    named = named_files((ROOT / document).read_text())

    assert named
    assert [name for name in sorted(named) if not exists(name)] == []


def test_the_drawing_of_the_layers_is_what_the_linter_holds() -> None:
    (drawing,) = blocks(ARCHITECTURE, "")
    drawn = [re.split(r" {3,}", line)[0] for line in drawing.splitlines()]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]

    assert drawn == layers
