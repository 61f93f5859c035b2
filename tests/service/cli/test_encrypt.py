"""What `interlock encrypt` makes of a model, and that a refusal leaves the model as it was."""

import hashlib
import os
from pathlib import Path

import pytest

from interlock.cli.clear_config import stub_of
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.locked_memory import LockedMemory
from tests.support.agent_model import AgentModelFake
from tests.support.command_line import CommandLine
from tests.support.encryption import MASTER, PAIR, KeysFake, write_key
from tests.support.signing import P256, write_private_key

CONFIG = 'name: "m"\nbackend: "onnxruntime"  # as always\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for version in ("1", "2"):
        (directory / version).mkdir(parents=True)
        (directory / version / "model.onnx").write_text(f"weights {version}")
    (directory / "config.pbtxt").write_text(CONFIG)
    (directory / "labels.txt").write_text("cat\n")
    return directory


@pytest.fixture
def public(tmp_path: Path) -> str:
    place = tmp_path / "pair.pub"
    place.write_bytes(PAIR.public().line())
    return str(place)


def tree(directory: Path) -> dict[str, str]:
    """Return the digest of each file by its path."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def read(model: Path, *keys: Key) -> dict[str, str]:
    """Return what the decrypt agent makes of a model."""
    shared = Decryption(KeysFake(*(keys or (PAIR,))), CoreDumps(), lambda _: None, LockedMemory())
    with AgentModelFake(model) as held:
        files = held.load(shared.agent()).files()
        return {path: file.read().decode() for path, file in files.items()}


CLEAR = {
    "1/model.onnx": "weights 1",
    "2/model.onnx": "weights 2",
    "config.pbtxt": CONFIG,
    "labels.txt": "cat\n",
}


def test_a_model_is_encrypted_in_place(command_line: CommandLine, model: Path, public: str) -> None:
    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert (printed.code, printed.err) == (0, "")
    assert printed.out == f"{model}: encrypted: 4 files, 68 bytes, for: pair\n"
    assert list(tree(model)) == [
        "1/model.onnx.enc",
        "2/model.onnx.enc",
        "config.pbtxt",
        "config.pbtxt.enc",
        "labels.txt.enc",
    ]
    stub = (model / "config.pbtxt").read_text()
    assert stub == stub_of("", "", model="m")
    assert read(model) == CLEAR


def test_a_model_is_encrypted_elsewhere(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    before = tree(model)
    out = tmp_path / "published"

    printed = command_line.run("encrypt", str(model), "--recipient", public, "--out", str(out))

    assert printed.out == f"{out}: encrypted: 4 files, 68 bytes, for: pair\n"
    assert tree(model) == before
    assert read(out) == CLEAR
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "pair.pub", "published"]


def test_the_folders_on_the_way_there_are_made(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    out = tmp_path / ".releases" / "1" / "m"

    printed = command_line.run("encrypt", str(model), "--recipient", public, "--out", str(out))

    assert (printed.code, read(out)) == (0, CLEAR)


def test_the_result_can_be_json(command_line: CommandLine, model: Path, public: str) -> None:
    printed = command_line.run("encrypt", str(model), "--recipient", public, "--json")

    assert printed.json == {"files": 4, "bytes": 68, "recipients": ["pair"]}


def test_chosen_files_alone_are_encrypted(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--recipient", public, "--file", "*/model.onnx", "--out", str(out)]

    assert command_line.run("encrypt", str(model), *words).code == 0

    assert list(tree(out)) == ["1/model.onnx.enc", "2/model.onnx.enc", "config.pbtxt", "labels.txt"]
    config = (out / "config.pbtxt").read_text()
    assert config == CONFIG + 'model_repository_agents { agents [ { name: "decrypt" } ] }\n'
    assert read(out) == {**CLEAR, "config.pbtxt": config}


def test_a_version_can_be_added_to_an_encrypted_model(
    command_line: CommandLine, model: Path, public: str
) -> None:
    command_line.run("encrypt", str(model), "--recipient", public)
    stub = (model / "config.pbtxt").read_text()
    (model / "3").mkdir()
    (model / "3" / "model.onnx").write_text("weights 3")

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.out == f"{model}: encrypted: 1 files, 9 bytes, for: pair\n"
    assert (model / "config.pbtxt").read_text() == stub
    assert read(model) == {**CLEAR, "3/model.onnx": "weights 3"}


def test_a_model_without_a_configuration_gets_one(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "config.pbtxt").unlink()

    command_line.run("encrypt", str(model), "--recipient", public)

    assert (model / "config.pbtxt").read_text() == stub_of("", "", model="m")
    assert not (model / "config.pbtxt.enc").exists()


NAMED = 'backend: "onnxruntime" model_repository_agents { agents { name: "checksum" } }\n'


@pytest.mark.parametrize("is_in_place", [True, False])
def test_configurations_with_names_keep_their_agents(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path, *, is_in_place: bool
) -> None:
    (model / "configs").mkdir()
    (model / "configs" / "gpu.pbtxt").write_text(NAMED)
    out = model if is_in_place else tmp_path / "out"
    words = [] if is_in_place else ["--out", str(out)]

    assert command_line.run("encrypt", str(model), "--recipient", public, *words).code == 0

    assert (out / "configs" / "gpu.pbtxt").read_text() == stub_of(NAMED, "", model="m")
    assert read(out) == {**CLEAR, "configs/gpu.pbtxt": NAMED}
    printed = command_line.run("encrypt", str(out), "--recipient", public)
    assert printed.err == "interlock encrypt: no file is there that is not encrypted\n"


def test_configurations_with_names_ask_for_the_agent(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "configs").mkdir()
    place = model / "configs" / "gpu.pbtxt"
    place.write_text('backend: "onnxruntime"\n')
    words = ("--recipient", public, "--file", "*/model.onnx")

    assert command_line.run("encrypt", str(model), *words).code == 0
    assert 'name: "decrypt"' in place.read_text()
    assert 'backend: "onnxruntime"' in place.read_text()


@pytest.mark.parametrize("is_in_place", [True, False])
def test_a_manifest_is_written_anew(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path, *, is_in_place: bool
) -> None:
    out = model if is_in_place else tmp_path / "out"
    command_line.run("manifest", str(model))
    before = (model / "manifest.json").read_text()

    words = [] if is_in_place else ["--out", str(out)]
    assert command_line.run("encrypt", str(model), "--recipient", public, *words).code == 0

    assert command_line.run("manifest", "--check", str(out)).code == 0
    assert (out / "manifest.json").read_text() != before
    assert read(out) == {**CLEAR, "manifest.json": before}


def test_a_manifest_of_encrypted_files_is_not_encrypted(
    command_line: CommandLine, model: Path, public: str
) -> None:
    command_line.run("encrypt", str(model), "--recipient", public)
    command_line.run("manifest", str(model))
    (model / "3").mkdir()
    (model / "3" / "model.onnx").write_text("weights 3")

    assert command_line.run("encrypt", str(model), "--recipient", public).code == 0

    assert command_line.run("manifest", "--check", str(model)).code == 0
    assert read(model) == {**CLEAR, "3/model.onnx": "weights 3"}


def test_a_signature_without_the_manifest_is_not_encrypted(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    key = write_private_key(tmp_path / "release.key", P256)
    command_line.run("sign", str(model), f"--key={key}")
    command_line.run("manifest", str(model))
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.code == 1
    assert printed.err == (
        "interlock encrypt: model.sig is not of manifest.json as it is; sign again: "
        "'interlock sign' comes last\n"
    )
    assert tree(model) == before


def test_a_signature_of_encrypted_files_is_not_encrypted(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    key = write_private_key(tmp_path / "release.key", P256)
    command_line.run("encrypt", str(model), "--recipient", public)
    command_line.run("sign", str(model), f"--key={key}")
    (model / "3").mkdir()
    (model / "3" / "model.onnx").write_text("weights 3")

    printed = command_line.run("encrypt", str(model), "--recipient", public, "--json")

    assert (model / "model.sig").exists()
    assert not (model / "model.sig.enc").exists()
    assert printed.json == {"files": 1, "bytes": 9, "recipients": ["pair"], "sign_again": True}
    assert "model.sig is of the old files; sign again" in printed.err


def test_every_recipient_can_read_it(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    write_key(tmp_path / "keys", MASTER)
    words = ["--recipient", public, "--recipient", "master", "--key-directory"]

    command_line.run("encrypt", str(model), *words, str(tmp_path / "keys"))

    assert read(model, PAIR) == read(model, MASTER) == CLEAR


def test_a_recipient_can_be_written_out(command_line: CommandLine, model: Path) -> None:
    line = PAIR.public().line().decode().strip()

    assert command_line.run("encrypt", str(model), "--recipient", line).code == 0

    assert read(model) == CLEAR


def test_a_name_means_the_public_half_where_that_is_there(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)  # nothing in it is a secret
    (tmp_path / "keys" / "pair.pub").write_bytes(PAIR.public().line())
    words = ["--recipient", "pair", "--key-directory", str(tmp_path / "keys")]

    assert command_line.run("encrypt", str(model), *words).code == 0

    assert read(model) == CLEAR


@pytest.mark.parametrize("key", [MASTER, PAIR])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    command_line: CommandLine, model: Path, key: Key
) -> None:
    before = tree(model)
    line = key.line().decode().strip()

    printed = command_line.run("encrypt", str(model), "--recipient", line)

    assert printed.code == 2
    assert f"key '{key.id}' is secret, and others see the arguments of a command" in printed.err
    assert key.material.content.hex() not in printed.err + printed.out
    assert tree(model) == before


@pytest.mark.parametrize(
    ("recipient", "code", "said"),
    [
        ("ilk1:aes256:k:00", 2, "a recipient that is written out is no key, or mistyped"),
        ("no key", 2, "recipient 'no key' is no key, no file and no name of a key"),
        ("pair", 2, "recipient 'pair' is a name; --key-directory says where its key is"),
        ("./nothing.pub", 1, "nothing.pub: No such file or directory"),
    ],
)
def test_what_is_no_recipient(
    command_line: CommandLine, model: Path, recipient: str, code: int, said: str
) -> None:
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", recipient)

    assert (printed.code, printed.err) == (code, f"interlock encrypt: {said}\n")
    assert tree(model) == before


def test_a_key_file_that_others_can_read_is_refused(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    place = write_key(tmp_path / "keys", MASTER)
    place.chmod(0o640)

    printed = command_line.run("encrypt", str(model), "--recipient", str(place))

    assert printed.code == 1
    assert "is open to others (mode 0640); chmod 600" in printed.err


def test_an_encrypted_model_is_not_encrypted_again(
    command_line: CommandLine, model: Path, public: str
) -> None:
    command_line.run("encrypt", str(model), "--recipient", public)
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert (printed.code, printed.err) == (
        1,
        "interlock encrypt: no file is there that is not encrypted\n",
    )
    assert tree(model) == before


def test_a_pattern_that_means_nothing_is_refused(
    command_line: CommandLine, model: Path, public: str
) -> None:
    printed = command_line.run("encrypt", str(model), "--recipient", public, "--file", "*.bin")

    assert printed.err == "interlock encrypt: no file that is to be encrypted is called *.bin\n"


def test_both_a_clear_and_an_encrypted_file_are_refused(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "labels.txt.enc").write_text("")

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.err == "interlock encrypt: both labels.txt and labels.txt.enc are there\n"


def test_agents_of_a_clear_configuration_are_a_persons_business(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "config.pbtxt").write_text(
        'model_repository_agents { agents [ { name: "checksum" } ] }'
    )
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", public, "--file", "*.onnx")

    assert printed.code == 1
    assert 'config.pbtxt has agents; write { name: "decrypt" } among them first' in printed.err
    assert tree(model) == before


def test_a_broken_configuration_is_refused(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "config.pbtxt").write_text("nmae: 'm'")
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.code == 1
    assert "config.pbtxt:1:1" in printed.err
    assert tree(model) == before


def test_a_failure_in_the_middle_leaves_the_model_as_it_was(
    command_line: CommandLine, model: Path, public: str
) -> None:
    (model / "2" / "model.onnx.enc").mkdir()  # in the way of the file
    before = tree(model)

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.code == 1
    assert "Is a directory" in printed.err
    assert tree(model) == before


def test_nothing_is_written_over(
    command_line: CommandLine, model: Path, public: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    printed = command_line.run("encrypt", str(model), "--recipient", public, "--out", str(out))

    assert printed.err == f"interlock encrypt: {out} is there already\n"
    assert list(out.iterdir()) == []


def test_a_pipe_among_the_files_is_refused(
    command_line: CommandLine, model: Path, public: str
) -> None:
    os.mkfifo(model / "1" / "pipe")

    printed = command_line.run("encrypt", str(model), "--recipient", public)

    assert printed.err == "interlock encrypt: 1/pipe is no file but a pipe, socket or device\n"


def test_a_repository_is_not_taken_for_a_model(
    command_line: CommandLine, model: Path, public: str
) -> None:
    before = {path.name for path in model.rglob("*")}

    printed = command_line.run("encrypt", str(model.parent), "--recipient", public)

    assert printed.code == 1
    assert f"{model.parent}: no model's directory: neither config.pbtxt" in printed.err
    assert {path.name for path in model.rglob("*")} == before


def test_a_model_that_is_not_there(command_line: CommandLine, tmp_path: Path, public: str) -> None:
    printed = command_line.run("encrypt", str(tmp_path / "no"), "--recipient", public)

    assert (printed.code, printed.err) == (
        1,
        f"interlock encrypt: {tmp_path / 'no'}: No such file or directory\n",
    )


def test_a_symmetric_key_can_be_a_recipient(
    command_line: CommandLine, model: Path, tmp_path: Path
) -> None:
    key = Key.new("sym", KeyKind.AES256)
    place = write_key(tmp_path / "keys", key)

    assert command_line.run("encrypt", str(model), "--recipient", str(place)).code == 0

    assert read(model, key) == CLEAR
