"""JSON that can be read in one way only, or a reason that says where it cannot."""

import pytest

from interlock_agents.json_text import JsonTextError, decoded


def test_returns_what_the_text_says() -> None:
    assert decoded(b'{"a": [1, {"a": null}]}', "it") == {"a": [1, {"a": None}]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b'{"b": {"a": 1, "a": 1}}', "it: 'a' stands there twice", id="twice"),
        pytest.param(
            b'{\n"a" 1}', "it is not JSON (line 2, column 5: Expecting ':' delimiter)", id="place"
        ),
        pytest.param(b"\xff\xfe\xff", "it is not JSON", id="no text"),
        pytest.param(b"[" * 100_000, "it is not JSON", id="too deep"),
    ],
)
def test_says_why_it_is_none(content: bytes, text: str) -> None:
    with pytest.raises(JsonTextError) as caught:
        decoded(content, "it")

    assert str(caught.value) == text


def test_an_encoding_that_is_asked_for_is_the_only_one() -> None:
    content = '"é"'.encode("utf-16")
    assert decoded(content, "it") == "é"
    with pytest.raises(JsonTextError, match=r"^it is not JSON$"):
        decoded(content, "it", encoding="utf-8")
