"""What one scan of the repositories shows that the one before it did not."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.repository.fingerprint import fingerprint
from interlock.repository.listing import Listing, Problem, list_model
from interlock.repository.scan import Difference, Scan, Scanner, difference


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    directory.mkdir()
    return directory


def add(root: Path, model: str, *versions: int) -> Path:
    directory = root / model
    for version in versions:
        (directory / str(version)).mkdir(parents=True)
        (directory / str(version) / "model.onnx").write_text(f"{model} {version}")
    (directory / "config.pbtxt").write_text("")
    return directory


class Look:
    """Lists directories as usual, but for those that it has been told to fail at."""

    def __init__(self) -> None:
        self.fails: dict[str, str] = {}
        """By the model's name: the path in it that cannot be looked at."""

    def __call__(self, directory: Path | str) -> Listing:
        hidden = self.fails.get(Path(directory).name)
        if hidden == "":
            raise PermissionError(errno.EACCES, "Permission denied")
        found = list_model(directory)
        if hidden is None:
            return found
        problem = Problem(hidden, errno.EACCES, "Permission denied")
        seen = [one for one in found.entries if not f"{one.path}/".startswith(f"{hidden}/")]
        return Listing(tuple(seen), (problem,))


def test_finds_every_model_and_version_with_its_files(root: Path) -> None:
    directory = add(root, "m", 1, 10)

    found = Scanner([root]).scan().models["m"]

    assert found.directory == directory
    assert list(found.versions) == [1, 10]
    assert [file.path for file in found.versions[10].files] == ["config.pbtxt", "10/model.onnx"]
    assert found.manifest is None


def test_the_fingerprints_are_those_of_a_look_at_the_model_alone(root: Path) -> None:
    directory = add(root, "m", 1, 2)

    found = Scanner([root]).scan().models["m"]

    assert found.fingerprint == fingerprint(directory)
    assert found.versions[2].fingerprint == fingerprint(directory).of(2)


def test_a_version_has_moved_when_the_last_of_its_files_did(root: Path) -> None:
    directory = add(root, "m", 1, 2)
    config = directory / "config.pbtxt"
    before = directory.joinpath("2").stat().st_ctime_ns
    while config.stat().st_ctime_ns <= before:
        config.chmod(0o600)

    found = Scanner([root]).scan().models["m"]

    assert found.versions[1].moved_ns == found.versions[2].moved_ns == config.stat().st_ctime_ns


def test_an_empty_version_has_moved_when_its_directory_did(root: Path) -> None:
    (root / "m" / "1").mkdir(parents=True)

    version = Scanner([root]).scan().models["m"].versions[1]

    assert version.files == ()
    assert version.moved_ns == (root / "m" / "1").stat().st_ctime_ns


def test_the_manifest_is_none_of_a_versions_files(root: Path) -> None:
    directory = add(root, "m", 1)
    before = Scanner([root]).scan().models["m"]

    (directory / "manifest.json").write_text("{}")
    after = Scanner([root]).scan().models["m"]

    assert after.manifest is not None
    assert after.manifest.size == 2
    assert after.versions[1].fingerprint == before.versions[1].fingerprint
    assert after != before


def test_what_is_no_model_is_not_found(root: Path) -> None:
    for name in (".git", "..data", "lost+found"):
        (root / name).mkdir()
    (root / "README").touch()
    (root / "dangling").symlink_to("nowhere")
    (root / "circle").symlink_to("circle")

    assert Scanner([root]).scan() == Scan()


def test_nothing_differs_by_itself(root: Path) -> None:
    add(root, "m", 1)
    scanner = Scanner([root])
    before, after = scanner.scan(), scanner.scan()

    assert not difference(before, after)
    assert after.models["m"] is before.models["m"]  # nothing was worked out anew


def write_config(directory: Path) -> None:
    (directory / "configs").mkdir()
    (directory / "configs" / "custom.pbtxt").touch()


