"""What `interlock keys` makes, lists and rotates, and that it never prints a secret."""

import shlex
import sys
from pathlib import Path

import pytest

from interlock_agents.encryption.files import read_recipients
from interlock_agents.encryption.key_sources import KeyDirectory
from interlock_agents.encryption.keys import Key, KeyKind
from tests.support.command_line import CommandLine, Printed
from tests.support.encryption import MASTER, PAIR, decrypted, encrypted, write_key
from tests.support.signing import P256, sign_directory, write_model, write_private_key

PATHS = ("1/model.onnx", "config.pbtxt")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that is for the key `master`."""
    place = tmp_path / "m"
    for path in PATHS:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / f"{path}.enc").write_bytes(encrypted(path.encode(), path=path))
    (place / "config.pbtxt").write_text('name: "m"')
    return place


def secrets(directory: Path) -> list[str]:
    keys = KeyDirectory(directory)
    return [keys.find(key_id).material.content.hex() for key_id in keys.ids()]


def recipients(model: Path) -> set[str]:
    return {
        recipient.key_id for path in PATHS for recipient in read_recipients(model / f"{path}.enc")
    }


def read(model: Path, *keys: Key) -> list[str]:
    return [
        decrypted((model / f"{path}.enc").read_bytes(), *keys, path=path).decode() for path in PATHS
    ]


def rotate(
    command_line: CommandLine, directory: Path, old: str, new: str, *words: str | Path
) -> Printed:
    return command_line.run(
        "keys", "rotate", old, new, *map(str, words), "--key-directory", str(directory)
    )


def test_a_pair_is_made(command_line: CommandLine, directory: Path) -> None:
    printed = command_line.run("keys", "new", "release-1", "--key-directory", str(directory))

    public = (directory / "release-1.pub").read_text().strip()
    assert printed.code == 0
    assert printed.out == (
        f"{directory}/release-1.key: x25519 key 'release-1'\n"
        f"{directory}/release-1.pub: its public half: {public}\n"
    )
    assert (directory / "release-1.key").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert secrets(directory)[0] not in printed.out


def test_a_symmetric_key_is_made(command_line: CommandLine, directory: Path) -> None:
    words = ["--kind", "aes256", "--key-directory", str(directory), "--json"]

    printed = command_line.run("keys", "new", "k", *words)

    assert printed.json == {"id": "k", "kind": "aes256", "file": f"{directory}/k.key"}
    assert secrets(directory)[0] not in printed.out


def test_two_keys_differ(command_line: CommandLine, directory: Path) -> None:
    for key_id in ("a", "b"):
        command_line.run("keys", "new", key_id, "--key-directory", str(directory))

    assert len(set(secrets(directory))) == 2


def test_a_key_is_not_made_twice(command_line: CommandLine, directory: Path) -> None:
    command_line.run("keys", "new", "k", "--key-directory", str(directory))
    before = secrets(directory)

    printed = command_line.run("keys", "new", "k", "--key-directory", str(directory))

    assert (printed.code, printed.err) == (
        1,
        f"interlock keys: there is a key 'k' already: '{directory}/k.key'\n",
    )
    assert secrets(directory) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new"], "new: it takes the name of one key"),
        (["new", "a", "b"], "new: it takes the name of one key"),
        (["rotate", "a", "b"], "rotate: it takes the old key, the new one, and models"),
        (["rotate", "a", "a", "m"], "rotate: both keys are the same"),
    ],
)
def test_wrong_usage(
    command_line: CommandLine, directory: Path, words: list[str], said: str
) -> None:
    printed = command_line.run("keys", *words, "--key-directory", str(directory))

    assert (printed.code, printed.err) == (2, f"interlock keys: {said}\n")


def test_a_name_that_cannot_be_is_refused(command_line: CommandLine, directory: Path) -> None:
    printed = command_line.run("keys", "new", "../k", "--key-directory", str(directory))

    assert printed.code == 1
    assert "'../k' is no name of a key" in printed.err


def test_keys_are_listed_with_what_is_for_them(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, PAIR)
    write_key(directory, Key.new("open", KeyKind.AES256)).chmod(0o644)
    words = ["--key-directory", str(directory)]

    printed = command_line.run("keys", "list", str(model), *words)

    assert printed.lines[0] == "KEY KIND FILES PROBLEM"
    assert printed.lines[1] == (
        f"open - 0 key '{directory}/open.key' is open to others (mode 0644); "
        f"chmod 600 '{directory}/open.key'"
    )
    assert printed.lines[2:] == ["pair x25519 0", f"master - 2 not in {directory}"]
    as_json = command_line.run("keys", "list", str(model), *words, "--json").json
    assert as_json[1] == {"id": "pair", "kind": "x25519", "files": 0}
    assert as_json[2] == {
        "id": "master",
        "kind": "",
        "files": 2,
        "problem": f"not in {directory}",
    }


def test_without_models_nobody_says_that_a_key_has_no_files(
    command_line: CommandLine, directory: Path
) -> None:
    write_key(directory, PAIR)
    words = ["--key-directory", str(directory)]

    assert command_line.run("keys", "list", *words).lines[1] == "pair x25519 -"
    (as_json,) = command_line.run("keys", "list", *words, "-o", "json").json
    assert as_json == {"id": "pair", "kind": "x25519", "files": None}


def test_a_rotation_makes_the_new_key_and_moves_the_files(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    chunks = [(model / f"{path}.enc").read_bytes()[-16:] for path in PATHS]

    printed = rotate(command_line, directory, "master", "release-2", model)

    assert printed.out == f"{model}: 2 files given from 'master' to 'release-2'\n"
    new = KeyDirectory(directory).find("release-2")
    assert new.kind is KeyKind.AES256
    assert recipients(model) == {"release-2"}
    assert read(model, new) == list(PATHS)
    assert [(model / f"{path}.enc").read_bytes()[-16:] for path in PATHS] == chunks
    assert not any(secret in printed.out for secret in secrets(directory))


def test_a_rotation_to_a_pair_that_is_there(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    write_key(directory, PAIR)

    assert rotate(command_line, directory, "master", "pair", model).code == 0

    assert read(model, PAIR) == list(PATHS)


def test_a_rotation_to_a_public_key_of_somebody_else(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)

    rotate(command_line, directory, "master", PAIR.public().line().decode().strip(), model)

    assert read(model, PAIR) == list(PATHS)
    assert KeyDirectory(directory).ids() == ["master"]


def test_the_old_key_can_stay_for_a_while(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    write_key(directory, PAIR)

    printed = rotate(command_line, directory, "master", "pair", model, "--keep-old")
    assert printed.out == f"{model}: 2 files of 'master' given to 'pair' too\n"
    assert read(model, MASTER) == read(model, PAIR) == list(PATHS)

    rotate(command_line, directory, "master", "pair", model)
    assert recipients(model) == {"pair"}


def test_a_second_rotation_finds_nothing_to_do(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    rotate(command_line, directory, "master", "new", model)

    printed = rotate(command_line, directory, "master", "new", model)

    assert printed.out == f"{model}: 0 files given from 'master' to 'new'\n"


def test_a_rotation_keeps_a_manifest_right(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    command_line.run("manifest", str(model))

    assert rotate(command_line, directory, "master", "new", model).code == 0

    assert command_line.run("manifest", "--check", str(model)).code == 0


def test_a_rotation_tells_that_a_signature_is_of_the_old_files(
    command_line: CommandLine, directory: Path, model: Path, tmp_path: Path
) -> None:
    write_key(directory, MASTER)
    key = write_private_key(tmp_path / "release.key", P256)
    command_line.run("sign", str(model), f"--key={key}")

    printed = rotate(command_line, directory, "master", "new", model)

    assert printed.code == 0
    assert printed.err == (
        f"interlock keys: {model}: model.sig is of the old files; sign again: "
        "'interlock sign' comes last\n"
    )
    assert command_line.run("sign", str(model), f"--key={key}").code == 0
    printed = rotate(command_line, directory, "new", "newer", model, "--json")
    assert printed.json["sign_again"] == [str(model)]


def test_a_rotation_tells_nothing_of_a_signature_of_the_clear_files(
    command_line: CommandLine, directory: Path, model: Path, tmp_path: Path
) -> None:
    write_key(directory, MASTER)
    clear = write_model(tmp_path / "clear")
    (model / "model.sig").write_bytes((sign_directory(clear) / "model.sig").read_bytes())

    assert rotate(command_line, directory, "master", "new", model).err == ""


def test_a_rotation_does_not_vouch_for_what_somebody_has_changed(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    command_line.run("manifest", str(model))
    (model / "config.pbtxt").write_text('name: "other"')

    printed = rotate(command_line, directory, "master", "new", model)

    assert printed.code == 1
    assert "manifest.json is not that of the model: version 1: " in printed.err
    assert recipients(model) == {"master"}


def test_a_rotation_without_the_old_key_is_refused(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, PAIR)

    printed = rotate(command_line, directory, "master", "pair", model)

    assert printed.code == 1
    assert "1/model.onnx.enc: no key 'master' in key directory" in printed.err
    assert recipients(model) == {"master"}


def test_a_rotation_finds_keys_wherever_they_are(
    command_line: CommandLine, directory: Path, model: Path, tmp_path: Path
) -> None:
    write_key(directory, PAIR)
    place = write_key(tmp_path / "elsewhere", MASTER)
    command = shlex.join([sys.executable, "-c", f"print(open({str(place)!r}).read())"])

    printed = rotate(
        command_line, directory, "master", "pair", model, "--key-source", f"exec:{command}"
    )

    assert printed.code == 0
    assert recipients(model) == {"pair"}


def test_what_is_no_source_of_keys(command_line: CommandLine, directory: Path, model: Path) -> None:
    write_key(directory, MASTER)

    printed = rotate(command_line, directory, "master", "n", model, "--key-source", "vault:x")

    assert printed.err == (
        "interlock keys: 'vault:x' is no source of keys: it is env:VARIABLE or exec:COMMAND\n"
    )


def test_a_file_that_is_none_is_named(
    command_line: CommandLine, directory: Path, model: Path
) -> None:
    write_key(directory, MASTER)
    (model / "1" / "model.onnx.enc").write_text("weights")

    printed = rotate(command_line, directory, "master", "new", model)

    assert printed.err == (
        f"interlock keys: {model}/1/model.onnx.enc: it is not encrypted, or its beginning is "
        "damaged\n"
    )


def test_a_directory_that_others_look_into_is_refused(
    command_line: CommandLine, directory: Path
) -> None:
    directory.mkdir(mode=0o755)

    for words in (["list"], ["new", "k"]):
        printed = command_line.run("keys", *words, "--key-directory", str(directory))
        assert printed.code == 1
        assert "is open to others (mode 0755); chmod 700" in printed.err
