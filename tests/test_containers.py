"""The Dockerfile and the compose file, without a container engine.

What an engine would do is done by hand: the files that are copied are copied, the one
command that is run is run, and the server is started as the last stage says. Only the
paths differ, because these tests write to a folder of their own.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.dockerfile import Stage, read_stages
from tests.support.server_process import EXAMPLE_REPOSITORY, ROOT, ServerProcess

INSTALLED = "/opt/interlock"
MODELS = "/models"
BUILD, FINAL = read_stages(ROOT / "Dockerfile")


def compose_service() -> Mapping[str, Any]:
    service: Mapping[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"][
        "interlock"
    ]
    return service


def compose_command(**variables: str) -> list[str]:
    """Return the command of the service as Compose would fill in its variables."""
    return [
        re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), word)
        for word in compose_service()["command"]
    ]


def compose_complaints(path: Path) -> str:
    """Return what the Compose specification's own schema has against a file; "" is nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""


def copy_into(stage: Stage, target: Path) -> None:
    """Do what the COPY instructions of a stage say, from this repository to a folder."""
    for instruction in stage.all("COPY"):
        *sources, destination = instruction.text.split()
        for source in sources:
            as_folder = destination.endswith("/") or len(sources) > 1
            place = target / destination / Path(source).name if as_folder else target / destination
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "pb")
                shutil.copytree(ROOT / source, place, ignore=ignored)
            else:
                shutil.copy2(ROOT / source, place)


@dataclass(frozen=True, slots=True)
class Image:
    """Where the final stage's one folder lies here."""

    installed: Path

    def command(self, words: list[str], models: Path = EXAMPLE_REPOSITORY) -> list[str]:
        """Return a command of the image with its program and paths as they are here."""
        program = shutil.which(words[0], path=self.environment["PATH"])
        assert program is not None, f"the image has no {words[0]}"
        return [program, *(word.replace(MODELS, str(models)) for word in words[1:])]

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            name: value.replace(INSTALLED, str(self.installed))
            for name, value in FINAL.environment.items()
        }
        # Neither the source tree nor this test's environment may help out.
        return {**ours, "PYTHONPATH": "", "VIRTUAL_ENV": ""}

    def health(self, address: str) -> int:
        done = subprocess.run(
            self.command(FINAL.only("HEALTHCHECK").command),
            env={**self.environment, "INTERLOCK_SERVER": address},
            capture_output=True,
            check=False,
        )
        return done.returncode


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the first stage makes, from nothing but what it copies."""
    folder = tmp_path_factory.mktemp("image")
    copy_into(BUILD, folder / "source")
    installed = folder / "installed"
    run = BUILD.only("RUN").text
    script = run.replace(INSTALLED, str(installed))
    assert script != run

    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder / "source",
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return Image(installed)


@pytest.mark.timeout(900)
def test_the_image_serves_and_its_health_check_tells(image: Image) -> None:
    words = [*FINAL.only("ENTRYPOINT").command, *FINAL.only("CMD").command]
    server = ServerProcess.start(
        ["--grpc-address=127.0.0.1", "--grpc-port=0"],
        program=image.command(words),
        env=image.environment,
    )
    with server:
        while_serving = image.health(server.address)
        code = server.terminate()
    afterwards = image.health(server.address)

    assert (while_serving, code, afterwards) == (0, 0, 3)


@pytest.mark.timeout(900)
def test_the_composed_container_is_healthy_beside_a_broken_model(
    image: Image, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(EXAMPLE_REPOSITORY, models)
    broken = models / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_text("no model")
    words = [*FINAL.only("ENTRYPOINT").command, *compose_command()]
    server = ServerProcess.start(
        ["--grpc-address=127.0.0.1", "--grpc-port=0"],
        program=image.command(words, models),
        env=image.environment,
    )
    with server:
        health = image.health(server.address)
        shutil.copytree(models / "digits" / "1", models / "digits" / "2")
        server.wait_for_log('"model": ?"digits", ?"version": ?2,.*"to": ?"ready"')
        code = server.terminate()

    assert (health, code) == (0, 0)


@pytest.mark.timeout(900)
def test_the_composed_container_is_unhealthy_without_the_model_it_is_there_for(
    image: Image, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(EXAMPLE_REPOSITORY / "identity", models / "identity")
    words = [*FINAL.only("ENTRYPOINT").command, *compose_command()]
    server = ServerProcess.start(
        ["--grpc-address=127.0.0.1", "--grpc-port=0"],
        program=image.command(words, models),
        env=image.environment,
    )
    with server:
        server.wait_for_log("not ready: required model 'digits' is not in any model repository")
        health = image.health(server.address)
        code = server.terminate()

    assert (health, code) == (1, 0)


def test_compose_names_the_models_that_the_container_is_there_for() -> None:
    flags = ["--exit-on-error=false", "--required-model=mine"]

    assert set(flags) <= set(compose_command(REQUIRED_MODEL="mine"))
    assert (EXAMPLE_REPOSITORY / "digits").is_dir()


@pytest.mark.timeout(900)
def test_nothing_that_builds_or_installs_is_left_in_the_image(image: Image) -> None:
    packages = {path.name.split("-")[0] for path in image.installed.rglob("*.dist-info")}

    assert "interlock" in packages
    assert packages.isdisjoint({"pip", "setuptools", "hatchling", "grpcio_tools"})


def test_the_final_stage_only_takes_what_the_first_has_made() -> None:
    assert FINAL.image == BUILD.image, "the environment needs the interpreter that made it"
    assert not FINAL.all("RUN")
    assert FINAL.only("COPY").text == f"--from=build {INSTALLED} {INSTALLED}"


def test_the_image_does_not_run_as_root() -> None:
    user, group = FINAL.only("USER").text.split(":")

    assert int(user) > 0
    assert int(group) > 0


def test_all_that_is_copied_passes_the_ignore_file() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for one in BUILD.all("COPY") for word in one.text.split()[:-1]}

    assert "*" in lines
    assert copied == allowed


@pytest.mark.parametrize("folder", [ROOT, ROOT / "examples" / "secure"])
def test_the_compose_files_keep_to_the_specification(folder: Path) -> None:
    assert compose_complaints(folder / "docker-compose.yml") == ""


def test_a_misspelt_compose_file_is_noticed(tmp_path: Path) -> None:
    misspelt = tmp_path / "docker-compose.yml"
    text = (ROOT / "docker-compose.yml").read_text()
    misspelt.write_text(text.replace("read_only: true\n    tmpfs", "readonly: true\n    tmpfs"))

    assert "readonly" in compose_complaints(misspelt)


def test_the_composed_container_can_change_nothing() -> None:
    service = compose_service()
    (volume,) = service["volumes"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (volume["target"], volume["read_only"]) == (MODELS, True)
    assert "privileged" not in service


def test_compose_asks_for_health_as_the_image_does() -> None:
    assert compose_service()["healthcheck"]["test"] == [
        "CMD",
        *FINAL.only("HEALTHCHECK").command,
    ]


def test_compose_waits_longer_for_the_end_than_the_server_takes() -> None:
    service = compose_service()
    (flag,) = [flag for flag in service["command"] if flag.startswith("--exit-timeout-secs=")]

    assert int(service["stop_grace_period"].removesuffix("s")) > int(flag.partition("=")[2])
