"""What is installed, and when nothing is. No test here installs anything."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from tools.environment import (
    LOCKS,
    ROOT,
    Project,
    Purpose,
    SetupError,
    Stamp,
    prepare,
    what_to_install,
)

SERVE = Stamp("serve", "now", "here")
DEVELOP = Stamp("develop", "now", "here")
FRESH = {Purpose.SERVE: SERVE, Purpose.DEVELOP: DEVELOP}
STALE_SERVE = Stamp("serve", "before", "here")
STALE_DEVELOP = Stamp("develop", "before", "here")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of all that decides what is installed."""
    for name in {"pyproject.toml", *LOCKS[Purpose.SERVE], *LOCKS[Purpose.DEVELOP]}:
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "build_hook.py", tmp_path / "tools")
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return Project(tmp_path)


def pretend_environment(project: Project, *, exit_code: int = 0) -> Path:
    """Put a program where the interpreter belongs; it notes its arguments, and return the note."""
    note = project.root / "calls"
    project.python.parent.mkdir(parents=True)
    project.python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {note}\nexit {exit_code}\n')
    project.python.chmod(0o755)
    return note


def have_messages(project: Project) -> None:
    project.messages.parent.mkdir(parents=True)
    project.messages.touch()


def put_stamp(project: Project, stamp: Stamp) -> None:
    project.stamp_file.write_text(json.dumps(asdict(stamp)))


def installations(note: Path) -> list[str]:
    return [line for line in note.read_text().splitlines() if " install " in line]


@pytest.mark.parametrize(
    ("wanted", "found", "target"),
    [
        pytest.param(Purpose.SERVE, None, Purpose.SERVE, id="nothing is there"),
        pytest.param(Purpose.DEVELOP, None, Purpose.DEVELOP, id="nothing is there to develop"),
        pytest.param(Purpose.SERVE, SERVE, None, id="all is there"),
        pytest.param(Purpose.DEVELOP, DEVELOP, None, id="all is there to develop"),
        pytest.param(Purpose.SERVE, DEVELOP, None, id="more than enough is there"),
        pytest.param(Purpose.DEVELOP, SERVE, Purpose.DEVELOP, id="too little is there"),
        pytest.param(Purpose.SERVE, STALE_SERVE, Purpose.SERVE, id="what is there is old"),
        pytest.param(Purpose.SERVE, STALE_DEVELOP, Purpose.DEVELOP, id="old, and never reduced"),
    ],
)
def test_installs_what_is_missing(
    wanted: Purpose, found: Stamp | None, target: Purpose | None
) -> None:
    assert what_to_install(wanted, found, FRESH) is target


@pytest.mark.parametrize("name", ["requirements.lock", "protos/health.proto", "pyproject.toml"])
def test_a_change_of_what_is_installed_makes_the_stamp_old(project: Project, name: str) -> None:
    before = project.stamp(Purpose.SERVE)
    changed = project.root / name
    text = changed.read_text()
    changed.write_text(text.replace("grpcio>=", "grpcio >=") + "# more\n")

    assert project.stamp(Purpose.SERVE) != before


def test_a_change_of_the_linters_settings_installs_nothing(project: Project) -> None:
    before = project.stamp(Purpose.DEVELOP)
    with (project.root / "pyproject.toml").open("a") as settings:
        settings.write("\n[tool.another]\nstrict = true\n")

    assert project.stamp(Purpose.DEVELOP) == before


def test_does_nothing_where_the_stamp_is_current(project: Project) -> None:
    note = pretend_environment(project)
    have_messages(project)
    put_stamp(project, project.stamp(Purpose.DEVELOP))

    prepare(Purpose.SERVE, project)

    assert installations(note) == []


def test_serves_with_an_environment_that_somebody_made_by_hand(project: Project) -> None:
    note = pretend_environment(project)

    prepare(Purpose.SERVE, project)

    assert installations(note) == []
    assert not project.stamp_file.exists()


def test_brings_an_environment_made_by_hand_to_what_development_needs(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    note = pretend_environment(project)

    prepare(Purpose.DEVELOP, project)

    packages, itself = installations(note)
    assert "requirements-dev.lock" in packages
    assert "--require-hashes" in packages
    assert f"--editable {project.root}" in itself
    assert project.read_stamp() == project.stamp(Purpose.DEVELOP)
    assert "installing the development environment" in capsys.readouterr().out


def test_makes_the_messages_anew_when_a_clean_up_took_them(project: Project) -> None:
    note = pretend_environment(project)
    put_stamp(project, project.stamp(Purpose.SERVE))

    prepare(Purpose.SERVE, project)

    assert len(installations(note)) == 2


def test_a_failed_installation_leaves_no_stamp_and_shows_its_last_words(project: Project) -> None:
    # It can say what pip is, and can do nothing else.
    project.python.parent.mkdir(parents=True)
    project.python.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho no space left\nexit 1\n')
    project.python.chmod(0o755)

    with pytest.raises(SetupError, match=r"(?s)installing the development.*no space left"):
        prepare(Purpose.DEVELOP, project)

    assert not project.stamp_file.exists()


def interpreter_is_gone(project: Project) -> None:
    put_stamp(project, project.stamp(Purpose.SERVE))
    project.python.unlink()


def interpreter_is_another(project: Project) -> None:
    put_stamp(project, project.stamp(Purpose.SERVE))
    project.python.write_text("#!/bin/sh\nexit 1\n")


def was_moved(project: Project) -> None:
    stamp = project.stamp(Purpose.SERVE)
    put_stamp(project, Stamp(stamp.purpose, stamp.ingredients, "/elsewhere"))


@pytest.mark.parametrize("happens", [interpreter_is_gone, interpreter_is_another, was_moved])
def test_makes_an_unusable_environment_anew(
    project: Project, happens: Callable[[Project], None]
) -> None:
    pretend_environment(project)
    have_messages(project)
    # The new one has a real pip, which shall have nothing to install.
    (project.root / "requirements.lock").write_text("not a requirement\n")
    happens(project)

    with pytest.raises(SetupError, match="installing what the server needs"):
        prepare(Purpose.SERVE, project)

    assert (project.folder / "pyvenv.cfg").exists()
    assert not project.stamp_file.exists()


def test_needs_nothing_but_a_bare_python() -> None:
    # -I and -S: nothing but the standard library and this checkout.
    command = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tools.environment"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", command], check=False)

    assert done.returncode == 0
