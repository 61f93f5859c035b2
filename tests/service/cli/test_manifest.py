"""What `interlock manifest` writes, and what it says of a model that is not as written."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from interlock.cli import manifest
from interlock.repository.digest import FileDigest, digest_files
from interlock.repository.listing import Entry
from interlock.repository.manifest import read
from tests.support.command_line import CommandLine
from tests.support.signing import P256, write_private_key


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for version in ("1", "2"):
        (directory / version).mkdir(parents=True)
        (directory / version / "model.onnx").write_text(f"weights {version}")
    (directory / "config.pbtxt").write_text("config")
    (directory / "config.pbtxt~").write_text("what an editor leaves")
    return directory


def test_writes_what_a_model_is_made_of(command_line: CommandLine, model: Path) -> None:
    printed = command_line.run("manifest", str(model))

    assert (printed.code, printed.out) == (
        0,
        f"{model}: listed: 3 files, 24 bytes, versions: 1, 2\n",
    )
    written = read(model / "manifest.json")
    assert list(written.common) == ["config.pbtxt"]
    assert list(written.versions) == [1, 2]


def test_writing_again_writes_the_same(command_line: CommandLine, model: Path) -> None:
    command_line.run("manifest", str(model))
    before = (model / "manifest.json").read_bytes()

    command_line.run("manifest", str(model))

    assert (model / "manifest.json").read_bytes() == before


def test_a_model_that_is_as_written_is_fine(command_line: CommandLine, model: Path) -> None:
    command_line.run("manifest", str(model))

    printed = command_line.run("manifest", "--check", str(model))

    assert (printed.code, printed.out) == (
        0,
        f"{model}: as listed: 3 files, 24 bytes, versions: 1, 2\n",
    )


def test_says_when_a_signature_is_not_of_what_was_written(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    key = write_private_key(tmp_path / "release.key", P256)
    command_line.run("sign", str(model), f"--key={key}")
    told = (
        f"interlock manifest: {model}: model.sig is not of this manifest.json; sign again: "
        "'interlock sign' comes last\n"
    )

    printed = command_line.run("manifest", str(model))
    assert (printed.code, printed.err) == (0, told)
    assert command_line.run("manifest", "--json", str(model)).json[0]["sign_again"] is True

    command_line.run("sign", str(model), f"--key={key}")
    printed = command_line.run("manifest", str(model))
    assert (printed.code, printed.err) == (0, "")
    assert "sign_again" not in command_line.run("manifest", "--json", str(model)).json[0]
    assert command_line.run("manifest", "--check", str(model)).code == 0


def test_says_which_version_is_not_as_written(command_line: CommandLine, model: Path) -> None:
    command_line.run("manifest", str(model))
    written = (model / "manifest.json").read_bytes()
    (model / "2" / "model.onnx").write_text("WEIGHTS 2")
    shutil.copytree(model / "1", model / "3")

    printed = command_line.run("manifest", "--check", str(model))

    assert (printed.code, printed.out) == (
        1,
        (
            f"{model}: version 2: 1 of 2 files, 2/model.onnx differs from manifest.json\n"
            f"{model}: version 3: not in manifest.json\n"
        ),
    )
    assert (model / "manifest.json").read_bytes() == written


def test_a_version_that_is_written_down_and_not_there_is_told(
    command_line: CommandLine, model: Path
) -> None:
    command_line.run("manifest", str(model))
    shutil.rmtree(model / "2")

    printed = command_line.run("manifest", "--check", str(model))

    assert (printed.code, printed.out) == (1, f"{model}: version 2: 1 of 2 files\n")


def test_takes_many_models_and_tells_the_worst(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    printed = command_line.run("manifest", str(tmp_path / "absent"), str(model))

    assert printed.code == 2
    assert printed.out.startswith(f"{model}: listed: ")
    assert printed.err == f"interlock manifest: {tmp_path}/absent: No such file or directory\n"


def test_prints_json(command_line: CommandLine, model: Path, tmp_path: Path) -> None:
    command_line.run("manifest", str(model))
    (model / "2" / "model.onnx").unlink()

    printed = command_line.run("manifest", "--check", "--json", str(model), str(tmp_path))

    assert printed.code == 2
    assert printed.json == [
        {
            "directory": str(model),
            "files": 2,
            "bytes": 15,
            "versions": [
                {"version": 1, "lacking": ""},
                {"version": 2, "lacking": "1 of 2 files"},
            ],
        },
        {
            "directory": str(tmp_path),
            "error": "no model's directory: neither config.pbtxt nor a version is in it",
        },
    ]


def test_a_version_may_be_empty(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    assert command_line.run("manifest", str(tmp_path)).code == 0
    assert command_line.run("manifest", "--check", str(tmp_path)).code == 0


@pytest.mark.parametrize(
    ("kind", "told"),
    [("link", "1/x is no file but a broken link"), ("pipe", "1/x is no file but a pipe, socket")],
)
def test_what_is_no_file_cannot_be_written_down(
    command_line: CommandLine, model: Path, kind: str, told: str
) -> None:
    if kind == "link":
        (model / "1" / "x").symlink_to("absent")
    else:
        os.mkfifo(model / "1" / "x")

    printed = command_line.run("manifest", str(model))

    assert printed.code == 2
    assert told in printed.err
    assert not (model / "manifest.json").exists()


def test_without_a_manifest_there_is_nothing_to_check(
    command_line: CommandLine, model: Path
) -> None:
    printed = command_line.run("manifest", "--check", str(model))

    assert printed.code == 2
    assert f"{model}/manifest.json: No such file or directory" in printed.err


def test_a_broken_manifest_is_told(command_line: CommandLine, model: Path) -> None:
    (model / "manifest.json").write_text(json.dumps([]))

    printed = command_line.run("manifest", "--check", str(model))

    assert printed.code == 2
    assert "manifest.json: must be an object" in printed.err


def test_a_model_that_changes_meanwhile_is_not_written_down(
    command_line: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest_and_disturb(directory: Path, files: Iterable[Entry]) -> dict[str, FileDigest]:
        (model / "1" / "more").touch()
        return digest_files(directory, files)

    monkeypatch.setattr(manifest, "digest_files", digest_and_disturb)

    printed = command_line.run("manifest", str(model))

    assert printed.code == 2
    assert printed.err == f"interlock manifest: {model}: the model changes while it is read\n"
    assert not (model / "manifest.json").exists()


def test_a_directory_too_deep_is_refused(command_line: CommandLine, model: Path) -> None:
    (model / "/".join("d" * 70)).mkdir(parents=True)

    printed = command_line.run("manifest", str(model))

    assert printed.code == 2
    assert "more than 64 directories in each other" in printed.err
