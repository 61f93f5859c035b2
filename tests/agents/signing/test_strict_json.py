"""JSON of others: one meaning, or none."""

import pytest

from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.strict_json import as_list, as_text, parsed


def test_an_object_is_read() -> None:
    assert parsed(b'{"a": [1, {"b": null}]}', what="it") == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"it is not JSON \(line 1, column 1: .*\)"),
        (b'{"a": 1,}', r"it is not JSON \(line 1, column \d+: .*\)"),
        (b'{"a": 1, "b": 2, "a": 1}', "it: 'a' stands there twice"),
        (b'{"x": {"b": 1, "b": 1}}', "it: 'b' stands there twice"),
        (b"\xff{}", "it is not JSON"),
        (b'{"a":' + b"[" * 100_000, "it is not JSON"),
        (b'{"a":' + b"9" * 100_000 + b"}", "it is not JSON"),
        (b"[]", "it is no object"),
    ],
)
def test_what_is_no_object_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SignatureError, match=f"^{reason}$"):
        parsed(content, what="it")


def test_values_of_another_kind_are_refused() -> None:
    with pytest.raises(SignatureError, match="it is no list"):
        as_list({}, "it")
    with pytest.raises(SignatureError, match="it is no text"):
        as_text(1, "it")


def test_a_text_cannot_write_lines_of_its_own_into_a_log() -> None:
    with pytest.raises(SignatureError, match=r"it has characters that cannot be shown: 'a\\nb'"):
        as_text("a\nb", "it")
