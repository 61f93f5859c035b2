"""The example clients, built and run by the commands in their READMEs.

Each runs in a copy of the part of the repository that it reads, so that what it
builds stays out of the working tree. What it downloads stays in its tool chain's cache.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = shutil.ignore_patterns("gen", "node_modules", "target", "__pycache__")
DOCUMENTED_ADDRESS = "localhost:8001"


def build_area(language: str, tmp_path: Path) -> Path:
    """Copy one client with its surroundings, and return its folder."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copytree(ROOT / "examples" / "images", tmp_path / "examples" / "images")
    folder = tmp_path / "examples" / "clients" / language
    shutil.copytree(ROOT / "examples" / "clients" / language, folder, ignore=BUILT)
    return folder


def documented_commands(readme: Path) -> str:
    """Return the README's one block of shell commands."""
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", readme.read_text(), re.DOTALL | re.MULTILINE)
    return str(commands)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("language", "tool_chain", "runs"),
    [
        pytest.param("python", (), 2, id="python"),
        pytest.param("go", ("go",), 1, id="go"),
        pytest.param("java", ("mvn", "javac"), 1, id="java"),
        pytest.param("node", ("node", "npm"), 1, id="node"),
    ],
)
def test_the_commands_in_the_readme_classify_a_digit(
    language: str, tool_chain: tuple[str, ...], runs: int, example_server: str, tmp_path: Path
) -> None:
    missing = [tool for tool in tool_chain if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here")
    folder = build_area(language, tmp_path)
    commands = documented_commands(folder / "README.md")
    script = commands.replace(DOCUMENTED_ADDRESS, example_server)
    # `timeout` and not subprocess's own, which would leave the children of the shell behind.
    shell = ["timeout", "540", "bash", "-euc", script]

    done = subprocess.run(
        shell,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MAVEN_OPTS": "-Xmx512m",
            "npm_config_prefer_offline": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    answers = re.findall(r"digit: (\w+) \((0\.\d+|1\.0+)\)$", done.stdout, re.MULTILINE)
    assert [label for label, _ in answers] == ["seven"] * runs
