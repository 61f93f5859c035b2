"""How the environments of tools/test-grpcio are chosen."""

import pytest

from tools.grpcio_matrix import SetupError, environments, lowest


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("grpcio>=1.76,<2", "grpcio==1.76.*"),
        ("protobuf>=6.31.1,<8", "protobuf==6.31.1.*"),
        ("google-re2>=1.1", "google-re2==1.1.*"),
    ],
)
def test_the_lower_bound_is_what_is_installed(requirement: str, expected: str) -> None:
    assert lowest(requirement) == expected


@pytest.mark.parametrize("requirement", ["grpcio", "grpcio<2", "grpcio~=1.76"])
def test_a_requirement_without_a_lower_bound_is_refused(requirement: str) -> None:
    with pytest.raises(SetupError, match="does not say what is the lowest"):
        lowest(requirement)


def test_both_environments_have_every_dependency() -> None:
    low, new = environments()

    assert (low.name, new.name) == ("lowest", "newest")
    assert len(low.requirements) == len(new.requirements) > 5
    assert "grpcio==1.76.*" in low.requirements
