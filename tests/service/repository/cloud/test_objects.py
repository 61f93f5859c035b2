"""From keys to models and versions, and the keys that are not trusted."""

import pytest
from hypothesis import given, strategies as st

from interlock.repository.cloud.objects import Arrangement, Unit, arrange, difference
from tests.support.object_stores import remote


def paths(arrangement: Arrangement) -> dict[tuple[str, int | None], list[str]]:
    return {
        (unit.model, unit.version): [file.path for file in files]
        for units in arrangement.models.values()
        for unit, files in units.items()
    }


def test_keys_become_versions_and_what_they_have_in_common() -> None:
    keys = ["m/config.pbtxt", "m/1/model.onnx", "m/1/data/x", "m/10/model.onnx", "m/warmup/raw"]

    found = arrange(remote(key) for key in [*keys, "n/2/model.onnx"])

    assert paths(found) == {
        ("m", None): ["config.pbtxt", "warmup/raw"],
        ("m", 1): ["data/x", "model.onnx"],
        ("m", 10): ["model.onnx"],
        ("n", 2): ["model.onnx"],
    }
    assert not found.refusals


@pytest.mark.parametrize(
    "key",
    [
        "readme.txt",
        ".git/HEAD",
        "m/.git/HEAD",
        "m/1/__pycache__/x.pyc",
        "m/1/model.py~",
        "lost+found/1/model.onnx",
        "m/.versions",
        "m/.versions/1/x",
        "m/.config.pbtxt.swp",
    ],
)
def test_what_is_not_looked_at_on_a_disk_is_not_fetched(key: str) -> None:
    found = arrange([remote(key)])

    assert found == Arrangement()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("m/../../etc/passwd", "leads out"),
        ("../m/1/x", "leads out"),
        ("/etc/passwd", "leads out"),
        ("m//1", "leads out"),
        ("m/./1", "leads out"),
        ("m/1/", "leads out"),
        ("m/1/a\0b", "NUL"),
        (f"m/1/{'x' * 256}", "255 bytes"),
        ("m/" + "/".join(["x" * 100] * 30), "2048 bytes"),
        ("m/config", "folder of other keys"),
        ("m/7", "the folder of a version"),
    ],
)
def test_a_key_that_can_be_no_file_costs_itself_alone(key: str, reason: str) -> None:
    found = arrange(map(remote, ["m/2/model.onnx", "m/config/x", key]))

    assert paths(found) == {("m", None): ["config/x"], ("m", 2): ["model.onnx"]}
    (refusal,) = found.refusals
    assert refusal.key == key
    assert reason in refusal.reason


def test_the_objects_that_stand_for_folders_are_no_files() -> None:
    markers = [remote(path, b"") for path in ("m", "m/1", "m/1/data", "m/golden")]

    found = arrange([*markers, remote("m/1/data/x"), remote("m/golden/a.npz")])

    assert paths(found) == {("m", None): ["golden/a.npz"], ("m", 1): ["data/x"]}


def test_a_folder_of_a_version_may_be_empty() -> None:
    found = arrange([remote("m/3", b"")])

    assert paths(found) == {("m", 3): []}


@given(st.lists(st.text(max_size=12).map(lambda text: f"m/{text}"), unique=True))
def test_no_key_leads_out_of_its_model(keys: list[str]) -> None:
    found = arrange(map(remote, keys))

    for files in paths(found).values():
        for path in files:
            assert not path.startswith("/")
            assert not {"", ".", ".."} & set(path.split("/"))
            assert "\0" not in path


def test_a_difference_names_what_is_new_other_or_gone() -> None:
    before = arrange([remote("m/1/x"), remote("m/2/x"), remote("m/3/x")]).models["m"]
    after = arrange([remote("m/1/x"), remote("m/2/x", b"other"), remote("m/4/x")]).models["m"]

    assert difference(before, after) == {
        Unit("m", 2): after[Unit("m", 2)],
        Unit("m", 4): after[Unit("m", 4)],
        Unit("m", 3): None,
    }
    assert difference(after, after) == {}
