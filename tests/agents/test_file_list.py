"""The list of a model's files: what is one, and what is said of one that is none."""

import json
from pathlib import Path

import pytest

from interlock.repository.digest import digest_files
from interlock.repository.listing import FILE, list_model
from interlock.repository.manifest import manifest_of, render
from interlock_agents.api import AgentError
from interlock_agents.file_list import FileList, Listed, parse, version_of

DIGEST = "ab" * 32
ENTRY = {"size": 3, "sha256": DIGEST}


def text(**fields: object) -> bytes:
    return json.dumps({"manifest": 1, **fields}).encode()


def test_knows_the_files_of_all_versions_and_of_each() -> None:
    content = text(
        files={"config.pbtxt": ENTRY}, versions={"1": {"model.onnx": ENTRY, "a/b": ENTRY}, "2": {}}
    )

    files = dict.fromkeys(["config.pbtxt", "1/model.onnx", "1/a/b"], Listed(3, DIGEST))
    assert parse(content, name="manifest.json") == FileList(files, frozenset({1, 2}))


def test_reads_what_the_command_writes(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "config.pbtxt").write_bytes(b"")
    entries = [entry for entry in list_model(tmp_path).entries if entry.kind == FILE]
    written = render(manifest_of(digest_files(tmp_path, entries), [1]))

    listed = parse(written, name="manifest.json")

    assert listed.files.keys() == {"1/model.onnx", "config.pbtxt"}
    assert listed.files["1/model.onnx"].size == 7
    assert listed.versions == {1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"is not JSON \(line 1, column 1: Expecting value\)"),
        (b'{"manifest": 1,', "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "it is no object"),
        (b"{}", "'manifest' must be 1"),
        (b'{"manifest": true}', "'manifest' must be 1"),
        (b'{"manifest": 2}', "'manifest' must be 1"),
        (text(more={}), "'more' is unknown"),
        (text(files=[]), "'files' is no object"),
        (text(versions=[]), "'versions' is no object"),
        (text(versions={"1": 3}), "'1/' is no object"),
        (text(versions={"one": {}}), "'one' is no version"),
        (text(versions={"01": {}}), "'01' is no version"),
        (text(files={"1/model.onnx": ENTRY}), "'1/model.onnx' belongs under 'versions'"),
        (text(files={"../x": ENTRY}), "'../x' leads out of the model directory"),
        (text(files={"/x": ENTRY}), "'/x' is an absolute path"),
        (text(versions={"1": {"../2/x": ENTRY}}), "'../2/x' leads out"),
        (text(files={"a//b": ENTRY}), "'a//b' is not a path in its simplest form"),
        (text(files={".": ENTRY}), "'.' is not a path in its simplest form"),
        (text(files={"x": []}), "'x' is no object"),
        (text(files={"x": {"size": 3}}), "'x' must have a size in bytes and a sha256"),
        (text(files={"x": {**ENTRY, "md5": ""}}), "'x' must have a size in bytes and a sha256"),
        (text(files={"x": {**ENTRY, "size": -1}}), "'x' must have a size in bytes and a sha256"),
        (text(files={"x": {**ENTRY, "size": True}}), "'x' must have a size in bytes and a sha256"),
        (text(files={"x": {**ENTRY, "sha256": "ab"}}), "'x' must have a size in bytes"),
        (b'{"manifest": 1, "files": {"x": 1, "x": 2}}', "'x' stands there twice"),
    ],
)
def test_says_what_is_wrong_with_a_list(content: bytes, says: str) -> None:
    with pytest.raises(AgentError, match=f"^manifest.json:? {says}"):
        parse(content, name="manifest.json")


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("1/model.onnx", 1),
        ("12/a/b", 12),
        ("0/x", 0),
        ("01/x", None),
        ("1", None),
        ("config.pbtxt", None),
        ("a/1/x", None),
        ("\u0661/x", None),
        ("9" * 30 + "/x", None),
    ],
)
def test_knows_to_which_version_a_path_belongs(path: str, version: int | None) -> None:
    assert version_of(path) == version
