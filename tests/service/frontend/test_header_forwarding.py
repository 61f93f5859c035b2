import pytest

from interlock.domain.errors import InvalidRequestError
from interlock.frontend.header_forwarding import HeaderForwarder


def test_matches_a_part_of_the_key_in_any_case() -> None:
    picked = HeaderForwarder("TENANT").pick([("x-tenant-id", "7"), ("other", "8")])

    assert picked == {"x-tenant-id": "7"}


def test_the_pattern_can_ask_for_its_own_case() -> None:
    metadata = [("x-tenant", "7")]

    assert HeaderForwarder("(?-i)X-TENANT").pick(metadata) == {}
    assert HeaderForwarder("(?-i)x-tenant").pick(metadata) == {"x-tenant": "7"}


def test_gives_keys_in_lower_case() -> None:
    assert HeaderForwarder(".*").pick([("X-Big", "7")]) == {"x-big": "7"}


def test_an_anchored_pattern_matches_whole_keys() -> None:
    metadata = [("abc", "1"), ("xabc", "2")]

    assert HeaderForwarder("^abc$").pick(metadata) == {"abc": "1"}


def test_takes_the_last_of_several_and_decodes_binary_ones() -> None:
    metadata: list[tuple[str, str | bytes]]
    metadata = [("a", "1"), ("a", "2"), ("b-bin", "ü".encode()), ("c-bin", b"\xff")]

    assert HeaderForwarder("").pick(metadata) == {"a": "2", "b-bin": "ü", "c-bin": "\ufffd"}


def test_picks_nothing_from_nothing() -> None:
    assert HeaderForwarder(".*").pick([]) == {}


def test_refuses_what_is_no_pattern() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        HeaderForwarder("a(b")

    assert str(caught.value).startswith(
        "header forward pattern 'a(b' is not a regular expression: "
    )
