"""Read the text of a configuration, or say where it is broken and what to write instead.

protobuf's text parser is the judge; `config_hints` words what it finds.
"""

import re
import unicodedata
from typing import Final

from google.protobuf import text_format

from interlock.domain.config_hints import explain
from interlock.domain.config_tokens import FieldPath, locate, tokens
from interlock.domain.errors import InvalidRequestError
from interlock.pb import model_config_pb2 as pb

_WINDOW: Final = 120
_POSITION: Final = re.compile(r"^\d+:\d+ : ")
_ESCAPE: Final = re.compile(r"\\(?:x.?|[0-7]{1,3}|.)")
_KNOWN_ESCAPE: Final = re.compile(r"""\\(?:[abfnrtv\\'"]|[0-3]?[0-7]{1,2}$|x[0-9a-fA-F])""")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class ConfigError(InvalidRequestError):
    """A configuration that cannot be used.

    `message` is the bare sentence and `hint` what to write instead. `line` and `column`
    count from 1 and are 0 where unknown; `source` is the line itself. `field` leads to
    the place where no position is known yet: `located` finds it in the text.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        line: int = 0,
        column: int = 0,
        source: str = "",
        hint: str = "",
        field: FieldPath = (),
    ) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        self.source = source
        self.hint = hint
        self.field = field
        super().__init__(self._rendered())

    def located(self, text: str | None, path: str) -> "ConfigError":
        """Return the same error with the place in the text that it speaks of."""
        if self.line or not text or not self.field:
            return self
        token = locate(text, self.field)
        if token is None:
            return self
        return ConfigError(
            self.message,
            path=path,
            line=token.line,
            column=token.column,
            source=_line(text, token.line),
            hint=self.hint,
            field=self.field,
        )

    @property
    def excerpt(self) -> str:
        """The line and a caret below the column, "" where the place is unknown."""
        return _with_caret(self.source, self.column) if self.line else ""

    def _rendered(self) -> str:
        if not self.line:
            return sentences(self.message, self.hint)
        parts = [self.message, f"  {self.path}:{self.line}:{self.column}", self.excerpt, self.hint]
        return "\n".join(part for part in parts if part)


def sentences(first: str, second: str) -> str:
    """Join two sentences, the first of which may lack its full stop."""
    if not second:
        return first
    return f"{first} {second}" if first.endswith((".", "?", "!")) else f"{first}. {second}"


def parse(text: str, path: str) -> pb.ModelConfig:
    """Return what the text says, all of it; raise ConfigError where it is broken."""
    _refuse_undecoded(text, path)
    text = text.removeprefix("\ufeff")
    _refuse_escapes(text, path)
    message = pb.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _config_error(error, text, path) from error
    return message


def _config_error(error: text_format.ParseError, text: str, path: str) -> ConfigError:
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    said = _POSITION.sub("", str(error))
    # A ParseError names the line that it complains of once more.
    quoted = f"'{text.split(chr(10))[line - 1]}': " if line else ""
    finding = explain(said.removeprefix(quoted).removeprefix("'': "), text, (line, column))
    place = finding.token
    return ConfigError(
        f"failed to read text proto from {path}: {finding.message}",
        path=path,
        line=place.line,
        column=place.column,
        source=_line(text, place.line),
        hint=finding.hint,
    )


def _refuse_undecoded(text: str, path: str) -> None:
    """Bytes that are not UTF-8 come here as lone surrogates (`surrogateescape`)."""
    found = _SURROGATE.search(text)
    if found is None:
        return
    before = text[: found.start()]
    line = before.count("\n") + 1
    code = ord(found.group())
    shown = f"byte 0x{code - 0xDC00:02X}" if code >= 0xDC80 else f"code point U+{code:04X}"  # noqa: PLR2004 - PEP 383
    raise ConfigError(
        f"failed to read text proto from {path}: the file is not UTF-8 text ({shown})",
        path=path,
        line=line,
        column=len(before) - before.rfind("\n"),
        source=_SURROGATE.sub("\ufffd", _line(text, line)),
        hint="Save the file as UTF-8.",
    )


def _refuse_escapes(text: str, path: str) -> None:
    """Refuse what the C++ reader refuses, and what the one for Python reads as something else."""
    for token in tokens(text):
        if not token.is_string:
            continue
        for escape in _ESCAPE.finditer(token.text):
            if not _KNOWN_ESCAPE.match(escape.group()):
                raise ConfigError(
                    f"failed to read text proto from {path}: Invalid escape sequence in string "
                    "literal.",
                    path=path,
                    line=token.line,
                    column=token.column + escape.start(),
                    source=_line(text, token.line),
                    hint="Write a backslash twice, and other characters as they are.",
                )


def _line(text: str, number: int) -> str:
    return text.split("\n")[number - 1].rstrip("\r")


def _with_caret(source: str, column: int) -> str:
    start = max(0, column - 1 - _WINDOW // 2) if len(source) > _WINDOW else 0
    shown = source[start : start + _WINDOW]
    padding = "".join(_blank(character) for character in source[start : column - 1])
    return f"    {shown}\n    {padding}^"


def _blank(character: str) -> str:
    """Return white space as wide as the character is on a terminal."""
    if character == "\t":
        return "\t"
    return "  " if unicodedata.east_asian_width(character) in {"W", "F"} else " "
