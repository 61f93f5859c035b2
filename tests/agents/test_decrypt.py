"""What the `decrypt` agent publishes, what it refuses with which words, and what it leaves."""

import random
import resource
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime as ort
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
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import DecryptAgent, Decryption
from interlock_agents.encryption.header import read_header
from interlock_agents.encryption.key_sources import KeyDirectory, Keys
from interlock_agents.encryption.keys import Key, KeyKind
from interlock_agents.locked_memory import LockedMemory
from tests.support import onnx_small
from tests.support.agent_model import AgentModelFake
from tests.support.encryption import MASTER, PAIR, KeysFake, encrypted, write_key

STUB = b'name: "m" model_repository_agents { agents [ { name: "decrypt" } ] }'
FULL = b'name: "m" backend: "identity" max_batch_size: 8'
MIB = 1 << 20


class DumpsFake(CoreDumps):
    """Counts, and leaves the process alone."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden = 0

    def forbid(self) -> None:
        self.forbidden += 1

    def allow(self) -> None:
        self.forbidden -= 1


class LittleMemory(LockedMemory):
    """Nearly none of it can be locked."""

    def limit_bytes(self) -> int | None:
        return 64 << 10

    def has_swap(self) -> bool:
        return True


def shared(keys: Keys | None = None, warnings: list[str] | None = None) -> Decryption:
    told = [] if warnings is None else warnings
    return Decryption(keys or KeysFake(MASTER, PAIR), DumpsFake(), told.append, LittleMemory())


def agent(keys: Keys | None = None) -> DecryptAgent:
    return shared(keys).agent()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with one encrypted version, and a configuration that is encrypted too."""
    directory = tmp_path / "m"
    write(directory / "config.pbtxt", STUB)
    write(directory / "config.pbtxt.enc", encrypted(FULL, path="config.pbtxt"))
    write(directory / "1" / "model.onnx.enc", encrypted(b"weights"))
    write(directory / "labels.txt", b"cat\ndog\n")
    return directory


def write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def contents(location: Location) -> dict[str, bytes]:
    return {path: file.read() for path, file in location.files().items()}


def refusal(
    model: Path,
    keys: Keys | None = None,
    parameters: Mapping[str, str] | None = None,
    fault: Fault = Fault.INVALID,
) -> str:
    """Return why the model is refused; all that was decrypted by then is gone."""
    with AgentModelFake(model, parameters, versions=[1]) as held:
        with pytest.raises(AgentError) as raised:
            agent(keys).act(Action.LOAD, held)
        assert held.published == []
    assert raised.value.fault is fault
    return str(raised.value)


def test_encrypted_files_take_their_clear_places(model: Path) -> None:
    with AgentModelFake(model, versions=[1]) as held:
        published = held.load(agent())

        assert contents(published) == {
            "1/model.onnx": b"weights",
            "config.pbtxt": FULL,
            "labels.txt": b"cat\ndog\n",
        }
        assert held.notes == [("keys", "master")]


@pytest.mark.parametrize("chunk_bytes", [MIB, 3 * MIB, 16 * MIB])
def test_a_large_file_is_decrypted_whatever_its_chunks(model: Path, chunk_bytes: int) -> None:
    weights = random.Random(1).randbytes(9 * MIB + 5)
    file = encrypted(weights, chunk_bytes=chunk_bytes)
    write(model / "1" / "model.onnx.enc", file)

    with AgentModelFake(model, versions=[1]) as held:
        published = held.load(agent())

        assert published.file("1/model.onnx").read() == weights


def written(model: Path) -> dict[Path, tuple[int, int, int]]:
    """What there is of a model, and when it was written; not when it was read."""
    statuses = {path: path.stat() for path in model.rglob("*")}
    return {
        path: (status.st_ino, status.st_size, status.st_ctime_ns)
        for path, status in statuses.items()
    }


def test_clear_content_is_in_memory_and_sealed_and_nowhere_else(model: Path) -> None:
    before = written(model)
    with AgentModelFake(model, versions=[1]) as held:
        files = held.load(agent()).files()

        for path in ("1/model.onnx", "config.pbtxt"):
            file = files[path]
            assert isinstance(file, MemoryFile)
            assert file.is_sealed
        assert held._scratch is None
    assert written(model) == before


def test_a_file_without_content_is_one_too(model: Path) -> None:
    write(model / "1" / "empty.enc", encrypted(b"", path="1/empty"))

    with AgentModelFake(model, versions=[1]) as held:
        assert contents(held.load(agent()))["1/empty"] == b""


def test_a_clear_configuration_stays(model: Path) -> None:
    (model / "config.pbtxt.enc").unlink()

    with AgentModelFake(model, versions=[1]) as held:
        assert contents(held.load(agent()))["config.pbtxt"] == STUB