def touch(directory: Path) -> None:
    os.utime(directory / "1" / "model.onnx", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda m: add(m.parent, "n", 1), Difference(added=frozenset({"n"})), id="a new model"
        ),
        pytest.param(shutil.rmtree, Difference(removed=frozenset({"m"})), id="a model has gone"),
        pytest.param(touch, Difference(changed=frozenset({"m"})), id="an older time"),
        pytest.param(
            lambda m: (m / "2").mkdir(), Difference(changed=frozenset({"m"})), id="a new version"
        ),
        pytest.param(
            lambda m: shutil.rmtree(m / "1"),
            Difference(changed=frozenset({"m"})),
            id="its last version has gone",
        ),
        pytest.param(
            lambda m: (m / "manifest.json").touch(),
            Difference(changed=frozenset({"m"})),
            id="a manifest",
        ),
        pytest.param(
            write_config, Difference(changed=frozenset({"m"})), id="a custom configuration"
        ),
        pytest.param(lambda m: (m / "x~").touch(), Difference(), id="what an editor leaves"),
    ],
)
def test_what_differs(root: Path, change: Callable[[Path], object], expected: Difference) -> None:
    directory = add(root, "m", 1)
    scanner = Scanner([root])
    before = scanner.scan()

    change(directory)

    assert difference(before, scanner.scan()) == expected


def test_a_root_that_is_away_has_not_lost_its_models(root: Path) -> None:
    add(root, "m", 1)
    scanner = Scanner([root])
    before = scanner.scan()
    root.rename(root.with_name("away"))

    after = scanner.scan()

    assert not difference(before, after)
    assert after.unknown == {"m"}
    assert after.problems == {str(root): f"repository path is not a valid directory: {root}"}


def test_a_root_that_returns_is_as_if_it_had_not_been_away(root: Path) -> None:
    add(root, "m", 1)
    scanner = Scanner([root])
    before = scanner.scan()
    root.rename(root.with_name("away"))
    scanner.scan()
    root.with_name("away").rename(root)

    after = scanner.scan()

    assert after == before
    assert not difference(before, after)


def test_an_empty_directory_where_a_file_system_was_mounted_has_lost_nothing(
    root: Path, tmp_path: Path
) -> None:
    add(root, "m", 1)
    link = tmp_path / "link"
    link.symlink_to(root)
    scanner = Scanner([link])
    before = scanner.scan()
    link.unlink()
    link.symlink_to("/proc/self/fdinfo")  # another device, without directories

    after = scanner.scan()

    assert not difference(before, after)
    assert after.unknown == {"m"}
    assert after.problems == {str(link): f"model repository is no longer mounted: {link}"}


def test_a_root_that_was_emptied_has_lost_its_models(root: Path) -> None:
    shutil.rmtree(add(root, "m", 1).parent / "m" / "1")
    scanner = Scanner([root])
    before = scanner.scan()
    shutil.rmtree(root / "m")

    after = scanner.scan()

    assert difference(before, after) == Difference(removed=frozenset({"m"}))
    assert after.unknown == set()


def test_a_root_that_was_never_seen_is_only_a_problem(root: Path, tmp_path: Path) -> None:
    add(root, "m", 1)

    scan = Scanner([root, tmp_path / "absent"]).scan()

    assert list(scan.models) == ["m"]
    assert scan.unknown == set()
    assert list(scan.problems) == [str(tmp_path / "absent")]


def test_a_model_that_cannot_be_looked_at_is_as_it_was(root: Path) -> None:
    add(root, "m", 1)
    add(root, "n", 1)
    look = Look()
    scanner = Scanner([root], look=look)
    before = scanner.scan()
    look.fails["m"] = ""
    (root / "n" / "2").mkdir()

    after = scanner.scan()

    assert difference(before, after) == Difference(changed=frozenset({"n"}))
    assert after.unknown == {"m"}
    assert after.problems == {"m": f"failed to read {root}/m: Permission denied"}


def test_a_version_that_cannot_be_looked_at_is_as_it_was(root: Path) -> None:
    directory = add(root, "m", 1, 2)
    look = Look()
    scanner = Scanner([root], look=look)
    before = scanner.scan().models["m"]
    look.fails["m"] = "2/assets"
    (directory / "2" / "model.onnx").write_text("changed")
    (directory / "1" / "model.onnx").write_text("changed")

    after = scanner.scan()

    found = after.models["m"]
    assert found.versions[2] == before.versions[2]
    assert found.versions[1] != before.versions[1]
    assert after.problems == {"m": f"failed to read {directory}/2/assets: Permission denied"}


