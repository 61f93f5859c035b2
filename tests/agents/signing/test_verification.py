"""A model against its signature: each file, none too many, none too few."""

import dataclasses
import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock_agents.api import DirectoryLocation, FilesLocation, Location, MemoryFile
from interlock_agents.signing.bundle import parse
from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.verification import Verdict, Wanted, sign_model, verify
from tests.support.signing import (
    ISSUER,
    KEYS,
    NOW,
    OTHER,
    P256,
    RELEASE,
    ROOT,
    Owner,
    change_bundle,
    encoded,
    sign_directory,
    sign_statement,
    statement_in,
    trusted,
    write_model,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that P256 has signed."""
    return sign_directory(write_model(tmp_path / "m"))


@pytest.fixture(params=["on disk", "in memory"])
def location(request: pytest.FixtureRequest, model: Path) -> Iterator[Location]:
    """The same files, wherever they lie."""
    on_disk = DirectoryLocation(model)
    if request.param == "on disk":
        yield on_disk
        return
    memory = {path: MemoryFile.of(file.read()) for path, file in on_disk.files().items()}
    yield FilesLocation(memory)
    for file in memory.values():
        file.close()


def check(location: Location | Path, *versions: int, name: str = "m", subject: str = "") -> Verdict:
    found = DirectoryLocation(location) if isinstance(location, Path) else location
    who = [trusted(*KEYS.values(), certificates=[ROOT])]
    return verify(found, Wanted(name, versions, subject), who, now=NOW)


def refusal(location: Location | Path, *versions: int, name: str = "m", subject: str = "") -> str:
    with pytest.raises(SignatureError) as refused:
        check(location, *versions, name=name, subject=subject)
    return str(refused.value)


def test_a_model_that_is_as_it_was_signed_passes(location: Location) -> None:
    verdict = check(location)

    assert (verdict.signer.name, verdict.name, verdict.files) == ("release", "m", 4)


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_signs(tmp_path: Path, kind: str) -> None:
    sign_directory(write_model(tmp_path / "m"), KEYS[kind])

    assert check(tmp_path / "m").files == 4


def test_certificates_sign(tmp_path: Path) -> None:
    sign_directory(write_model(tmp_path / "m"), RELEASE.key, chain=(RELEASE, ISSUER))

    assert check(tmp_path / "m").signer.subject == "CN=release"


@pytest.mark.parametrize("path", ["config.pbtxt", "1/model.onnx", "1/deep/vocabulary"])
def test_a_byte_that_was_changed_is_found(model: Path, path: str) -> None:
    content = bytearray((model / path).read_bytes())
    content[-1] ^= 1
    (model / path).write_bytes(content)

    assert refusal(model) == f"file {path} is not what was signed"


def test_a_file_that_is_missing_is_found(model: Path) -> None:
    (model / "config.pbtxt").unlink()

    assert refusal(model) == "signed and not there: config.pbtxt"


@pytest.mark.parametrize(
    "path", ["extra.txt", "1/model.py", "1/.hidden", "1/model.sig", "1/.gitignore", "sub/.git/x"]
)
def test_a_file_that_is_not_signed_is_found(model: Path, path: str) -> None:
    (model / path).parent.mkdir(parents=True, exist_ok=True)
    (model / path).write_text("x")

    assert refusal(model) == f"there and not signed: {path}"


def test_of_many_files_some_are_named(model: Path) -> None:
    for number in range(9):
        (model / f"extra{number}").write_text("x")

    assert refusal(model) == "there and not signed: extra0, extra1, extra2 and 6 more"


def test_files_of_git_are_left_out(model: Path) -> None:
    (model / ".git" / "objects").mkdir(parents=True)
    (model / ".git" / "objects" / "1").write_text("x")
    (model / ".gitignore").write_text("x")

    assert check(model).files == 4


@pytest.mark.parametrize("path", ["1", "config.pbtxt", "1/model.onnx"])
def test_what_would_be_loaded_cannot_be_left_out(model: Path, path: str) -> None:
    fields = statement_in(model)
    _leave_out(fields, path)
    sign_statement(model, fields)

    assert refusal(model).startswith(f"there and not signed: {path}")


def _leave_out(fields: dict[str, Any], path: str) -> None:
    predicate = fields["predicate"]
    predicate["serialization"]["ignore_paths"].append(path)
    kept = [one for one in predicate["resources"] if not f"{one['name']}/".startswith(f"{path}/")]
    predicate["resources"] = kept
    fields["subject"][0]["digest"]["sha256"] = _root(kept)


def _root(resources: list[dict[str, str]]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()


def test_other_versions_are_passed_over(model: Path) -> None:
    (model / "2" / "model.onnx").write_text("half there")
    (model / "3").mkdir()
    (model / "3" / "model.onnx").write_text("new")

    assert check(model, 1).files == 3
    assert refusal(model, 2) == "file 2/model.onnx is not what was signed"
    assert refusal(model, 1, 3) == "version 3 is not signed"


def test_the_signature_of_another_model_is_told(model: Path, tmp_path: Path) -> None:
    other = sign_directory(write_model(tmp_path / "other"), name="other")

    assert refusal(other) == "it is the signature of model 'other', and not of 'm'"
    assert check(other, name="other").name == "other"
    assert check(other, name="*").name == "other"


def test_the_signature_of_another_content_is_told(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "x" / "m")
    (other / "1" / "model.onnx").write_text("another")
    (model / "model.sig").write_bytes((sign_directory(other) / "model.sig").read_bytes())

    assert refusal(model) == "file 1/model.onnx is not what was signed"


def test_the_key_of_another_is_told(model: Path) -> None:
    sign_directory(model, OTHER)

    assert "signed with another key (" in refusal(model)


def test_a_model_without_a_signature_is_told(model: Path) -> None:
    (model / "model.sig").unlink()

    assert refusal(model) == "the model is not signed: it has no file model.sig"


def test_the_certificate_that_is_asked_for_must_have_signed(model: Path, tmp_path: Path) -> None:
    certified = write_model(tmp_path / "c" / "m")
    sign_directory(certified, RELEASE.key, chain=(RELEASE, ISSUER))

    assert check(certified, subject="CN=release").files == 4
    assert refusal(certified, subject="CN=other") == (
        "signed by 'CN=release', and must be by certificate 'CN=other'"
    )
    assert refusal(model, subject="CN=release") == (
        "signed by a key without one, and must be by certificate 'CN=release'"
    )


def test_nothing_of_a_statement_is_read_before_its_signer_is_known(model: Path) -> None:
    change_bundle(model, "dsseEnvelope", "payload", to=encoded(b"not even JSON"))

    assert "it was changed, or forged" in refusal(model)


@pytest.mark.parametrize("chain", [(), (RELEASE, ISSUER)], ids=["key", "certificate"])
def test_a_flipped_bit_anywhere_in_what_is_signed_is_found(
    model: Path, chain: tuple[Owner, ...]
) -> None:
    sign_directory(model, RELEASE.key if chain else P256, chain=chain)
    bundle = parse((model / "model.sig").read_bytes())

    changed = [dataclasses.replace(bundle, payload=one) for one in _flipped(bundle.payload)]
    changed += [dataclasses.replace(bundle, signature=one) for one in _flipped(bundle.signature)]
    for one in changed:
        (model / "model.sig").write_bytes(one.text())
        assert "it was changed, or forged" in refusal(model)


def _flipped(content: bytes) -> Iterator[bytes]:
    for index in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[index] ^= 1 << index % 8
        yield bytes(flipped)


def test_a_bundle_of_100_mb_is_refused_before_it_is_read(model: Path) -> None:
    with (model / "model.sig").open("wb") as stream:
        stream.truncate(100_000_000)

    assert refusal(model) == "it is longer than 32 MiB, and was not read further"


def test_a_signature_that_cannot_be_read_is_told(model: Path) -> None:
    (model / "model.sig").unlink()
    (model / "model.sig").mkdir()

    assert refusal(model) == "failed to read model.sig: Is a directory"


def test_no_signature_is_made_that_would_not_be_read() -> None:
    file = MemoryFile.of(b"x")
    many = FilesLocation({f"{'x' * 4000}{number}": file for number in range(7000)})

    with pytest.raises(SignatureError, match="the signature would be longer than 32 MiB"):
        sign_model(many, "m", P256)
    file.close()


def test_links_that_leave_the_model_are_refused(model: Path, tmp_path: Path) -> None:
    original = (model / "1" / "model.onnx").read_bytes()
    (tmp_path / "outside").write_bytes(original)
    (model / "1" / "model.onnx").unlink()
    (model / "1" / "model.onnx").symlink_to(tmp_path / "outside")

    assert refusal(model).endswith("'1/model.onnx' leads out of the model directory")


def test_a_signature_outside_of_the_model_is_not_read(model: Path, tmp_path: Path) -> None:
    (model / "model.sig").rename(tmp_path / "model.sig")
    (model / "model.sig").symlink_to(tmp_path / "model.sig")

    assert refusal(model) == (
        "failed to read model.sig: 'model.sig' leads out of the model directory"
    )


def test_a_path_in_a_statement_does_not_lead_out(model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    fields = statement_in(model)
    fields["predicate"]["resources"][0]["name"] = "../outside"
    sign_statement(model, fields)

    assert refusal(model) == "'../outside' leads out of the model directory"


def test_links_inside_the_model_are_followed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m")
    (model / "1" / "link").symlink_to("model.onnx")
    sign_directory(model)

    assert check(model).files == 5


def test_whoever_waits_no_longer_ends_it(model: Path) -> None:
    class GoneError(Exception):
        pass

    def gone() -> None:
        raise GoneError

    with pytest.raises(GoneError):
        verify(DirectoryLocation(model), Wanted("m"), [trusted(P256)], now=NOW, check=gone)


def test_large_files_are_not_held_in_memory(model: Path) -> None:
    with (model / "1" / "large").open("wb") as stream:
        stream.truncate(128 << 20)
    sign_directory(model)
    tracemalloc.start()
    check(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20


def test_a_model_without_files_cannot_be_signed(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="there is no file to be signed"):
        sign_model(DirectoryLocation(tmp_path), "m", P256)


def test_signatures_are_of_the_format_that_others_read(model: Path) -> None:
    fields = statement_in(model)

    assert fields["predicate"]["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": ["model.sig", ".git", ".gitattributes", ".github", ".gitignore"],
    }
    assert [one["name"] for one in fields["predicate"]["resources"]] == [
        "1/deep/vocabulary",
        "1/model.onnx",
        "2/model.onnx",
        "config.pbtxt",
    ]
