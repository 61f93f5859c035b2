"""What a reason is made of, whatever its error says."""

import pytest

from interlock.domain.errors import InternalError, InvalidRequestError


def test_a_reason_is_the_kind_of_error_and_what_it_says() -> None:
    assert InvalidRequestError("größe\n✓").reason == "Invalid argument: größe\n✓"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("'1/\udcff.enc'", "Internal: '1/?.enc'"),
        ("a\0b\x1b[31mc\x7fd\x9be", "Internal: a?b?[31mc?d?e"),
    ],
)
def test_what_is_no_text_or_does_something_to_a_screen_is_left_out(text: str, reason: str) -> None:
    assert InternalError(text).reason == reason


def test_a_reason_is_of_no_more_than_a_certain_length() -> None:
    reason = InternalError("x" * 5_000_000).reason

    assert len(reason) < 5000
    assert reason.endswith("xxx [...]")
