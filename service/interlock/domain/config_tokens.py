"""Find one's way in the text of a configuration: which field stands where.

protobuf's parser decides whether a text is right and where it is wrong; this module says
what the text was about at that place. It reads broken text as well, as far as it goes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from interlock.pb import POOL

FieldPath = tuple[str | int, ...]
"""Names of fields and indices from the root: `("input", 0, "dims")`."""

_TOKEN: Final = re.compile(
    r"""
      (?P<blank> \s+ | \#.* )
    | [a-zA-Z_] [0-9a-zA-Z_+-]*
    | (?: [0-9+-] | \.[0-9] ) [0-9a-zA-Z_.+-]*
    | " [^"\\]* (?: \\. [^"\\]* )* (?: " | \\?$ )
    | ' [^'\\]* (?: \\. [^'\\]* )* (?: ' | \\?$ )
    | .
    """,
    re.VERBOSE,
)
_ROOT: Final[Descriptor] = POOL.FindMessageTypeByName("inference.ModelConfig")
_CLOSERS: Final = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the text; `line` and `column` count from 1. The end of the text is ""."""

    text: str
    line: int
    column: int

    @property
    def position(self) -> tuple[int, int]:
        return self.line, self.column

    @property
    def is_string(self) -> bool:
        return self.text[:1] in {'"', "'"}

    @property
    def is_word(self) -> bool:
        return self.text[:1].isalpha() or self.text[:1] == "_"


class Expected(Enum):
    """What may come next."""

    NAME = "a field name"
    COLON = "a colon"
    VALUE = "a value"
    SEPARATOR = "a comma or the end of the list"


@dataclass(slots=True)
class Frame:
    """A bracket that is open, or the whole text.

    `message` is the type whose fields stand inside a brace (`None` where it is unknown);
    `owner` is the field that the bracket belongs to. `names` holds each field's first mention,
    `counts` how many elements a repeated field has so far.
    """

    opener: Token
    message: Descriptor | None
    owner: FieldDescriptor | None
    path: FieldPath
    names: dict[str, Token] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_list(self) -> bool:
        return self.opener.text == "["

    @property
    def closer(self) -> str:
        return _CLOSERS.get(self.opener.text, "")


def tokens(text: str) -> Iterator[Token]:
    """Split as protobuf's own reader does; the last token is empty and marks the end."""
    last = Token("", 1, 1)
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _TOKEN.finditer(line):
            if match.lastgroup != "blank":
                last = Token(match.group(), number, match.start() + 1)
                yield last
    yield Token("", last.line, last.column + len(last.text))


class Outline:
    """The structure of a text, up to a position or as far as it goes.

    `frames` are the brackets that are open there, outermost first; `token` is what stands
    there; `name` and `field` are the field whose value comes next, if one does.
    """

    def __init__(self, text: str, *, until: tuple[int, int] | None = None) -> None:
        self.frames = [Frame(Token("", 1, 1), _ROOT, None, ())]
        self.expected = Expected.NAME
        self.name: Token | None = None
        self.field: FieldDescriptor | None = None
        self.before: Token | None = None
        self.positions: dict[FieldPath, Token] = {}
        self._path: FieldPath = ()
        for token in tokens(text):
            self.token = token
            if not token.text or (until is not None and token.position >= until):
                break
            self._take(token)
            self.before = token

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def _take(self, token: Token) -> None:
        if token.text in {"{", "<", "["} and self.expected is not Expected.SEPARATOR:
            self._open(token)
        elif token.text in {"}", ">", "]"}:
            self._close()
        elif self.expected is Expected.NAME:
            self._take_name(token)
        elif self.expected is Expected.COLON:
            self.expected = Expected.VALUE if token.text == ":" else Expected.NAME
        elif self.expected is Expected.VALUE:
            self._take_value(token)
        elif token.text == ",":
            self.expected = Expected.VALUE

    def _take_name(self, token: Token) -> None:
        if token.text in {",", ";"} or (token.is_string and self._follows_string()):
            return
        frame = self.frame
        self.name = token
        self.field = frame.message.fields_by_name.get(token.text) if frame.message else None
        self._path = (*frame.path, token.text)
        if frame.message is not None and self._repeated():
            frame.counts.setdefault(token.text, 0)
        frame.names.setdefault(token.text, token)
        self.positions.setdefault(self._path, token)
        self.expected = Expected.COLON

    def _follows_string(self) -> bool:
        return self.before is not None and self.before.is_string

    def _repeated(self) -> bool:
        return self.field is not None and self.field.is_repeated

    def _take_value(self, token: Token) -> None:
        self.positions[self._element_path()] = token
        self.expected = Expected.SEPARATOR if self.frame.is_list else Expected.NAME

    def _element_path(self) -> FieldPath:
        """Return the path of the value that begins now, and count it."""
        if not self._repeated() or self.name is None:
            return self._path
        owner = self.frames[-2] if self.frame.is_list and len(self.frames) > 1 else self.frame
        index = owner.counts.get(self.name.text, 0)
        owner.counts[self.name.text] = index + 1
        return (*owner.path, self.name.text, index)

    def _open(self, token: Token) -> None:
        if self.expected is Expected.NAME:  # no field stands in front of the bracket
            self.name = self.field = None
        if token.text == "[" and not self.frame.is_list:
            self.frames.append(Frame(token, None, self.field, self._path))
            self.expected = Expected.VALUE
            return
        path = self._element_path()
        self.positions.setdefault(path, self.name or token)
        message = self.field.message_type if self.field is not None else None
        self.frames.append(Frame(token, message, self.field, path))
        self.expected = Expected.NAME

    def _close(self) -> None:
        if len(self.frames) == 1:
            return
        self.frames.pop()
        frame = self.frame
        self.expected = Expected.NAME
        if frame.is_list:
            self.field = frame.owner
            self.name = Token(str(frame.path[-1]), *frame.opener.position) if frame.path else None
            self._path = frame.path
            self.expected = Expected.SEPARATOR


def locate(text: str, path: FieldPath) -> Token | None:
    """Return where the text sets a field, or the nearest thing around it that is there."""
    positions = Outline(text).positions
    while path and path not in positions:
        path = path[:-1]
    return positions.get(path)