def test_a_version_that_was_never_seen_as_a_whole_is_not_there(root: Path) -> None:
    add(root, "m", 1, 2)
    look = Look()
    look.fails["m"] = "2/assets"

    scan = Scanner([root], look=look).scan()

    assert list(scan.models["m"].versions) == [1]
    assert scan.unknown == {"m"}


@pytest.mark.parametrize("hidden", ["", "warmup", "config.pbtxt"])
def test_a_model_whose_common_files_were_never_seen_is_not_there(root: Path, hidden: str) -> None:
    add(root, "m", 1)
    look = Look()
    look.fails["m"] = hidden

    scan = Scanner([root], look=look).scan()

    assert scan.models == {}
    assert list(scan.problems) == ["m"]


def test_a_model_that_goes_away_while_it_is_looked_at_has_gone(root: Path) -> None:
    add(root, "m", 1)

    def vanish(directory: Path | str) -> Listing:
        shutil.rmtree(directory)
        return list_model(directory)

    assert Scanner([root], look=vanish).scan() == Scan()


def test_a_name_in_two_roots_is_a_duplicate(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    add(root, "m", 1)
    add(root, "n", 1)
    add(other, "m", 1)

    scan = Scanner([root, other]).scan()

    assert list(scan.models) == ["n"]
    assert scan.duplicates == {"m"}


def test_with_namespacing_models_of_one_name_are_told_apart(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first, second = add(root, "m", 1), add(other, "m", 2)
    add(other, "alone", 1)
    look = Look()
    scanner = Scanner([root, other], namespacing=True, look=look)

    before = scanner.scan()

    assert {name: found.directory for name, found in before.models.items()} == {
        "repository::m": first,
        "other::m": second,
        "alone": other / "alone",
    }
    assert [found.name for found in before.models.values()] == list(before.models)
    assert before.duplicates == frozenset()
    assert difference(before, scanner.scan()) == Difference()
    look.fails["m"] = ""
    assert scanner.scan().unknown == {"repository::m", "other::m"}
    del look.fails["m"]
    shutil.rmtree(second)
    assert difference(before, scanner.scan()) == Difference(
        added=frozenset({"m"}), removed=frozenset({"repository::m", "other::m"})
    )


def test_a_duplicate_stays_one_while_a_root_is_away(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    add(root, "m", 1)
    add(other, "m", 1)
    scanner = Scanner([root, other])
    scanner.scan()
    other.rename(tmp_path / "away")

    scan = scanner.scan()

    assert scan.models == {}
    assert scan.duplicates == scan.unknown == {"m"}


def test_a_root_by_two_names_is_one(root: Path, tmp_path: Path) -> None:
    add(root, "m", 1)
    (tmp_path / "link").symlink_to(root)

    assert list(Scanner([root, tmp_path / "link", root]).scan().models) == ["m"]


def test_two_roots_that_become_one_are_one(root: Path, tmp_path: Path) -> None:
    add(root, "m", 1)
    add(tmp_path / "other", "m", 1)
    link = tmp_path / "link"
    link.symlink_to("other")
    scanner = Scanner([root, link])
    assert scanner.scan().duplicates == {"m"}

    link.unlink()
    link.symlink_to(root)

    assert list(scanner.scan().models) == ["m"]


def test_a_root_that_is_flipped_to_another_tree_is_a_change(root: Path, tmp_path: Path) -> None:
    add(root, "m", 1)
    shutil.copytree(root, tmp_path / "second")
    link = tmp_path / "link"
    link.symlink_to(root)
    scanner = Scanner([link])
    before = scanner.scan()
    link.unlink()
    link.symlink_to(tmp_path / "second")

    assert difference(before, scanner.scan()) == Difference(changed=frozenset({"m"}))


def test_a_flip_of_a_config_maps_data_link_is_a_change(root: Path) -> None:
    for release, text in (("..one", "1"), ("..two", "2")):
        (root / release / "m" / "1").mkdir(parents=True)
        (root / release / "m" / "1" / "model.onnx").write_text(text)
    (root / "..data").symlink_to("..one")
    (root / "m").symlink_to("..data/m")
    scanner = Scanner([root])
    before = scanner.scan()
    (root / "..tmp").symlink_to("..two")
    (root / "..tmp").rename(root / "..data")

    after = scanner.scan()

    assert list(after.models) == ["m"]
    assert difference(before, after) == Difference(changed=frozenset({"m"}))
