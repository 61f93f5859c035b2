import errno
import os
import shutil
from pathlib import Path, PosixPath

import pytest

from interlock.domain.errors import InvalidRequestError, NotFoundError, UnavailableError
from interlock.repository.snapshot import distinct_roots, read_model, read_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    directory.mkdir()
    return directory


def add(root: Path, model: str, *folders: str, config: str | None = None) -> Path:
    directory = root / model
    directory.mkdir(parents=True)
    for folder in folders:
        (directory / folder).mkdir()
    if config is not None:
        (directory / "config.pbtxt").write_text(config)
    return directory


def test_reads_what_a_model_is_made_of(root: Path) -> None:
    directory = add(root, "m", "10", "2", "warmup", config='name: "m"')
    (directory / "10" / "model.onnx").touch()
    (directory / "labels.txt").touch()

    source = read_repository([root]).models["m"]

    assert source.directory == directory
    assert source.config_path == directory / "config.pbtxt"
    assert source.config_text == 'name: "m"'
    assert source.versions == (2, 10)
    assert source.first_entries == ("model.onnx",)  # "10" is before "2" by name
    assert source.remarks == ()


def test_a_model_may_have_nothing_in_it(root: Path) -> None:
    add(root, "m")

    source = read_repository([root]).models["m"]

    assert source.config_path is None
    assert source.config_text is None
    assert source.versions == ()
    assert source.first_entries == ()


def test_remarks_on_directories_that_look_like_versions(root: Path) -> None:
    add(root, "m", "1", "003", "abc")

    assert read_repository([root]).models["m"].remarks == (
        "ignore version directory '003' which contains leading zeros in its directory name",
        "ignore version directory 'abc' which fails to convert to integral number",
    )


def test_a_hidden_directory_does_not_tell_the_backend(root: Path) -> None:
    directory = add(root, "m", ".ipynb_checkpoints", "1")
    (directory / ".ipynb_checkpoints" / "model.py").touch()
    (directory / "1" / "model.onnx").touch()

    assert read_repository([root]).models["m"].first_entries == ("model.onnx",)


def test_a_directory_that_is_no_version_tells_the_backend_where_there_is_none(root: Path) -> None:
    (add(root, "m", "draft") / "draft" / "model.py").touch()

    assert read_repository([root]).models["m"].first_entries == ("model.py",)


def test_files_and_directories_of_others_are_no_models(root: Path) -> None:
    add(root, "m")
    for name in (".git", "..data", "lost+found", "__pycache__"):
        add(root, name)
    (root / "README.md").touch()

    assert list(read_repository([root]).models) == ["m"]


def test_a_broken_link_costs_that_entry_only(root: Path) -> None:
    add(root, "m")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")

    snapshot = read_repository([root])

    assert list(snapshot.models) == ["m"]
    assert snapshot.problems == {}


def test_a_broken_link_to_a_version_costs_that_version_only(root: Path) -> None:
    (add(root, "m", "1") / "2").symlink_to("nowhere")

    assert read_repository([root]).models["m"].versions == (1,)


def test_a_link_to_a_directory_is_a_model(root: Path, tmp_path: Path) -> None:
    (root / "linked").symlink_to(add(tmp_path, "elsewhere", "1"))

    assert read_repository([root]).models["linked"].versions == (1,)


class Vanishing(PosixPath):
    """A root whose model `gone` goes away between the listing and the reading."""

    def __truediv__(self, name: str | os.PathLike[str]) -> "Vanishing":
        path = super().__truediv__(name)
        if name == "gone":
            shutil.rmtree(str(path))
        return path


def test_a_model_that_goes_away_meanwhile_costs_that_model_only(root: Path) -> None:
    add(root, "m")
    add(root, "gone")

    snapshot = read_repository([Vanishing(root)])

    assert list(snapshot.models) == ["m"]
    assert snapshot.problems == {}


