"""What tells models of one name apart."""

from pathlib import Path

import pytest

from interlock.repository.namespaces import OtherNames, namespaces_of, qualified_names


@pytest.mark.parametrize(
    ("roots", "namespaces"),
    [
        pytest.param(["/srv/models"], ["models"], id="one"),
        pytest.param(["/srv/a", "/srv/b"], ["a", "b"], id="the last folder"),
        pytest.param(["/a/models", "/b/models"], ["a.models", "b.models"], id="one folder more"),
        pytest.param(
            ["/a/x/models", "/b/x/models", "/other"],
            ["a.x.models", "b.x.models", "other"],
            id="as many as it takes",
        ),
        pytest.param(["/models", "/a/models"], ["models", "a.models"], id="one below the other"),
        pytest.param(["/", "/a"], ["root", "a"], id="the top"),
        pytest.param(["/a", "/a/"], ["a", "a"], id="twice the same"),
        pytest.param(["/a.b/c", "/a/b.c"], ["c", "b.c"], id="dots"),
        pytest.param(
            ["/q/a.b", "/q.a/b"], ["a.b", "b"], id="what looks alike with more is told by less"
        ),
        pytest.param(["/x/a.b", "/x.a/b", "/y/b"], ["x.a.b-1", "x.a.b-2", "y.b-3"], id="last"),
    ],
)
def test_the_namespace_is_the_end_of_the_path(roots: list[str], namespaces: list[str]) -> None:
    found = namespaces_of([Path(root) for root in roots])

    assert [found[Path(root)] for root in roots] == namespaces


def test_a_qualified_name_is_known_by_its_separator() -> None:
    assert qualified_names(["a::m", "m", "b::m", "::x", "c::y"]) == {
        "m": ["a::m", "b::m"],
        "y": ["c::y"],
    }


@pytest.mark.parametrize(
    ("identifier", "directory", "others"),
    [
        ("m", "/r/east/m", ("east::m",)),
        ("east::m", "/r/east/m", ("m",)),
        ("m", "/scratch/m", ()),
        ("east::m", "/scratch/m", ("m",)),
        ("none::m", "/r/west/none::m", ("west::none::m",)),
    ],
    ids=["alone", "among others", "of a request", "of a request, qualified", "not a namespace"],
)
def test_the_other_name_is_the_one_with_or_without_others(
    identifier: str, directory: str, others: tuple[str, ...]
) -> None:
    names = OtherNames({Path("/r/east"): "east", Path("/r/west"): "west"})

    assert names.of(identifier, Path(directory)) == others
    assert others in names.any_of(identifier) or not others
    assert OtherNames({}).of(identifier, Path(directory)) == ()
    assert OtherNames({}).any_of(identifier) == ((),)
