"""Keys are found by name wherever they are, unless somebody else could have read them there."""

import os
import select
import shlex
import sys
from pathlib import Path

import pytest

from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.key_sources import (
    EnvironmentKeys,
    KeyCommand,
    KeyDirectory,
    KeyRing,
    RememberedKeys,
    ring_of,
    source_of,
)
from interlock_agents.encryption.keys import Key, KeyKind
from tests.support.encryption import MASTER, PAIR, KeysFake, write_key

PATIENCE_S = 30


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "keys"
    write_key(place, MASTER)
    write_key(place, PAIR)
    return place


def same(first: Key, second: Key) -> bool:
    return (first.id, first.kind, first.material.content) == (
        second.id,
        second.kind,
        second.material.content,
    )


def test_a_key_is_found_in_a_directory(directory: Path) -> None:
    assert same(KeyDirectory(directory).find("master"), MASTER)
    assert same(KeyDirectory(directory).find("pair"), PAIR)
    assert KeyDirectory(directory).ids() == ["master", "pair"]


def test_a_directory_is_read_anew_each_time(directory: Path) -> None:
    keys = KeyDirectory(directory)
    later = Key.new("later", KeyKind.AES256)
    with pytest.raises(KeyUnavailableError, match=r"^no key 'later' in key directory"):
        keys.find("later")

    write_key(directory, later)

    assert same(keys.find("later"), later)


def test_a_key_may_be_a_link(directory: Path) -> None:
    (directory / "..data").mkdir(mode=0o700)
    (directory / "master.key").rename(directory / "..data" / "master.key")
    (directory / "master.key").symlink_to("..data/master.key")

    assert same(KeyDirectory(directory).find("master"), MASTER)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o601, 0o644])
def test_a_key_that_others_can_reach_is_refused(directory: Path, mode: int) -> None:
    place = directory / "master.key"
    place.chmod(mode)

    with pytest.raises(KeyUnavailableError) as raised:
        KeyDirectory(directory).find("master")

    assert str(raised.value) == (
        f"key '{place}' is open to others (mode {mode:04o}); chmod 600 '{place}'"
    )


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_key_that_is_ours_alone_is_taken(directory: Path, mode: int) -> None:
    (directory / "master.key").chmod(mode)

    assert same(KeyDirectory(directory).find("master"), MASTER)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o755, 0o720, 0o702, 0o1777])
def test_a_directory_that_others_can_look_into_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)

    with pytest.raises(KeyUnavailableError) as raised:
        KeyDirectory(directory).find("master")

    assert str(raised.value) == (
        f"key directory '{directory}' is open to others (mode {mode:04o}); chmod 700 '{directory}'"
    )


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_public_key_may_be_seen_by_others(tmp_path: Path, mode: int) -> None:
    (tmp_path / "pair.pub").write_bytes(PAIR.public().line())
    tmp_path.chmod(mode)

    assert same(KeyDirectory(tmp_path).find_public("pair"), PAIR.public())


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_public_key_may_not_be_changed_by_others(tmp_path: Path, mode: int) -> None:
    (tmp_path / "pair.pub").write_bytes(PAIR.public().line())
    tmp_path.chmod(mode)

    with pytest.raises(KeyUnavailableError, match=r"is open to others \(mode"):
        KeyDirectory(tmp_path).find_public("pair")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_refused(directory: Path) -> None:
    os.chown(directory / "master.key", 65534, 0)

    with pytest.raises(KeyUnavailableError, match=r"belongs to another user \(65534\)$"):
        KeyDirectory(directory).find("master")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError, match=r"^cannot use key directory .*: No such file"):
        KeyDirectory(tmp_path / "keys").find("master")
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyUnavailableError, match=r"is no directory$"):
        KeyDirectory(tmp_path / "file").find("master")


