"""What is read of a YAML text, and where what may not be in it is said to be."""

import pytest
from hypothesis import given, strategies as st

from interlock.domain.yaml_text import (
    MAX_BYTES,
    MAX_NODES,
    Fields,
    Items,
    Node,
    Place,
    Text,
    YamlError,
    read,
)


def plain(node: Node) -> object:
    """Return a node without its places."""
    if isinstance(node, Text):
        return node.text
    if isinstance(node, Items):
        return [plain(one) for one in node.items]
    return {key: plain(field.value) for key, field in node.fields.items()}


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        read(text.encode())
    return caught.value.located("f.yaml")


def test_reads_mappings_lists_and_texts() -> None:
    node = read(b"a: 1\nb:\n  - x\n  - {c: 'true'}\n")

    assert plain(node) == {"a": "1", "b": ["x", {"c": "true"}]}


def test_everything_knows_where_it_stands() -> None:
    node = read(b"a: 1\nb:\n  - x\n")

    assert isinstance(node, Fields)
    assert node.fields["b"].place == Place(2, 1)
    items = node.fields["b"].value
    assert isinstance(items, Items)
    assert items.items[0].place == Place(3, 5)


def test_tells_quoted_texts_from_words() -> None:
    node = read(b"[no, 'no']")

    assert isinstance(node, Items)
    assert [one.is_quoted for one in node.items if isinstance(one, Text)] == [False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "f.yaml:1:1: the file is empty", id="nothing"),
        pytest.param("# only\n", "f.yaml:2:1: the file is empty", id="comments alone"),
        pytest.param(
            "a: 1\na: 2\n",
            "f.yaml:2:1: 'a' stands in line 1 already: keep one of the two",
            id="a key twice",
        ),
        pytest.param(
            "a: &x 1\n",
            "f.yaml:1:4: anchors and aliases (& and *) are not read: write it out",
            id="anchor",
        ),
        pytest.param(
            "a: *x\n",
            "f.yaml:1:4: anchors and aliases (& and *) are not read: write it out",
            id="alias",
        ),
        pytest.param(
            "a: !!python/object:os.system x\n",
            "f.yaml:1:4: tags (!) are not read: remove it",
            id="tag",
        ),
        pytest.param("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document", id="two documents"),
        pytest.param("? [a]\n: 1\n", "f.yaml:1:3: a key must be a word", id="a list as key"),
        pytest.param("a: [1, 2\n", "f.yaml:2:1: while parsing a flow sequence", id="not closed"),
        pytest.param("a:\n\tb: 1\n", "f.yaml:2:1: while scanning", id="tab"),
        pytest.param(
            'a: 1\nb: "\\UFFFFFFFF"\n', "f.yaml:2:1: not YAML behind this place", id="no character"
        ),
        pytest.param(f"%YAML 1.{'9' * 9999}\n---\na: 1\n", "f.yaml:1:1: not YAML", id="no version"),
        pytest.param('a: "\\ud800"', "f.yaml:1:4: a text is one line", id="half a character"),
        pytest.param('a: "b\\0c"', "f.yaml:1:4: a text is one line", id="a null"),
        pytest.param("a: |\n  b\n", "f.yaml:1:4: a text is one line", id="several lines"),
        pytest.param("a: 1\nb: \x07\n", "f.yaml:2:4: a control character", id="control character"),
    ],
)
def test_says_where_and_what_is_wrong(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


def test_says_where_a_text_is_not_utf_8() -> None:
    with pytest.raises(YamlError) as caught:
        read(b"a: 1\nb: \xff\n")

    assert caught.value.located("f.yaml") == "f.yaml:2:4: not UTF-8"


def test_refuses_what_is_too_long() -> None:
    assert refusal("#" * (MAX_BYTES + 1)) == "f.yaml:1:1: the file is longer than 256 KiB"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a:\n" + "- " * 100_000, "[" + "1," * (MAX_NODES + 1) + "1]"]
)
def test_refuses_what_is_too_much_without_reading_all_of_it(text: str) -> None:
    assert "more inside each other" in refusal(text)


FRAGMENTS = st.lists(
    st.sampled_from(
        ["a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ", ", "? ", "'", '"', "\\x", "\\U", "|",
         ">", "%YAML ", "%TAG ", "---", "...", "!", "&a ", "*a", "#", "1", "@", "<<", "\t", "\\"]
    ),
    max_size=40,
)  # fmt: skip


@given(FRAGMENTS)
def test_no_fragments_break_the_reader(fragments: list[str]) -> None:
    place = Place(1, 1)
    try:
        read("".join(fragments).encode())
    except YamlError as error:
        place = error.place

    assert place >= Place(1, 1)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_whatever_the_content_it_is_read_or_refused_with_a_place(content: bytes) -> None:
    place = Place(1, 1)
    try:
        read(content)
    except YamlError as error:
        place = error.place

    assert place >= Place(1, 1)
    assert place.column >= 1
