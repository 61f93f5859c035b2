import tomllib
from pathlib import Path

import interlock


def test_says_the_version_that_the_project_has() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert interlock.__version__ == project["version"]
