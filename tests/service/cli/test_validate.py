import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.backends.base import OpenedModel, VersionFiles
from interlock.backends.catalog import Catalog
from interlock.cli.validate import BackendOpener, add_parser, run
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError, InvalidRequestError
from tests.support.models import Port, Repository
from tests.support.onnx_small import identity


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    return Repository(root)


def validate(repository: Repository, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["validate", str(repository.root), *arguments])
    code: int = args.run(args)
    return code


def add_broken(repository: Repository) -> Path:
    return repository.add("broken", "input {\n  dim: 4\n}\n")


def test_a_sound_repository_is_fine(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.identity("same")
    repository.onnx("graph", identity("FP32"))

    assert validate(repository) == 0
    assert capsys.readouterr().out == (
        "ok       graph (version 1)\nok       same (version 1)\n2 models: 2 ok\n"
    )


def test_a_broken_configuration_is_shown_with_a_caret(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_broken(repository)
    repository.identity("same")

    assert validate(repository) == 1
    assert capsys.readouterr().out == (
        "error    broken\n"
        f"    failed to read text proto from {folder}/config.pbtxt: "
        'Message type "inference.ModelInput" has no field named "dim".\n'
        f"    {folder}/config.pbtxt:2:3\n"
        "          dim: 4\n"
        "          ^\n"
        "    Write: dims: 4\n"
        "ok       same (version 1)\n"
        "2 models: 1 ok, 1 error\n"
    )


def test_a_contradiction_with_the_graph_is_found(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.onnx("graph", identity("FP32", ("n", 4)), inputs=[Port(name="x", dims=[-1, 5])])

    assert validate(repository) == 1
    assert (
        "    version 1: model 'graph', tensor 'x': the model expects 2 dimensions (shape [-1,4]) "
        "but the model configuration specifies 2 dimensions (shape [-1,5])\n"
    ) in capsys.readouterr().out


def test_warnings_are_told_and_fine(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.identity("same") / "abc").mkdir()

    assert validate(repository) == 0
    assert capsys.readouterr().out.startswith("warning  same\n    ignore version directory 'abc'")


def test_json_has_one_object_for_each_finding(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_broken(repository)
    repository.identity("same")

    assert validate(repository, "--json") == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "model": "broken",
            "version": None,
            "severity": "error",
            "path": f"{folder}/config.pbtxt",
            "line": 2,
            "column": 3,
            "message": f"failed to read text proto from {folder}/config.pbtxt: "
            'Message type "inference.ModelInput" has no field named "dim".',
            "hint": "Write: dims: 4",
        },
        {
            "model": "same",
            "version": 1,
            "severity": "ok",
            "path": "",
            "line": 0,
            "column": 0,
            "message": "",
        },
    ]


def test_one_model_alone_can_be_looked_at(repository: Repository) -> None:
    add_broken(repository)
    repository.identity("same")

    assert validate(repository, "--model", "same") == 0
    assert validate(repository, "--model", "same", "--model", "broken") == 1


def test_a_model_that_is_not_there_is_a_usage_error(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.identity("digits")

    assert validate(repository, "--model", "digit") == 2
    assert capsys.readouterr().err == (
        f"interlock validate: {repository.root} has no model 'digit'; is it 'digits'?\n"
    )


def test_a_repository_that_is_not_there_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(Repository(tmp_path / "nowhere")) == 2
    assert capsys.readouterr().err == (
        f"interlock validate: repository path is not a valid directory: {tmp_path / 'nowhere'}\n"
    )


def test_a_models_own_directory_is_not_taken_for_a_repository(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository.identity("same")

    assert validate(Repository(folder)) == 2
    assert f"name the repository around it, {repository.root}" in capsys.readouterr().err


def test_an_empty_repository_is_fine(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(repository) == 0
    assert capsys.readouterr().out == "0 models: nothing to check\n"


def test_a_model_whose_configuration_cannot_be_read_is_an_error(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.root / "m" / "config.pbtxt").mkdir(parents=True)

    assert validate(repository) == 1
    assert "failed to open text file for read" in capsys.readouterr().out


def test_an_unknown_backend_is_an_error(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.add("m", 'backend: "nonsense"')

    assert validate(repository) == 1
    assert "unable to find backend library for backend 'nonsense'" in capsys.readouterr().out


def test_nothing_is_completed_where_the_server_would_not(repository: Repository) -> None:
    (repository.root / "graph" / "1").mkdir(parents=True)
    repository.replace("graph", "1/model.onnx", identity("FP32"))

    assert validate(repository) == 0
    assert validate(repository, "--disable-auto-complete-config") == 1


def test_another_configuration_can_be_looked_at(repository: Repository) -> None:
    repository.identity("m", files={"configs/bad.pbtxt": b"dims: 4"})

    assert validate(repository) == 0
    assert validate(repository, "--model-config-name", "bad") == 1


@dataclass
class FakeBackend:
    """A backend that fails to open anything."""

    error: Exception
    name: str = "fake"

    def open(self, files: VersionFiles, config: ModelConfig) -> OpenedModel:
        raise self.error


FILES = VersionFiles(Path("m"), Path("m/1"), 1)


def test_a_backends_own_error_is_passed_on() -> None:
    error = InvalidRequestError("no")
    opener = BackendOpener(Catalog({"fake": FakeBackend(error)}))

    with pytest.raises(InvalidRequestError) as raised:
        opener(FILES, ModelConfig("m", backend="fake"))

    assert raised.value is error


def test_a_backends_bug_is_an_error_of_its_model() -> None:
    opener = BackendOpener(Catalog({"fake": FakeBackend(KeyError("x"))}))

    with pytest.raises(InternalError) as raised:
        opener(FILES, ModelConfig("m", backend="fake"))

    assert str(raised.value) == "backend 'fake' failed: KeyError: 'x'"


def test_the_report_is_free_of_what_backends_log(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    add_broken(repository)
    repository.onnx("graph", identity("FP32"))

    validate(repository, "--json")

    assert capsys.readouterr().out.startswith("[\n")


def test_run_is_what_the_parser_names() -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())

    assert parser.parse_args(["validate", "x"]).run is run