def test_versions_that_are_not_to_be_loaded_are_left_alone(model: Path) -> None:
    write(model / "2" / "model.onnx.enc", encrypted(b"new", path="2/model.onnx"))
    write(model / "3" / "model.onnx.enc", b"broken")

    with AgentModelFake(model, versions=[2]) as held:
        published = contents(held.load(agent()))

    assert sorted(published) == ["2/model.onnx", "config.pbtxt", "labels.txt"]
    assert published["2/model.onnx"] == b"new"


def test_a_manifest_of_the_encrypted_files_is_not_one_of_the_clear_ones(model: Path) -> None:
    write(model / "manifest.json", b"{}")

    with AgentModelFake(model, versions=[1]) as held:
        assert "manifest.json" not in held.load(agent()).files()


def test_an_encrypted_signature_goes_before_a_clear_one(model: Path) -> None:
    write(model / "model.sig", b"of the encrypted files")
    write(model / "model.sig.enc", encrypted(b"of the clear files", path="model.sig"))

    with AgentModelFake(model, versions=[1]) as held:
        assert contents(held.load(agent()))["model.sig"] == b"of the clear files"


def test_files_that_an_agent_before_has_published_are_decrypted(model: Path) -> None:
    before = FilesLocation(
        {
            **DirectoryLocation(model).files(),
            "1/extra.enc": MemoryFile.of(encrypted(b"extra", path="1/extra")),
        }
    )

    with AgentModelFake(before, versions=[1]) as held:
        assert contents(held.load(agent()))["1/extra"] == b"extra"


def test_every_key_that_was_used_is_noted(model: Path) -> None:
    write(model / "1" / "b.enc", encrypted(b"b", PAIR.public(), path="1/b"))

    with AgentModelFake(model, versions=[1]) as held:
        held.load(agent())

        assert held.notes == [("keys", "master, pair")]


