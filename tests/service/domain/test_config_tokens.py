import pytest
from hypothesis import given

from interlock.domain.config_tokens import Expected, FieldPath, Outline, Token, locate, tokens
from tests.support.configs import RICH, mutated


def test_splits_as_the_reader_does() -> None:
    text = "name: 'a' # a comment\ndims:[ -1,0.5 ]\n"

    assert list(tokens(text)) == [
        Token("name", 1, 1),
        Token(":", 1, 5),
        Token("'a'", 1, 7),
        Token("dims", 2, 1),
        Token(":", 2, 5),
        Token("[", 2, 6),
        Token("-1", 2, 8),
        Token(",", 2, 10),
        Token("0.5", 2, 11),
        Token("]", 2, 15),
        Token("", 2, 16),
    ]


def test_a_string_that_is_not_closed_ends_with_its_line() -> None:
    assert [token.text for token in tokens('name: "a # b\nplatform')] == [
        "name",
        ":",
        '"a # b',
        "platform",
        "",
    ]


def test_an_empty_text_ends_where_it_begins() -> None:
    assert list(tokens("")) == [Token("", 1, 1)]


@pytest.mark.parametrize(
    ("path", "position"),
    [
        pytest.param(("max_batch_size",), (4, 17), id="a value"),
        pytest.param(("input", 0, "dims"), (9, 5), id="a list"),
        pytest.param(("input", 0, "dims", 1), (9, 16), id="an element of it"),
        pytest.param(("input", 1, "name"), (12, 11), id="in the second of a list"),
        pytest.param(("input", 1, "dims", 0), (12, 45), id="one value of a repeated field"),
        pytest.param(("output", 0, "label_filename"), (14, 72), id="in pointed brackets"),
        pytest.param(("dynamic_batching", "priority_queue_policy"), (18, 3), id="a map"),
        pytest.param(("dynamic_batching", "preserve_ordering"), (15, 1), id="around an absent one"),
    ],
)
def test_finds_where_a_field_is_set(path: FieldPath, position: tuple[int, int]) -> None:
    token = locate(RICH, path)

    assert token is not None
    assert token.position == position


def test_finds_nothing_of_a_field_that_is_not_there() -> None:
    assert locate(RICH, ("version_policy", "latest")) is None


def test_tells_what_is_open_at_a_position() -> None:
    outline = Outline(RICH, until=(9, 16))

    assert [frame.opener.text for frame in outline.frames] == ["", "[", "{", "["]
    assert outline.token.text == "-1"
    assert outline.expected is Expected.VALUE
    assert outline.name is not None
    assert outline.name.text == "dims"


def test_is_back_at_the_start_behind_a_whole_text() -> None:
    outline = Outline(RICH)

    assert len(outline.frames) == 1
    assert outline.expected is Expected.NAME
    assert outline.token.text == ""


@given(mutated())
def test_reads_broken_texts_to_their_end(text: str) -> None:
    text = text.encode(errors="replace").decode()

    assert Outline(text).token == list(tokens(text))[-1]
