"""What a manifest may say, and what is said of files that are not what it says."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from interlock.repository import manifest as module
from interlock.repository.digest import FileDigest, digest_files
from interlock.repository.listing import DIRECTORY, Entry, list_model
from interlock.repository.manifest import (
    Comparison,
    Manifest,
    ManifestError,
    compare_digests,
    compare_sizes,
    manifest_of,
    parse,
    read,
    render,
    write,
)

A, B = "a" * 64, "b" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for version in ("1", "2"):
        (directory / version).mkdir(parents=True)
        (directory / version / "model.onnx").write_text(f"weights {version}")
    (directory / "2" / "more").write_text("")
    (directory / "config.pbtxt").write_text("config")
    return directory


def files_of(model: Path, version: int) -> list[Entry]:
    others = {"1", "2"} - {str(version)}
    return [
        entry
        for entry in list_model(model).entries
        if entry.kind != DIRECTORY and entry.path.split("/")[0] not in others
    ]


def made_of(model: Path) -> Manifest:
    entries = [one for one in list_model(model).entries if one.kind != DIRECTORY]
    return manifest_of(digest_files(model, entries), [1, 2])


def test_holds_what_versions_share_once(model: Path) -> None:
    made = made_of(model)

    assert list(made.common) == ["config.pbtxt"]
    assert {version: list(files) for version, files in made.versions.items()} == {
        1: ["model.onnx"],
        2: ["model.onnx", "more"],
    }
    assert list(made.of(1)) == ["config.pbtxt", "1/model.onnx"]


def test_a_signature_is_not_listed_and_may_be_there(model: Path) -> None:
    before = made_of(model)
    (model / "model.sig").write_text("{}")

    made = made_of(model)

    assert made == before
    files = files_of(model, 1)
    assert compare_sizes(made, 1, files).is_complete
    assert compare_digests(made, 1, digest_files(model, files)).is_complete


def test_a_signature_that_is_listed_must_be_as_it_says(model: Path) -> None:
    (model / "model.sig").write_text("{}")
    made = made_of(model)
    listed = Manifest({**made.common, "model.sig": FileDigest(2, A)}, made.versions)

    files = files_of(model, 1)
    assert compare_digests(listed, 1, digest_files(model, files)).other_content == ("model.sig",)
    (model / "model.sig").unlink()
    assert compare_sizes(listed, 1, files_of(model, 1)).missing == ("model.sig",)


def test_only_the_signature_of_the_model_is_one(model: Path) -> None:
    (model / "1" / "model.sig").write_text("{}")

    assert list(made_of(model).versions[1]) == ["model.onnx", "model.sig"]


def test_reads_what_it_has_written(model: Path) -> None:
    made = made_of(model)

    write(made, model / "manifest.json")

    assert read(model / "manifest.json") == made


def test_the_file_is_readable_as_others_are(model: Path) -> None:
    write(Manifest(), model / "manifest.json")

    assert (model / "manifest.json").stat().st_mode == (model / "config.pbtxt").stat().st_mode


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(model: Path) -> None:
    (model / "manifest.json").mkdir()
    before = sorted(model.iterdir())

    with pytest.raises(IsADirectoryError):
        write(Manifest(), model / "manifest.json")

    assert sorted(model.iterdir()) == before


PATHS = st.text(
    st.characters(exclude_characters="\0/~", codec="utf-8"), min_size=1, max_size=9
).filter(lambda name: not name.startswith((".", "#")) and name not in {"4913", "manifest.json"})
DIGESTS = st.builds(
    FileDigest,
    st.integers(0, 2**63),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
FILES = st.dictionaries(PATHS, DIGESTS, max_size=3)


@given(st.builds(Manifest, FILES, st.dictionaries(st.integers(0, 2**63 - 1), FILES, max_size=3)))
def test_parsing_is_the_inverse_of_rendering(manifest: Manifest) -> None:
    assert parse(render(manifest)) == manifest


def test_a_name_that_is_no_text_is_kept() -> None:
    manifest = Manifest({"\udcff": FileDigest(1, A)})

    assert parse(render(manifest)) == manifest


def text(files: object = None, versions: object = None, **fields: object) -> bytes:
    return json.dumps(
        {"manifest": 1, "files": files or {}, "versions": versions or {}, **fields}
    ).encode()


def file(size: object = 1, sha256: object = A, **fields: object) -> dict[str, object]:
    return {"size": size, "sha256": sha256, **fields}


def test_digits_may_be_upper_case() -> None:
    assert parse(text({"x": file(sha256=A.upper())})).common == {"x": FileDigest(1, A)}


def test_a_manifest_may_have_no_common_files() -> None:
    assert parse(b'{"manifest": 1, "versions": {"1": {}}}') == Manifest({}, {1: {}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"", "manifest.json is not JSON (line 1, column 1: Expecting value)", id="empty"
        ),
        pytest.param(
            text()[:-20],
            "manifest.json is not JSON (line 1, column 25: Expecting value)",
            id="half",
        ),
        pytest.param(b"\xff\xfe\x00", "manifest.json is not JSON", id="no text"),
        pytest.param(b"[" * 100_000, "manifest.json is not JSON", id="too deep"),
        pytest.param(b"9" * 5_000, "manifest.json is not JSON", id="too long a number"),
        pytest.param(b"[]", "manifest.json: must be an object", id="a list"),
        pytest.param(
            b"{}",
            "manifest.json: manifest: must be 1, the only format that we know",
            id="no format",
        ),
        pytest.param(
            text(manifest=2),
            "manifest.json: manifest: must be 1, the only format that we know",
            id="another format",
        ),
        pytest.param(
            text(manifest=True),
            "manifest.json: manifest: must be 1, the only format that we know",
            id="no number",
        ),
        pytest.param(b'{"manifest": 1}', "manifest.json: 'versions' is missing", id="no versions"),
        pytest.param(text(extra=1), "manifest.json: 'extra' is not known", id="an unknown field"),
        pytest.param(
            b'{"manifest": 1, "manifest": 1}',
            "manifest.json: 'manifest' stands there twice",
            id="a field twice",
        ),
        pytest.param(
            text(versions=[1]),
            "manifest.json: versions: must be an object",
            id="a list of versions",
        ),
        pytest.param(
            text(versions={"01": {}}),
            "manifest.json: versions: '01' is not a version",
            id="no version",
        ),
        pytest.param(
            text(versions={"1": {"x": 1}}),
            "manifest.json: versions.1.x: must be an object",
            id="a file that is a number",
        ),
        pytest.param(
            text({"x": {"size": 1}}), "manifest.json: files.x: 'sha256' is missing", id="no digest"
        ),
        pytest.param(
            text({"x": file(mode=1)}), "manifest.json: files.x: 'mode' is not known", id="a mode"
        ),
        *(
            pytest.param(
                text({"x": file(size=size)}),
                "manifest.json: files.x.size: must be a whole number, not below zero",
                id=f"size {size!r}",
            )
            for size in (-1, 1.5, "1", True, None)
        ),
        *(
            pytest.param(
                text({"x": file(sha256=digest)}),
                "manifest.json: files.x.sha256: must be 64 hexadecimal digits",
                id=f"digest {digest!r}",
            )
            for digest in (A[:-1], A + "a", "g" * 64, 1)
        ),
        *(
            pytest.param(
                text({path: file()}),
                f"manifest.json: files: {path!r} is not a relative path without detours",
                id=f"path {path!r}",
            )
            for path in ("", ".", "..", "/x", "../x", "x/..", "x//y", "./x", "x/", "x\0")
        ),
        *(
            pytest.param(
                text({path: file()}),
                f"manifest.json: files: {path!r} is not looked at, and cannot be listed",
                id=f"path {path!r}",
            )
            for path in ("__pycache__/x", ".git/x", "x~", "y/.x.swp")
        ),
        pytest.param(
            text({"manifest.json": file()}),
            "manifest.json: files: 'manifest.json' cannot list itself",
            id="itself",
        ),
        pytest.param(
            text({"1/x": file()}),
            "manifest.json: files: '1/x' belongs below versions.1",
            id="a version's file",
        ),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_place(content: bytes, message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse(content)

    assert str(raised.value) == message


def test_a_manifest_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    (tmp_path / "manifest.json").write_bytes(b" " * ((1 << 20) + 1))

    with pytest.raises(ManifestError, match=r"^manifest.json is longer than 1 MiB$"):
        read(tmp_path / "manifest.json")


def test_a_model_is_what_its_own_manifest_says(model: Path) -> None:
    made = made_of(model)
    files = files_of(model, 2)

    by_size = compare_sizes(made, 2, files)

    assert by_size == compare_digests(made, 2, digest_files(model, files))
    assert by_size.is_complete
    assert by_size.progress == "3 of 3 files"


def test_versions_do_not_wait_for_each_other(model: Path) -> None:
    made = made_of(model)

    (model / "2" / "more").unlink()

    assert compare_sizes(made, 1, files_of(model, 1)).is_complete
    assert compare_sizes(made, 2, files_of(model, 2)).progress == "2 of 3 files"


@pytest.mark.parametrize("compare_by", ["size", "digest"])
def test_says_what_is_missing_short_and_too_much(model: Path, compare_by: str) -> None:
    made = made_of(model)
    (model / "2" / "more").unlink()
    (model / "2" / "extra").touch()
    (model / "2" / "model.onnx").write_text("weig")
    files = files_of(model, 2)

    found = (
        compare_sizes(made, 2, files)
        if compare_by == "size"
        else compare_digests(made, 2, digest_files(model, files))
    )

    assert found == Comparison(
        listed=3,
        missing=("2/more",),
        other_size=("2/model.onnx",),
        unlisted=("2/extra",),
    )
    assert found.progress == "1 of 3 files, 2/extra is not in manifest.json"


def test_another_content_of_the_same_size_is_found_by_its_digest(model: Path) -> None:
    made = made_of(model)
    (model / "2" / "model.onnx").write_text("WEIGHTS 2")
    files = files_of(model, 2)

    found = compare_digests(made, 2, digest_files(model, files))

    assert compare_sizes(made, 2, files).is_complete
    assert found == Comparison(listed=3, other_content=("2/model.onnx",))
    assert found.progress == "2 of 3 files, 2/model.onnx differs from manifest.json"


def test_a_change_of_a_common_file_concerns_every_version(model: Path) -> None:
    made = made_of(model)

    (model / "config.pbtxt").write_text("other")

    for version in (1, 2):
        assert compare_sizes(made, version, files_of(model, version)).other_size == (
            "config.pbtxt",
        )


def test_a_broken_link_is_no_file_of_size_zero(model: Path) -> None:
    (model / "2" / "more").unlink()
    made = manifest_of({"2/more": FileDigest(0, A)}, [2])
    (model / "2" / "more").symlink_to("absent")
    files = [file for file in files_of(model, 2) if file.path == "2/more"]

    assert compare_sizes(made, 2, files).other_size == ("2/more",)


@pytest.mark.parametrize("by_size", [True, False])
def test_a_version_that_is_not_listed_is_not_complete(*, by_size: bool) -> None:
    made = Manifest()

    found = compare_sizes(made, 3, []) if by_size else compare_digests(made, 3, {})

    assert not found.is_complete
    assert found.progress == "not in manifest.json"


def test_a_version_without_files_can_be_listed() -> None:
    assert compare_sizes(manifest_of({}, [1]), 1, []).is_complete


def test_one_of_many_paths_is_named() -> None:
    found = Comparison(listed=2, other_content=("x", "y"), unlisted=("z",))

    assert found.progress == (
        "0 of 2 files, x (and 1 more) differs from manifest.json, z is not in manifest.json"
    )


def test_a_manifest_that_is_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")

    with pytest.raises(OSError, match="it is a pipe, socket or device, not a file"):
        read(tmp_path / "manifest.json")