def test_a_rotated_key_needs_no_restart(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    old = write_key(directory, MASTER)
    decryption = shared(KeyDirectory(directory))
    with AgentModelFake(model, versions=[1]) as held:
        held.load(decryption.agent())

    new = Key.new("new", KeyKind.AES256)
    write_key(directory, new)
    for path in ("config.pbtxt", "1/model.onnx"):
        write(model / f"{path}.enc", encrypted(b"again", new, path=path))
    old.unlink()

    with AgentModelFake(model, versions=[1]) as held:
        assert contents(held.load(decryption.agent()))["1/model.onnx"] == b"again"
        assert held.notes == [("keys", "new")]


def test_a_missing_key_is_a_fault_that_can_pass(model: Path) -> None:
    assert refusal(model, KeysFake(), fault=Fault.UNAVAILABLE) == (
        "failed to decrypt '1/model.onnx.enc': no key 'master'"
    )


def test_a_key_that_others_can_read_is_as_good_as_none(model: Path, tmp_path: Path) -> None:
    place = write_key(tmp_path / "keys", MASTER)
    place.chmod(0o644)

    assert refusal(model, KeyDirectory(tmp_path / "keys"), fault=Fault.UNAVAILABLE) == (
        f"failed to decrypt '1/model.onnx.enc': key '{place}' is open to others (mode 0644); "
        f"chmod 600 '{place}'"
    )


def test_a_wrong_key_is_refused(model: Path) -> None:
    assert refusal(model, KeysFake(Key.new("master", KeyKind.AES256))).startswith(
        "failed to decrypt '1/model.onnx.enc': key 'master' does not open it: "
    )


def damaged_at(at: int) -> Callable[[bytes], bytes]:
    def damage(file: bytes) -> bytes:
        changed = bytearray(file)
        changed[at] ^= 1
        return bytes(changed)

    return damage


def emptied(_: bytes) -> bytes:
    return b""


def in_clear(_: bytes) -> bytes:
    return b"weights"


def with_another_chunk(file: bytes) -> bytes:
    return file[:-MIB] + encrypted(bytes(3 * MIB))[-MIB:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged_at(0), "it is not encrypted, or its beginning is damaged"),
        (damaged_at(8), "its format is version 0; only 1 is known"),
        (damaged_at(30), "its header is damaged"),
        (damaged_at(-3 * MIB), "chunk 1 of 3 is damaged, or not from there"),
        (damaged_at(-MIB - 50), "chunk 2 of 3 is damaged, or not from there"),
        (damaged_at(-1), "chunk 3 of 3 is damaged, or not from there"),
        (with_another_chunk, "chunk 3 of 3 is damaged, or not from there"),
        (lambda file: file[:-1], "it is cut off: 1 of 3145927 bytes are missing"),
        (lambda file: file[: -MIB - 16], "it is cut off: 1048592 of 3145927 bytes are missing"),
        (lambda file: file + b"\0", "something follows its end: 1 bytes"),
        (lambda file: file + file[-MIB - 16 :], "something follows its end: 1048592 bytes"),
        (emptied, "it is not encrypted, or its beginning is damaged"),
        (in_clear, "it is not encrypted, or its beginning is damaged"),
        (
            lambda _: encrypted(bytes(3 * MIB), path="1/other"),
            "it was encrypted as '1/other' and is not that of '1/model.onnx'",
        ),
    ],
)
def test_a_changed_file_is_refused(
    model: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    write(model / "1" / "model.onnx.enc", change(encrypted(bytes(3 * MIB))))

    assert refusal(model) == f"failed to decrypt '1/model.onnx.enc': {said}"


def test_two_files_cannot_change_places(model: Path) -> None:
    write(model / "1" / "other.enc", encrypted(b"other", path="1/other"))
    (model / "1" / "model.onnx.enc").rename(model / "1" / "swap")
    (model / "1" / "other.enc").rename(model / "1" / "model.onnx.enc")
    (model / "1" / "swap").rename(model / "1" / "other.enc")

    assert "it was encrypted as '1/other'" in refusal(model)


def test_a_file_of_another_version_is_refused(model: Path) -> None:
    write(model / "1" / "model.onnx.enc", encrypted(b"weights", path="2/model.onnx"))

    assert "it was encrypted as '2/model.onnx'" in refusal(model)


def test_a_clear_and_an_encrypted_file_of_one_name_are_refused(model: Path) -> None:
    write(model / "1" / "model.onnx", b"mine")

    assert refusal(model) == (
        "both '1/model.onnx' and '1/model.onnx.enc' are there; which of them counts?"
    )


def test_a_model_without_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1" / "model.onnx", b"weights")

    assert refusal(tmp_path) == "no file of the model is encrypted: no name ends in .enc"


def test_an_encrypted_file_of_another_name_is_refused(model: Path) -> None:
    write(model / "1" / "vocabulary", encrypted(b"v", path="1/vocabulary"))

    assert refusal(model) == ("'1/vocabulary' is encrypted; its name must end in .enc to be read")


def test_clear_files_can_be_refused(model: Path) -> None:
    assert refusal(model, parameters={"clear_files": "refuse"}) == (
        "'labels.txt' is not encrypted, and clear_files is 'refuse'"
    )
    (model / "labels.txt").unlink()
    write(model / "manifest.json", b"{}")
    write(model / "model.sig", b"{}")
    write(model / "configs" / "gpu.pbtxt", b"")
    with AgentModelFake(model, {"clear_files": "refuse"}, versions=[1]) as held:
        assert "1/model.onnx" in held.load(agent()).files()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"clear_files": "no"}, "clear_files is 'allow' or 'refuse', not 'no'"),
        ({"exec": "id"}, "unknown parameter 'exec'; known is 'clear_files'"),
    ],
)
def test_parameters_that_are_none(model: Path, parameters: Mapping[str, str], said: str) -> None:
    assert refusal(model, parameters=parameters) == said