def test_a_model_that_goes_away_meanwhile_is_not_found(root: Path) -> None:
    add(root, "gone")

    with pytest.raises(NotFoundError):
        read_model([Vanishing(root)], "gone")


def test_a_root_that_cannot_be_listed_is_a_problem_and_not_empty(
    root: Path, tmp_path: Path
) -> None:
    add(root, "m")
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()

    snapshot = read_repository([root, missing, file])

    assert list(snapshot.models) == ["m"]
    assert snapshot.problems == {
        str(missing): f"repository path is not a valid directory: {missing}",
        str(file): f"repository path is not a valid directory: {file}",
    }


def test_another_failure_to_list_a_root_says_which(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    assert read_repository([loop]).problems == {
        str(loop): f"failed to stat file {loop}: Too many levels of symbolic links"
    }


def test_a_configuration_that_cannot_be_read_is_that_models_problem(root: Path) -> None:
    add(root, "good")
    path = add(root, "bad") / "config.pbtxt"
    path.mkdir()

    snapshot = read_repository([root])

    assert list(snapshot.models) == ["good"]
    assert snapshot.problems == {"bad": f"failed to open text file for read {path}: Is a directory"}


def test_a_configuration_that_leads_nowhere_is_not_taken_for_none(root: Path) -> None:
    path = add(root, "m", "1") / "config.pbtxt"
    path.symlink_to("nowhere")

    with pytest.raises(InvalidRequestError) as error:
        read_model([root], "m")

    assert str(error.value) == (
        f"failed to open text file for read {path}: No such file or directory"
    )


def test_bytes_that_are_not_utf8_are_kept_for_the_parser_to_report(root: Path) -> None:
    (add(root, "m") / "config.pbtxt").write_bytes(b'name: "caf\xe9"')

    assert read_repository([root]).models["m"].config_text == 'name: "caf\udce9"'


def test_the_same_name_in_two_roots_is_a_duplicate(root: Path, tmp_path: Path) -> None:
    add(root, "m")
    add(tmp_path / "other", "m")
    add(tmp_path / "other", "n")

    snapshot = read_repository([root, tmp_path / "other"])

    assert list(snapshot.models) == ["n"]
    assert snapshot.duplicates == {"m"}


def test_a_root_that_is_given_twice_counts_once(root: Path, tmp_path: Path) -> None:
    add(root, "m")
    (tmp_path / "alias").symlink_to(root)

    snapshot = read_repository([root, tmp_path / "x" / ".." / "repository", tmp_path / "alias"])

    assert list(snapshot.models) == ["m"]
    assert snapshot.duplicates == frozenset()


def test_roots_are_read_in_the_order_of_their_names() -> None:
    assert distinct_roots([Path("/b"), Path("/a"), Path("/b")]) == [Path("/a"), Path("/b")]


def test_the_configuration_of_a_name_is_used_where_it_is(root: Path) -> None:
    directory = add(root, "m", "configs", config='name: "m"')
    (directory / "configs" / "small.pbtxt").write_text("max_batch_size: 1")

    assert read_model([root], "m", config_name="small").config_text == "max_batch_size: 1"
    assert read_model([root], "m", config_name="large").config_text == 'name: "m"'


def test_one_model_is_read_as_in_the_snapshot(root: Path) -> None:
    add(root, "m", "1", config="max_batch_size: 1")

    assert read_model([root], "m") == read_repository([root]).models["m"]


@pytest.mark.parametrize("name", ["absent", ".git", "..."])
def test_a_model_that_no_root_has_is_not_found(root: Path, name: str) -> None:
    add(root, ".git")

    with pytest.raises(NotFoundError) as error:
        read_model([root], name)

    assert str(error.value) == (
        f"failed to poll model '{name}': model not found in any model repository."
    )


def test_a_model_that_two_roots_have_is_refused(root: Path, tmp_path: Path) -> None:
    add(root, "m")
    add(tmp_path / "other", "m")

    with pytest.raises(InvalidRequestError) as error:
        read_model([root, tmp_path / "other"], "m")

    assert str(error.value) == (
        "failed to poll model 'm': not unique across all model repositories"
    )


def test_a_name_that_leaves_the_repository_is_refused(root: Path) -> None:
    with pytest.raises(InvalidRequestError, match="path traversal"):
        read_model([root], "../repository")


@pytest.mark.parametrize("name", ["file", "dangling", "loop", "n" * 300, ".hidden"])
def test_what_is_no_directory_is_no_model(root: Path, name: str) -> None:
    (root / "file").touch()
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / ".hidden").mkdir()

    with pytest.raises(NotFoundError):
        read_model([root], name)