@pytest.mark.parametrize("key_id", ["../master", "a/b", "", "."])
def test_a_name_does_not_lead_out_of_the_directory(directory: Path, key_id: str) -> None:
    with pytest.raises(KeyUnavailableError, match=r"is no name of a key"):
        KeyDirectory(directory / "..data").find(key_id)


def test_a_pipe_is_no_key(directory: Path) -> None:
    os.mkfifo(directory / "pipe.key", 0o600)

    with pytest.raises(KeyUnavailableError, match=r"is no file$"):
        KeyDirectory(directory).find("pipe")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not hold just the secret key 'bad'"),
        (bytes(MASTER.line()), "does not hold just the secret key 'bad'"),
        (bytes(Key.new("bad", KeyKind.X25519).public().line()), "does not hold just the secret"),
        (bytes(Key.new("bad", KeyKind.AES256).line()) * 2, "does not hold just the secret key"),
        (b"hunter2", "line 1: no key; it would begin with ilk1:"),
        (b"#" * (65 << 10), "more than 64 KiB came instead of a key"),
    ],
)
def test_a_file_without_its_key_is_refused(directory: Path, content: bytes, said: str) -> None:
    place = directory / "bad.key"
    place.touch(0o600)
    place.write_bytes(content)

    with pytest.raises(KeyUnavailableError) as raised:
        KeyDirectory(directory).find("bad")

    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_key_is_found_in_the_environment() -> None:
    keys = EnvironmentKeys("KEYS", {b"KEYS": bytes(PAIR.line() + MASTER.line())})

    assert same(keys.find("master"), MASTER)
    with pytest.raises(KeyUnavailableError, match=r"^no key 'other' in environment variable KEYS$"):
        keys.find("other")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "environment variable KEYS is not set"),
        ({b"KEYS": b"hunter2"}, "environment variable KEYS, line 1: no key; it would begin wi"),
        ({b"KEYS": bytes(PAIR.public().line())}, "no key 'pair' in environment variable KEYS"),
    ],
)
def test_an_environment_without_the_key(environment: dict[bytes, bytes], said: str) -> None:
    with pytest.raises(KeyUnavailableError) as raised:
        EnvironmentKeys("KEYS", environment).find("pair")

    assert str(raised.value).startswith(said)
    assert "hunter2" not in str(raised.value)


def script(tmp_path: Path, code: str) -> str:
    """Return the command line of a Python script."""
    place = tmp_path / "key command.py"
    place.write_text(code)
    return shlex.join([sys.executable, "-I", str(place)])


PRINT_ARGUMENTS = """
import sys
print("#", *sys.argv[1:])
print({line!r})
if sys.argv[1:] != {expected!r}:
    sys.exit(9)
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ["master"]),
        (" --key {id} --region x", ["--key", "master", "--region", "x"]),
        (" 'key/{id}/{id}'", ["key/master/master"]),
        (" '$HOME; rm -rf' `id`", ["$HOME; rm -rf", "`id`", "master"]),
    ],
)
def test_a_command_is_told_the_name_of_the_key(
    tmp_path: Path, arguments: str, expected: list[str]
) -> None:
    code = PRINT_ARGUMENTS.format(line=MASTER.line().decode(), expected=expected)

    assert same(KeyCommand(script(tmp_path, code) + arguments).find("master"), MASTER)


def test_what_a_command_complains_of_is_not_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = script(tmp_path, "import sys; print('hunter2', file=sys.stderr); sys.exit(3)")

    with pytest.raises(KeyUnavailableError) as raised:
        KeyCommand(command).find("master")

    assert str(raised.value) == f"key command '{sys.executable}' ended with 3 for key 'master'"
    assert "hunter2" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('hunter2')", ", line 1: no key; it would begin with ilk1:"),
        ("pass", "no key 'master' in key command"),
        (f"print({PAIR.line().decode()!r})", "no key 'master' in key command"),
        ("print('#' * (1 << 20))", "more than 64 KiB came instead of a key"),
        ("import os; os.kill(os.getpid(), 15)", "ended with -15 for key 'master'"),
    ],
)
def test_a_command_that_gives_no_key(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(KeyUnavailableError) as raised:
        KeyCommand(script(tmp_path, code)).find("master")

    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


HANGING = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
with open({place!r}, "w") as file:
    file.write(str(child.pid))
os.rename({place!r}, {place!r} + ".done")
{then}
"""


