"""Which locations an agent may publish, and what the others are told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.control.agent_publishing import Publishable
from interlock_agents.api import (
    AgentError,
    DirectoryLocation,
    DiskFile,
    Fault,
    FilesLocation,
    Location,
    MemoryFile,
    ModelFile,
)

NOT_THE_MODELS = "neither where the model's files were found nor in the agent's scratch directory"


@dataclass(frozen=True, slots=True)
class Place:
    """A repository with two models, the first of which an agent is at work on, and scratch."""

    root: Path

    @property
    def model(self) -> Path:
        return self.root / "repository" / "m"

    @property
    def other(self) -> Path:
        return self.root / "repository" / "other"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch" / "agent-1"

    def refusal(self, location: Location, *, found: Location | None = None) -> str:
        return refusal(Publishable(found or DirectoryLocation(self.model), self.scratch), location)


def refusal(publishable: Publishable, location: Location) -> str:
    """Return why a location is refused, or nothing."""
    try:
        publishable.check(location)
    except AgentError as error:
        return str(error) if error.fault is Fault.INTERNAL else f"not the agent's fault: {error}"
    return ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    for directory in (place.model, place.other, place.scratch):
        (directory / "1").mkdir(parents=True)
        (directory / "1" / "weights").write_text("w")
    (place.root / "away").symlink_to(place.other, target_is_directory=True)
    (tmp_path / "link").symlink_to(place.model, target_is_directory=True)
    return place


@pytest.mark.parametrize(
    "directory",
    [
        lambda place: place.model,
        lambda place: place.model / "1",
        lambda place: place.scratch,
        lambda place: place.scratch / "1",
        lambda place: place.root / "link",
    ],
    ids=["as found", "a part of that", "scratch", "a part of that too", "by a link"],
)
def test_what_was_found_and_scratch_may_be_published(
    place: Place, directory: Callable[[Place], Path]
) -> None:
    assert place.refusal(DirectoryLocation(directory(place))) == ""


@pytest.mark.parametrize(
    ("directory", "says"),
    [
        (lambda place: place.other, NOT_THE_MODELS),
        (lambda place: place.root, NOT_THE_MODELS),
        (lambda place: place.model / ".." / "other", NOT_THE_MODELS),
        (lambda place: place.root / "away", NOT_THE_MODELS),
        (lambda place: place.scratch.parent, NOT_THE_MODELS),
        (lambda place: place.scratch / "nothing", "it is no directory by an absolute path"),
        (lambda place: place.scratch / "1" / "weights", "it is no directory by an absolute path"),
        (lambda _: Path("relative"), "it is no directory by an absolute path"),
    ],
    ids=["another", "above", "dots", "link", "all scratch", "nothing", "file", "relative"],
)
def test_no_other_directory_may_be_published(
    place: Place, directory: Callable[[Place], Path], says: str
) -> None:
    assert says in place.refusal(DirectoryLocation(directory(place)))


def test_links_in_scratch_may_lead_to_the_model_and_nowhere_else(place: Place) -> None:
    link = place.scratch / "1" / "link"
    link.symlink_to(place.model / "1" / "weights")
    assert place.refusal(DirectoryLocation(place.scratch)) == ""

    for target in (place.other / "1" / "weights", place.other, Path("/nowhere")):
        link.unlink()
        link.symlink_to(target)
        said = place.refusal(DirectoryLocation(place.scratch))
        assert said == f"cannot publish '1/link': it leads to what lies {NOT_THE_MODELS}"


def test_links_of_the_model_are_not_the_agents(place: Place) -> None:
    (place.model / "1" / "link").symlink_to(place.other / "1" / "weights")

    assert place.refusal(DirectoryLocation(place.model)) == ""


def test_where_there_is_no_scratch_only_what_was_found_may_be_published(place: Place) -> None:
    publishable = Publishable(DirectoryLocation(place.model))

    assert refusal(publishable, DirectoryLocation(place.model)) == ""
    assert NOT_THE_MODELS in refusal(publishable, DirectoryLocation(place.scratch))


def test_files_of_the_model_of_scratch_and_in_memory_may_stand_side_by_side(place: Place) -> None:
    files: dict[str, ModelFile] = {
        "found": DirectoryLocation(place.model).file("1/weights"),
        "made": DiskFile(place.scratch / "1" / "weights", place.scratch),
        "memory": MemoryFile.of(b"w"),
    }

    assert place.refusal(FilesLocation(files)) == ""


@pytest.mark.parametrize(
    "file",
    [lambda place: place.other / "1" / "weights", lambda place: place.root / "away" / "1"],
    ids=["another", "link"],
)
def test_no_file_from_elsewhere_may_be_published(
    place: Place, file: Callable[[Place], Path]
) -> None:
    path = file(place)

    said = place.refusal(FilesLocation({"1/weights": DiskFile(path, path.parent)}))

    assert said == f"cannot publish '1/weights': '{path}' lies {NOT_THE_MODELS}"


def test_what_an_agent_before_has_published_may_be_passed_on(place: Place) -> None:
    kept = DiskFile(place.other / "1" / "weights", place.other)
    found = FilesLocation({"kept": kept, "memory": MemoryFile.of(b"w")})

    assert place.refusal(FilesLocation({"renamed": kept}), found=found) == ""
    # The directory that they came from is not the model any more.
    assert NOT_THE_MODELS in place.refusal(DirectoryLocation(place.other), found=found)


def test_memory_that_can_still_change_or_is_gone_is_refused(place: Place) -> None:
    closed = MemoryFile.of(b"w")
    closed.close()

    assert place.refusal(FilesLocation({"x": closed})) == "cannot publish 'x': it is closed"
    unsealed = FilesLocation({"x": MemoryFile(1)})
    assert place.refusal(unsealed) == "cannot publish 'x': it is not sealed"