def test_a_root_that_is_a_file_has_no_models_to_miss(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UnavailableError, match=r"repository path is not a valid directory"):
        read_model([tmp_path / "file"], "m")


def test_a_model_that_cannot_be_looked_at_is_not_called_missing(root: Path) -> None:
    add(root, "m")

    with pytest.raises(UnavailableError) as raised:
        read_model([Unreadable(root)], "m")

    assert str(raised.value) == (
        f"failed to poll model 'm': failed to stat file {root}: Permission denied"
    )


class Unreadable(PosixPath):
    """A root that lets nobody look at what is in it."""

    def joinpath(self, *_: str | os.PathLike[str]) -> "Unreadable":
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_model_is_not_called_missing_while_a_root_cannot_be_read(root: Path) -> None:
    missing = root / "unmounted"

    with pytest.raises(UnavailableError) as error:
        read_model([missing], "m")

    assert str(error.value) == (
        f"failed to poll model 'm': repository path is not a valid directory: {missing}"
    )


def test_a_model_is_read_although_another_root_cannot_be(root: Path) -> None:
    add(root, "m", "1")

    assert read_model([root / "unmounted", root], "m").versions == (1,)


def test_with_namespacing_models_of_one_name_are_read_by_names_of_their_own(
    root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    first, second = add(root, "m", "1"), add(other, "m", "2")
    add(other, "alone", "1")
    roots = [root, other]

    snapshot = read_repository(roots, namespacing=True)

    assert {name: source.directory for name, source in snapshot.models.items()} == {
        "alone": other / "alone",
        "other::m": second,
        "repository::m": first,
    }
    assert snapshot.duplicates == frozenset()
    for name, source in snapshot.models.items():
        assert read_model(roots, name, namespacing=True) == source
        assert source.identifier == name
        assert source.name == source.directory.name


def test_with_namespacing_a_bare_name_of_several_models_is_not_enough(
    root: Path, tmp_path: Path
) -> None:
    add(root, "m", "1")
    add(tmp_path / "other", "m", "1")

    with pytest.raises(InvalidRequestError) as caught:
        read_model([root, tmp_path / "other"], "m", namespacing=True)

    assert str(caught.value) == (
        "There are 2 identifiers of model 'm' in global map, model namespace must be provided to "
        "resolve ambiguity."
    )


@pytest.mark.parametrize("name", ["other::m", "repository::m", "nowhere::m", "::m", "other::"])
@pytest.mark.parametrize("namespacing", [True, False])
def test_a_model_whose_name_is_its_own_has_no_other(
    root: Path, tmp_path: Path, name: str, namespacing: bool
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    add(root, "m", "1")

    with pytest.raises(NotFoundError):
        read_model([root, other], name, namespacing=namespacing)


def test_a_directory_may_look_like_a_qualified_name(root: Path) -> None:
    add(root, "a::m", "1")

    assert list(read_repository([root], namespacing=True).models) == ["a::m"]
    assert read_model([root], "a::m", namespacing=True).name == "a::m"


def test_a_configuration_that_is_a_pipe_is_not_opened(root: Path) -> None:
    path = add(root, "m", "1") / "config.pbtxt"
    os.mkfifo(path)

    with pytest.raises(InvalidRequestError) as error:
        read_model([root], "m")

    assert str(error.value) == (
        f"failed to open text file for read {path}: it is a pipe, socket or device, not a file"
    )
