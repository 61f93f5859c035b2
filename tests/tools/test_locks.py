"""The lock files: complete, of one mind, and without a word about where packages come from."""

import re
import tomllib

import pytest

from tools.environment import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")


def pins(lock: str) -> set[str]:
    """Return every line `name==version ; marker` of a lock."""
    text = (ROOT / lock).read_text()
    return set(re.findall(r"^([a-z0-9][^#\\\n]*?)\s*\\?$", text, re.MULTILINE))


def names(lock: str) -> set[str]:
    return {re.split(r"[=\[ ;]", pin)[0] for pin in pins(lock)}


def wanted(requirements: list[str]) -> set[str]:
    found = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}
    return {name.lower() for name in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_names_no_index_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert not re.search(r"https?:|^\s*--(?!hash)|/", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_has_hashes(lock: str) -> None:
    for requirement in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text()):
        assert "==" in requirement.split("\n")[0], requirement
        assert "--hash=sha256:" in requirement, requirement


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_agrees_with_the_development_environment(lock: str) -> None:
    everything = pins("requirements-dev.lock")
    shared = {pin for pin in pins(lock) if re.split(r"[=\[ ;]", pin)[0] in names(LOCKS[1])}

    assert shared
    assert {pin.split(" ;")[0] for pin in shared} <= {pin.split(" ;")[0] for pin in everything}


def test_the_locks_have_all_that_the_project_asks_for() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]

    assert wanted(project["dependencies"]) <= names("requirements.lock")
    assert wanted(project["optional-dependencies"]["dev"]) - {"interlock"} <= names(LOCKS[1])
    assert wanted(settings["build-system"]["requires"]) <= names("requirements-build.lock")
