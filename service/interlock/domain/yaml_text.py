"""Read a YAML text into values that know where they stand.

Only what a file of settings needs: texts, lists, and mappings with words for keys. Whatever
lets a small file grow, run code or say two things is refused: aliases, tags, keys that stand
twice, a second document, and what is longer or deeper than any person writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

MAX_BYTES: Final = 256 << 10
MAX_DEPTH: Final = 16
MAX_NODES: Final = 50_000


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something begins; line and column count from 1."""

    line: int
    column: int


class YamlError(ValueError):
    """What is wrong with a text, and where."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place

    def located(self, name: str) -> str:
        """Return the message as compilers print it, for a file of that name."""
        return f"{name}:{self.place.line}:{self.place.column}: {self}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text, a number or a word; nothing is made of it here."""

    place: Place
    text: str
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A value, and where its key stands."""

    place: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping, in the order of the text."""

    place: Place
    fields: Mapping[str, Field]


Node = Text | Items | Fields


def read(content: bytes) -> Node:
    """Return the one document of a text in UTF-8. Raise YamlError."""
    if len(content) > MAX_BYTES:
        raise YamlError(f"the file is longer than {MAX_BYTES >> 10} KiB", Place(1, 1))
    text = _decoded(content)
    composer = _Composer(yaml.parse(text, Loader=yaml.SafeLoader))
    try:
        return composer.document()
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = composer.place if mark is None else _place(mark)
        raise YamlError(_said(error), place) from error
    except yaml.reader.ReaderError as error:
        # Its position counts the characters that it has looked at.
        place = _place_of(text[: error.position])
        raise YamlError("a control character, which no YAML text may hold", place) from error
    except (ValueError, OverflowError) as error:
        # The parser's own, of an escaped character or a version that there cannot be.
        raise YamlError(f"not YAML behind this place: {error}", composer.place) from error


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        place = _place_of(content[: error.start].decode())
        raise YamlError("not UTF-8", place) from error


def _place_of(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _said(error: yaml.MarkedYAMLError) -> str:
    return " ".join(part for part in (error.context, error.problem) if part) or "not YAML"


class _Composer:
    """Puts the parser's events together, and stops at the first that may not be."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._nodes = 0
        self.place = Place(1, 1)
        """Where what was read last begins."""

    def document(self) -> Node:
        next(self._events)  # the stream begins
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise YamlError("the file is empty", _place(first.start_mark))
        node = self._node(next(self._events), 1)
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise YamlError(
                "a second document begins here: keep one of the two", _place(after.start_mark)
            )
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self.place = place = _place(event.start_mark)
        self._admit(event, place, depth)
        if isinstance(event, yaml.ScalarEvent):
            if not event.value.isprintable():
                raise YamlError("a text is one line of characters that can be seen", place)
            return Text(place, event.value, is_quoted=event.style is not None)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(place, tuple(self._items(depth)))
        return Fields(place, self._fields(depth))

    def _admit(self, event: yaml.Event, place: Place, depth: int) -> None:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlError("anchors and aliases (& and *) are not read: write it out", place)
        if getattr(event, "tag", None) is not None:
            raise YamlError("tags (!) are not read: remove it", place)
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise YamlError("there is more inside each other than any such file holds", place)

    def _items(self, depth: int) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, depth + 1)

    def _fields(self, depth: int) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(event, depth + 1)
            if not isinstance(key, Text):
                raise YamlError("a key must be a word", key.place)
            if key.text in fields:
                line = fields[key.text].place.line
                message = f"'{key.text}' stands in line {line} already: keep one of the two"
                raise YamlError(message, key.place)
            fields[key.text] = Field(key.place, self._node(next(self._events), depth + 1))
        return fields