def test_a_link_that_leads_out_of_the_model_is_refused(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", encrypted(b"weights"))
    (model / "1" / "model.onnx.enc").unlink()
    (model / "1" / "model.onnx.enc").symlink_to(tmp_path / "outside")

    assert "leads out of the model directory" in refusal(model)


def test_a_file_that_cannot_be_read_is_said(model: Path) -> None:
    (model / "1" / "model.onnx.enc").unlink()
    (model / "1" / "model.onnx.enc").symlink_to("nothing")

    said = refusal(model, fault=Fault.INTERNAL)

    assert said.startswith("failed to read '")
    assert said.endswith("model.onnx.enc': No such file or directory")


def test_it_stops_where_nobody_waits(model: Path) -> None:
    write(model / "1" / "model.onnx.enc", encrypted(bytes(8 * MIB)))

    with AgentModelFake(model, versions=[1], cancel_after=3) as held:
        with pytest.raises(AgentCancelledError):
            agent().act(Action.LOAD, held)
        assert held.looks == 4


@pytest.mark.parametrize("ending", [Action.LOAD_FAIL, Action.UNLOAD_COMPLETE])
def test_core_dumps_are_off_from_load_to_the_end(model: Path, ending: Action) -> None:
    decryption = shared()
    decrypting = decryption.agent()
    story = [Action.LOAD, Action.LOAD_COMPLETE, Action.UNLOAD]
    assert isinstance(decryption.dumps, DumpsFake)
    with AgentModelFake(model, versions=[1]) as held:
        for action in story if ending is Action.UNLOAD_COMPLETE else story[:1]:
            decrypting.act(action, held)
            assert decryption.dumps.forbidden == 1
        decrypting.act(ending, held)
        assert decryption.dumps.forbidden == 0


def test_core_dumps_are_allowed_again_after_a_refusal(model: Path) -> None:
    decryption = shared(KeysFake())
    decrypting = decryption.agent()
    assert isinstance(decryption.dumps, DumpsFake)
    with AgentModelFake(model, versions=[1]) as held:
        with pytest.raises(AgentError):
            decrypting.act(Action.LOAD, held)
        assert decryption.dumps.forbidden == 1
        decrypting.act(Action.LOAD_FAIL, held)
    assert decryption.dumps.forbidden == 0


class UnlockableFile(MemoryFile):
    """A file in memory that the system does not let us lock."""

    def lock(self) -> bool:
        return False


class LockableFile(MemoryFile):
    """A file in memory that the system lets us lock."""

    def lock(self) -> bool:
        return True


class ModelWithoutLocks(AgentModelFake):
    def memory_file(self, size: int) -> MemoryFile:
        self.memory_files.append(UnlockableFile(size))
        return self.memory_files[-1]


def test_that_memory_cannot_be_locked_is_said_once() -> None:
    warnings: list[str] = []
    decryption = shared(warnings=warnings)
    decryption.warn()
    for _ in range(2):
        memory = UnlockableFile(10)
        decryption.lock(memory)
        memory.close()

    assert warnings == [LittleMemory().warning()]


def test_nothing_is_said_where_memory_is_locked() -> None:
    warnings: list[str] = []
    memory = LockableFile(10)
    shared(warnings=warnings).lock(memory)
    memory.close()

    assert warnings == []


def test_a_model_that_cannot_be_locked_is_loaded_all_the_same(model: Path) -> None:
    warnings: list[str] = []
    with ModelWithoutLocks(model, versions=[1]) as held:
        published = held.load(shared(warnings=warnings).agent())
        assert contents(published)["1/model.onnx"] == b"weights"

    assert len(warnings) == 1


def test_its_own_memory_is_little(model: Path) -> None:
    """Less than 16 MiB beyond the model; what Python itself allocates is nothing to that."""
    size = 64 * MIB
    write(model / "1" / "model.onnx.enc", encrypted(random.Random(1).randbytes(MIB) * 64))
    with AgentModelFake(model, versions=[1]) as held:
        before = resident()
        held.load(agent())
        assert resident() - before < size + 16 * MIB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def answers(session: ort.InferenceSession, size: int) -> np.ndarray:
    (answer,) = session.run(None, {session.get_inputs()[0].name: np.zeros(size, np.float32)})
    return np.asarray(answer)


def test_onnx_runtime_reads_a_model_from_memory_and_keeps_it_when_that_is_wiped(
    model: Path,
) -> None:
    write(model / "1" / "model.onnx.enc", encrypted(onnx_small.add_constant(3.0, (4,))))
    with AgentModelFake(model, versions=[1]) as held:
        session = ort.InferenceSession(held.load(agent()).file("1/model.onnx").path)

    assert answers(session, 4).tolist() == [3.0] * 4


def test_onnx_runtime_takes_external_data_from_memory_by_name(model: Path) -> None:
    """By path it refuses: it wants to know where the links of a path lead, and finds no file."""
    weights = np.arange(1 << 18, dtype=np.float32)
    graph, data = onnx_small.external(weights)
    write(model / "1" / "model.onnx.enc", encrypted(graph))
    write(model / "1" / "weights.bin.enc", encrypted(data, path="1/weights.bin"))
    with AgentModelFake(model, versions=[1]) as held:
        published = held.load(agent())
        external = published.file("1/weights.bin")
        assert isinstance(external, MemoryFile)
        with pytest.raises(Exception, match=r"(?i)external data|weights.bin"):
            ort.InferenceSession(published.file("1/model.onnx").path)
        options = ort.SessionOptions()
        options.add_external_initializers_from_files_in_memory(
            ["weights.bin"], [external.view], [external.size]
        )
        session = ort.InferenceSession(published.file("1/model.onnx").path, options)
        del options

    assert np.array_equal(answers(session, weights.size), weights)


def test_headers_say_nothing_of_the_content(model: Path) -> None:
    """But for its path, its length and whose it is."""
    content = (model / "1" / "model.onnx.enc").read_bytes()

    assert b"weights" not in content
    assert read_header(BytesIO(content)).path == "1/model.onnx"
