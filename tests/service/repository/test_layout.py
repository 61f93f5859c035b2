from pathlib import Path

import pytest

from interlock.domain.errors import InvalidRequestError
from interlock.repository.layout import (
    check_model_name,
    config_path,
    is_ignored,
    is_inside,
    is_linked_inside,
    is_nameable,
    root_around,
    version_of,
)


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_blank_model_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        check_model_name(name)

    assert str(error.value) == ("Model name cannot be empty. Please enter a valid name to deploy.")


@pytest.mark.parametrize("name", ["..", " .. ", ".", "a/b", "/etc", "../m", "m/", "a\0b"])
def test_a_model_name_that_leaves_the_repository_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        check_model_name(name)

    assert str(error.value) == (
        f"invalid model name '{name}', model name must not contain path traversal characters"
    )


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31m", "a\x7f"])
def test_a_model_name_with_control_characters_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        check_model_name(name)

    assert str(error.value) == (
        f"invalid model name {name!r}, model name must not contain control characters"
    )


@pytest.mark.parametrize("name", ["m", "...", "..my_model", "model..1", "ümläut", "a b"])
def test_other_model_names_are_accepted(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize("name", [".git", "..data", "lost+found", "__pycache__", ".m.draft"])
def test_directories_of_others_are_ignored(name: str) -> None:
    assert is_ignored(name)
    assert version_of(name) == (None, "")


@pytest.mark.parametrize(
    ("name", "can_be"), [("m", True), ("größe", True), ("\U0001f600", True), ("m\udcff", False)]
)
def test_what_is_no_text_cannot_be_named(name: str, can_be: bool) -> None:
    assert is_nameable(name) is can_be


@pytest.mark.parametrize(
    ("name", "version"), [("1", 1), ("0", 0), ("10", 10), ("9223372036854775807", 2**63 - 1)]
)
def test_numbers_are_versions(name: str, version: int) -> None:
    assert version_of(name) == (version, "")


@pytest.mark.parametrize("name", ["warmup", "golden", "initial_state", "configs"])
def test_folders_with_a_purpose_are_passed_over_silently(name: str) -> None:
    assert version_of(name) == (None, "")


@pytest.mark.parametrize("name", ["003", "00", "01"])
def test_leading_zeros_are_remarked_on(name: str) -> None:
    assert version_of(name) == (
        None,
        f"ignore version directory '{name}' which contains leading zeros in its directory name",
    )


@pytest.mark.parametrize(
    "name", ["abc", "1abc", "-3", "+3", "1 ", "1_0", "²", "٣", "9" * 20, "9223372036854775808"]
)
def test_what_is_no_number_is_remarked_on(name: str) -> None:
    assert version_of(name) == (
        None,
        f"ignore version directory '{name}' which fails to convert to integral number",
    )


def test_the_named_configuration_goes_first_while_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "config.pbtxt").touch()
    (tmp_path / "configs" / "small.pbtxt").touch()

    assert config_path(tmp_path, "small") == tmp_path / "configs" / "small.pbtxt"
    assert config_path(tmp_path, "large") == tmp_path / "config.pbtxt"
    assert config_path(tmp_path) == tmp_path / "config.pbtxt"


def test_without_a_file_there_is_no_configuration(tmp_path: Path) -> None:
    assert config_path(tmp_path, "small") is None


def test_a_link_that_leads_nowhere_is_a_configuration(tmp_path: Path) -> None:
    """It is broken, and must not be taken for one that was left out."""
    (tmp_path / "config.pbtxt").symlink_to("nowhere")

    assert config_path(tmp_path) == tmp_path / "config.pbtxt"


def test_a_path_is_inside_where_its_links_lead(tmp_path: Path) -> None:
    model, secret = tmp_path / "m", tmp_path / "secret"
    model.mkdir()
    secret.touch()
    (model / "labels.txt").touch()
    (model / "out").symlink_to(secret)
    (model / "in").symlink_to(model / "labels.txt")
    (tmp_path / "alias").symlink_to(model)

    assert is_inside(model / "labels.txt", model)
    assert is_inside(model / "in", model)
    assert is_inside(tmp_path / "alias" / "labels.txt", model)
    assert not is_inside(model / "out", model)
    assert not is_inside(model / ".." / "secret", model)


def test_what_cannot_be_followed_is_not_inside(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert not is_inside(tmp_path / "a", tmp_path)
    assert not is_inside(tmp_path / "a\0b", tmp_path)


def test_where_the_links_are_our_own_a_path_is_inside_by_its_name(tmp_path: Path) -> None:
    model = tmp_path / "model"

    assert is_linked_inside(model / "1" / "model.onnx", model)
    assert is_linked_inside(model / "1" / ".." / "labels.txt", model)
    assert not is_linked_inside(model / ".." / "secret", model)
    assert not is_linked_inside(tmp_path / "models", model)


def test_a_file_lies_in_a_repository_by_its_name_or_after_all_links(tmp_path: Path) -> None:
    first, second, outside = (tmp_path / name for name in ("first", "second", "outside"))
    for folder in (first, second, outside):
        folder.mkdir()
    (outside / "in").symlink_to(second)
    (first / "out").symlink_to(outside)

    roots = [first, second]
    assert root_around(second / "m" / "file", roots) == second
    assert root_around(outside / "in" / "file", roots) == second
    assert root_around(first / "out" / "file", roots) == first
    assert root_around(outside / "file", roots) is None
    assert root_around(tmp_path / "first-one", roots) is None
