"""The snapshot agent: what it takes into memory, and that nobody changes it there."""

import resource
from pathlib import Path

import pytest

from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    DiskFile,
    Fault,
    FilesLocation,
    MemoryFile,
)
from interlock_agents.snapshot import PIECE_BYTES, SnapshotAgent
from tests.support.agent_model import AgentModelFake

WEIGHTS = b"weights" * (PIECE_BYTES // 3)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    for version in ("1", "2"):
        (directory / version).mkdir(parents=True)
        (directory / version / "model.onnx").write_bytes(WEIGHTS)
    (directory / "config.pbtxt").write_bytes(b"")
    (directory / "1" / "link").symlink_to("model.onnx")
    return directory


def test_what_is_in_memory_stays_whatever_becomes_of_the_files(directory: Path) -> None:
    with AgentModelFake(directory, versions=(1,)) as model:
        files = model.load(SnapshotAgent()).files()
        with (directory / "1" / "model.onnx").open("r+b") as stream:
            stream.write(b"other")
        (directory / "config.pbtxt").write_bytes(b"other")

        assert {path: file.read() for path, file in files.items()} == {
            "1/link": WEIGHTS,
            "1/model.onnx": WEIGHTS,
            "config.pbtxt": b"",
        }
        assert all(isinstance(file, MemoryFile) and file.is_sealed for file in files.values())
        assert model.notes == [("files in memory", "3")]


def test_what_is_in_memory_already_is_not_copied(directory: Path) -> None:
    with AgentModelFake(directory) as first:
        location = first.load(SnapshotAgent())
        with AgentModelFake(location) as model:
            assert model.load(SnapshotAgent()).files() == location.files()
            assert not model.memory_files


class _Misjudged(DiskFile):
    """A file that grows, or shrinks, between the look at its size and the reading."""

    by = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size + self.by


class _Grown(_Misjudged):
    by = -1


class _Shrunk(_Misjudged):
    by = 1


@pytest.mark.parametrize("kind", [_Grown, _Shrunk])
def test_a_file_that_changes_while_it_is_read_is_refused(
    directory: Path, kind: type[_Misjudged]
) -> None:
    location = FilesLocation({"1/model.onnx": kind(directory / "1" / "model.onnx", directory)})
    with AgentModelFake(location) as model, pytest.raises(AgentError) as caught:
        model.load(SnapshotAgent())

    assert str(caught.value) == "file 1/model.onnx changed while it was read"


def test_what_leads_out_of_the_model_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (directory / "1" / "out").symlink_to("../../secret")
    with AgentModelFake(directory) as model, pytest.raises(AgentError, match="leads out"):
        model.load(SnapshotAgent())


def test_a_link_that_leads_nowhere_is_named(directory: Path) -> None:
    (directory / "1" / "gone").symlink_to("nothing")
    with AgentModelFake(directory) as model, pytest.raises(AgentError) as caught:
        model.load(SnapshotAgent())

    assert str(caught.value) == "failed to read 1/gone: No such file or directory"


def test_what_does_not_fit_is_refused_before_it_is_read(directory: Path) -> None:
    with (directory / "1" / "endless").open("wb") as stream:
        stream.truncate(1 << 40)
    with AgentModelFake(directory, versions=(1,)) as model, pytest.raises(AgentError) as caught:
        model.load(SnapshotAgent(lambda: 1 << 30))

    assert caught.value.fault is Fault.UNAVAILABLE
    assert "does not fit into memory" in str(caught.value)
    assert str(caught.value).endswith(" MiB, and 1024 MiB are free")
    assert not model.memory_files


def test_descriptors_are_left_for_the_rest_of_the_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = iter([4, 6, resource.RLIM_INFINITY])
    monkeypatch.setattr(resource, "getrlimit", lambda _: (next(limits), 8))
    with AgentModelFake(directory, versions=(1,)) as model:
        with pytest.raises(AgentError, match="the model has 3 files, and 2 can be taken into"):
            model.load(SnapshotAgent())
        assert not model.memory_files
        for _ in ("as many as may be", "without a limit"):
            assert len(model.load(SnapshotAgent()).files()) == 3


def test_it_ends_soon_when_nobody_waits_for_it(directory: Path) -> None:
    with AgentModelFake(directory, cancel_after=1) as model, pytest.raises(AgentCancelledError):
        model.load(SnapshotAgent())


def test_it_has_no_parameters_and_acts_on_a_load_alone(directory: Path) -> None:
    with (
        AgentModelFake(directory, {"a": "b"}) as model,
        pytest.raises(AgentError, match="unknown parameter 'a'"),
    ):
        model.load(SnapshotAgent())
    with AgentModelFake(directory) as model:
        SnapshotAgent().act(Action.UNLOAD, model)
        assert not model.published