@pytest.mark.parametrize("then", ["child.wait()", "os.close(1); child.wait()", "pass"])
def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path, then: str) -> None:
    place = tmp_path / "pid"
    command = script(tmp_path, HANGING.format(place=str(place), then=then))

    with pytest.raises(KeyUnavailableError, match=r"took longer than 2 s for key 'master'$"):
        KeyCommand(command, timeout_s=2).find("master")

    child = int(Path(f"{place}.done").read_text())
    try:
        descriptor = os.pidfd_open(child)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE_S)[0]
    finally:
        os.close(descriptor)


def test_a_command_that_leaves_something_running_has_given_its_key(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"],
                 stdout=subprocess.DEVNULL)
print({MASTER.line().decode()!r})
"""

    assert same(KeyCommand(script(tmp_path, code)).find("master"), MASTER)


def test_a_command_that_cannot_be_run() -> None:
    with pytest.raises(
        KeyUnavailableError, match=r"^key command '/no/such' cannot be run: No such"
    ):
        KeyCommand("/no/such").find("master")


def test_the_first_source_that_has_a_key_gives_it() -> None:
    other = Key.new("master", KeyKind.AES256)
    ring = KeyRing([KeysFake(PAIR), KeysFake(MASTER), KeysFake(other)])

    assert same(ring.find("master"), MASTER)


def test_a_ring_says_where_it_has_looked(directory: Path) -> None:
    ring = KeyRing([KeyDirectory(directory), EnvironmentKeys("KEYS", {})])

    with pytest.raises(KeyUnavailableError) as raised:
        ring.find("other")

    assert str(raised.value) == (
        f"no key 'other': no key 'other' in key directory '{directory}'; "
        "environment variable KEYS is not set"
    )


def test_a_ring_of_one_source_has_no_more_to_say(directory: Path) -> None:
    with pytest.raises(KeyUnavailableError, match=r"^no key 'other' in key directory '.*'$"):
        KeyRing([KeyDirectory(directory)]).find("other")


def test_a_ring_is_made_from_what_flags_say(directory: Path) -> None:
    ring = ring_of(directory, ["env:NO_SUCH_VARIABLE"])

    assert same(ring.find("master"), MASTER)
    with pytest.raises(KeyUnavailableError, match=r"environment variable NO_SUCH_VARIABLE is not"):
        ring.find("other")


def test_a_ring_without_sources_says_so() -> None:
    with pytest.raises(KeyUnavailableError, match=r"^no key 'k': no source of keys is set$"):
        KeyRing([]).find("k")


def test_a_key_is_looked_up_once_for_one_model_and_wiped() -> None:
    source = KeysFake(MASTER)
    with RememberedKeys(source) as keys:
        first, second = keys.find("master"), keys.find("master")
        first.wipe()
        assert same(second, MASTER)
        assert same(keys.find("master"), MASTER)

    assert source.asked == ["master"]
    assert [key.material.content for key in source.given] == [bytes(32)]


@pytest.mark.parametrize(
    ("text", "kind"), [("env:KEYS", EnvironmentKeys), ("exec:fetch --key {id}", KeyCommand)]
)
def test_a_source_is_named_by_its_scheme(text: str, kind: type) -> None:
    assert isinstance(source_of(text), kind)


@pytest.mark.parametrize("text", ["", "env:", "exec:", "exec: ", "exec:'", "file:k", "KEYS"])
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(EncryptionError, match=r"is no source of keys|^key command: "):
        source_of(text)
