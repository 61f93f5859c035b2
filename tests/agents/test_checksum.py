"""The checksum agent: what it takes, what it refuses, and in which words."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    DirectoryLocation,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
)
from interlock_agents.checksum import ChecksumAgent
from interlock_agents.digesting import Digester
from tests.support.agent_model import AgentModelFake

WEIGHTS = b"weights" * 1000
MD5 = hashlib.md5(WEIGHTS).hexdigest()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for version in ("1", "2"):
        (directory / version / "deep").mkdir(parents=True)
        (directory / version / "model.onnx").write_bytes(WEIGHTS)
        (directory / version / "deep" / "vocabulary").write_bytes(b"words")
    (directory / "config.pbtxt").write_bytes(b"name: 'm'")
    (tmp_path / "secret").write_bytes(WEIGHTS)
    return directory


@pytest.fixture(params=["on disk", "in memory"])
def location(request: pytest.FixtureRequest, directory: Path) -> Iterator[Location]:
    """The same files, wherever they lie."""
    on_disk = DirectoryLocation(directory)
    if request.param == "on disk":
        yield on_disk
        return
    memory = {path: MemoryFile.of(file.read()) for path, file in on_disk.files().items()}
    yield FilesLocation(memory)
    for file in memory.values():
        file.close()


def check(
    location: Location | Path, parameters: Mapping[str, str], *versions: int
) -> AgentModelFake:
    model = AgentModelFake(location, parameters, versions=versions)
    ChecksumAgent().act(Action.LOAD, model)
    return model


def refusal(location: Location | Path, parameters: Mapping[str, str], *versions: int) -> AgentError:
    with pytest.raises(AgentError) as refused:
        check(location, parameters, *versions)
    return refused.value


def write_list(directory: Path) -> None:
    files = DirectoryLocation(directory).files()
    entries: dict[str, dict[str, object]] = {
        path: {"size": file.size, "sha256": hashlib.sha256(file.read()).hexdigest()}
        for path, file in files.items()
    }
    versions: dict[str, dict[str, object]] = {"1": {}, "2": {}}
    common: dict[str, object] = {}
    for path, entry in entries.items():
        version, _, rest = path.partition("/")
        if rest:
            versions[version][rest] = entry
        else:
            common[path] = entry
    content = {"manifest": 1, "files": common, "versions": versions}
    (directory / "manifest.json").write_text(json.dumps(content))


LISTED = {"manifest": "manifest.json"}


def test_a_file_with_its_digest_passes(location: Location) -> None:
    model = check(location, {"MD5:1/model.onnx": MD5, "sha256:1/model.onnx": SHA256})

    assert model.notes == [("checked files", "2")]
    assert model.published == []


@pytest.mark.parametrize(
    "key",
    ["MD5:1/model.onnx", "md5:1/model.onnx", "Md5:./1//model.onnx", "MD5:1/deep/../model.onnx"],
)
@pytest.mark.parametrize("digest", [MD5, MD5.upper(), MD5.title()])
def test_algorithms_and_digests_are_taken_in_any_case(
    directory: Path, key: str, digest: str
) -> None:
    check(directory, {key: digest})


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256", "SHA512", "BLAKE2B"])
def test_newer_algorithms_are_known_too(directory: Path, algorithm: str) -> None:
    digest = hashlib.new(algorithm.lower(), WEIGHTS).hexdigest()

    check(directory, {f"{algorithm}:1/model.onnx": digest})


@pytest.mark.parametrize(
    "expected", ["0" * 32, "", MD5[:-1], f"{MD5}0", f" {MD5}", "ü" * 32, "not hex"]
)
def test_a_file_with_another_digest_is_refused_in_tritons_words(
    location: Location, expected: str
) -> None:
    refused = refusal(location, {"MD5:1/model.onnx": expected})

    assert str(refused) == (
        f"Mismatched MD5 hash for file 1/model.onnx, expect: {expected}, got: {MD5}"
    )
    assert refused.fault is Fault.INVALID


def test_the_words_name_the_algorithm(directory: Path) -> None:
    text = str(refusal(directory, {"sha256:1/model.onnx": "00"}))

    assert text == f"Mismatched SHA256 hash for file 1/model.onnx, expect: 00, got: {SHA256}"


def test_one_changed_byte_is_enough(directory: Path) -> None:
    check(directory, {"SHA256:1/model.onnx": SHA256})
    changed = bytearray(WEIGHTS)
    changed[3500] ^= 1
    (directory / "1" / "model.onnx").write_bytes(changed)

    assert "Mismatched SHA256 hash" in str(refusal(directory, {"SHA256:1/model.onnx": SHA256}))


def test_a_key_without_a_colon_is_refused(directory: Path) -> None:
    refused = refusal(directory, {"1/model.onnx": MD5})

    assert str(refused) == "failed to parse key: 1/model.onnx"
    assert refused.fault is Fault.INVALID


def test_an_unknown_algorithm_is_refused_with_those_that_are_known(directory: Path) -> None:
    refused = refusal(directory, {"CRC32:1/model.onnx": "0"})

    assert str(refused) == (
        "Unsupported checksum algorithm: CRC32 (known are MD5, SHA1, SHA256, SHA512, BLAKE2B)"
    )
    assert refused.fault is Fault.UNSUPPORTED


def test_keys_are_looked_at_before_files(directory: Path) -> None:
    text = str(refusal(directory, {"MD5:missing": MD5, "nonsense": ""}))

    assert text == "failed to parse key: nonsense"


def test_a_file_that_is_not_there_is_refused(location: Location) -> None:
    text = str(refusal(location, {"MD5:1/gone.onnx": MD5}))

    assert text == "failed to open text file for read 1/gone.onnx: No such file or directory"


@pytest.mark.parametrize("path", ["../secret", "1/../../secret", "/etc/passwd", "..", ""])
def test_paths_do_not_leave_the_model(location: Location, path: str) -> None:
    text = str(refusal(location, {f"MD5:{path}": MD5}))

    assert text.startswith(f"failed to open text file for read {path}: ")
    assert "Mismatched" not in text


@pytest.mark.parametrize("key", ["MD5:leak", "MD5:all/secret", "MD5:all", "MD5:."])
def test_links_do_not_leave_the_model(directory: Path, tmp_path: Path, key: str) -> None:
    (directory / "leak").symlink_to("../secret")
    (directory / "all").symlink_to(tmp_path)

    assert "leads out of the model directory" in str(refusal(directory, {key: MD5}))


def test_a_link_inside_the_model_is_followed(directory: Path) -> None:
    (directory / "1" / "current.onnx").symlink_to("model.onnx")

    check(directory, {"MD5:1/current.onnx": MD5})


def test_a_directory_stands_for_all_files_below_it(location: Location) -> None:
    model = AgentModelFake(location)
    files = {"deep/vocabulary": b"words", "model.onnx": WEIGHTS}
    lines = [f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()

    ChecksumAgent().act(Action.LOAD, model)
    assert check(location, {"SHA256:1": digest, "SHA256:2/": digest}).notes == [
        ("checked files", "4")
    ]

    text = str(refusal(location, {"SHA256:1": "00"}))
    assert text == f"Mismatched SHA256 hash for file 1, expect: 00, got: {digest}"


def test_the_whole_model_can_stand_for_itself(location: Location) -> None:
    digest = Digester(lambda: None).of_files("BLAKE2B", location.files())

    check(location, {"BLAKE2B:.": digest})


def test_a_directory_in_which_a_file_appears_is_refused(directory: Path) -> None:
    digest = Digester(lambda: None).of_files("MD5", DirectoryLocation(directory / "1").files())
    check(directory, {"MD5:1": digest})

    (directory / "1" / ".hidden").write_bytes(b"")

    assert "Mismatched MD5 hash for file 1," in str(refusal(directory, {"MD5:1": digest}))


def test_an_empty_directory_has_nothing_to_be_checked(directory: Path) -> None:
    (directory / "3").mkdir()

    assert "Is a directory" in str(refusal(directory, {"MD5:3": hashlib.md5().hexdigest()}))


def test_every_file_is_as_the_list_says(location: Location, directory: Path) -> None:
    write_list(directory)
    if isinstance(location, FilesLocation):
        listed = DirectoryLocation(directory).file("manifest.json")
        location = FilesLocation({**location.files(), "manifest.json": listed})

    assert check(location, LISTED, 1).notes == [("checked files", "3")]
    assert check(location, LISTED).notes == [("checked files", "5")]


def test_a_list_covers_the_configuration(directory: Path) -> None:
    write_list(directory)
    (directory / "config.pbtxt").write_bytes(b"name: 'x'")

    assert str(refusal(directory, LISTED, 1)).startswith(
        "Mismatched SHA256 hash for file config.pbtxt, expect: "
    )


@pytest.mark.parametrize("path", ["1/extra", ".hidden", "1/__pycache__/model.pyc", "config.pbtxt~"])
def test_a_file_that_is_not_in_the_list_is_refused(directory: Path, path: str) -> None:
    write_list(directory)
    (directory / path).parent.mkdir(exist_ok=True)
    (directory / path).write_bytes(b"")

    text = str(refusal(directory, LISTED, 1))

    assert text == f"file {path} is there and not in manifest.json"


def test_a_file_that_is_not_there_but_in_the_list_is_refused(directory: Path) -> None:
    write_list(directory)
    (directory / "1" / "model.onnx").unlink()

    text = str(refusal(directory, LISTED, 1))

    assert text == "failed to open text file for read 1/model.onnx: No such file or directory"


def test_sizes_are_looked_at_before_contents(directory: Path) -> None:
    write_list(directory)
    (directory / "1" / "model.onnx").write_bytes(WEIGHTS + b"x")
    (directory / "1" / "deep" / "vocabulary").write_bytes(b"WORDS")

    text = str(refusal(directory, LISTED, 1))

    assert text == "file 1/model.onnx has 7001 bytes, and 7000 in manifest.json"


def test_other_versions_are_none_of_a_loads_business(directory: Path) -> None:
    write_list(directory)
    (directory / "2" / "half a file").write_bytes(b"")
    (directory / "2" / "model.onnx").unlink()

    check(directory, LISTED, 1)

    refusal(directory, LISTED, 1, 2)
    refusal(directory, LISTED)


def test_a_version_that_is_not_in_the_list_is_refused(directory: Path) -> None:
    write_list(directory)
    (directory / "3").mkdir()

    assert str(refusal(directory, LISTED, 3)) == "version 3 is not in manifest.json"


def test_a_file_in_the_place_of_a_link_to_one_in_the_list_is_the_same(directory: Path) -> None:
    """As in a volume of Kubernetes, whose files are links into a hidden directory."""
    write_list(directory)
    hidden = directory / "..2026_11_21"
    hidden.mkdir()
    (directory / "..data").symlink_to(hidden.name)
    for name in ("config.pbtxt", "1", "manifest.json"):
        (directory / name).rename(hidden / name)
        (directory / name).symlink_to(f"..data/{name}")

    check(directory, LISTED, 1)

    (hidden / "1" / "extra").write_bytes(b"")
    assert "extra is there and not in manifest.json" in str(refusal(directory, LISTED, 1))


def test_a_signature_cannot_be_in_the_list(directory: Path) -> None:
    write_list(directory)
    (directory / "model.sig").write_bytes(b"{}")

    check(directory, LISTED, 1)


def test_a_list_that_is_not_there_or_none_is_refused(directory: Path) -> None:
    text = str(refusal(directory, LISTED, 1))
    assert text == "failed to open text file for read manifest.json: No such file or directory"

    (directory / "manifest.json").write_text("{")
    assert str(refusal(directory, LISTED, 1)).startswith("manifest.json is not JSON")

    (directory / "manifest.json").write_bytes(b" " * ((16 << 20) + 1))
    assert str(refusal(directory, LISTED, 1)) == "manifest.json is longer than 16 MiB"

    assert "leads out" in str(refusal(directory, {"manifest": "../manifest.json"}, 1))


def test_a_list_outside_of_the_model_is_not_read(directory: Path, tmp_path: Path) -> None:
    write_list(directory)
    (directory / "manifest.json").rename(tmp_path / "manifest.json")
    (directory / "manifest.json").symlink_to(tmp_path / "manifest.json")

    assert str(refusal(directory, LISTED, 1)) == (
        "failed to open text file for read manifest.json: 'manifest.json' leads out of the model "
        "directory"
    )


def test_a_listed_file_that_has_become_a_link_to_another_model_is_not_read(
    directory: Path, tmp_path: Path
) -> None:
    write_list(directory)
    (directory / "1" / "model.onnx").unlink()
    (directory / "1" / "model.onnx").symlink_to(tmp_path / "secret")

    assert "leads out of the model directory" in str(refusal(directory, LISTED, 1))


def test_a_list_of_encrypted_files_that_another_agent_has_left_out_is_told() -> None:
    text = str(refusal(FilesLocation({}), LISTED, 1))

    assert text == (
        "failed to open text file for read manifest.json: No such file or directory (it may be "
        "that of the encrypted files: name 'checksum' before 'decrypt' in config.pbtxt)"
    )


def test_only_a_load_is_looked_at(directory: Path) -> None:
    model = AgentModelFake(directory, {"nonsense": ""})

    for action in set(Action) - {Action.LOAD}:
        ChecksumAgent().act(action, model)


def test_stops_when_nobody_wants_to_know_any_more(directory: Path) -> None:
    model = AgentModelFake(directory, {"MD5:1/model.onnx": MD5}, cancel_after=1)

    with pytest.raises(AgentCancelledError):
        ChecksumAgent().act(Action.LOAD, model)
