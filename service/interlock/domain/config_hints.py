"""Say what is wrong at a place of a configuration, and what to write there instead.

The sentences are those of protobuf's C++ reader where it has one, since people search for
them; the hints are ours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from interlock.domain import config_words as words
from interlock.domain.config_tokens import Expected, Frame, Outline, Token

_DUPLICATE: Final = re.compile(r'should not have multiple "(\w+)" fields')
_ONEOF: Final = re.compile(
    r'Field "(\w+)" is specified along with field "(\w+)", another member of oneof "(\w+)"'
)
_UNCLOSED: Final = re.compile(r'Expected "[}>]"\.')
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_RANGES: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, where it shows, and what to write instead ("" where nobody can know)."""

    message: str
    token: Token
    hint: str = ""


def explain(said: str, text: str, position: tuple[int, int]) -> Finding:
    """Word an error of protobuf's reader, which `said` something about a position."""
    if _UNCLOSED.search(said):  # it says so of the last word before the end
        return _file_ends(Outline(text))
    place = _Place(said, text, Outline(text, until=position))
    for rule in _RULES:
        finding = rule(place)
        if finding is not None:
            return finding
    return Finding(said, place.token)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the reader said, and where it stood."""

    said: str
    text: str
    outline: Outline

    @property
    def token(self) -> Token:
        return self.outline.token

    @property
    def frame(self) -> Frame:
        return self.outline.frame

    @property
    def field(self) -> FieldDescriptor | None:
        return self.outline.field

    @property
    def shown(self) -> str:
        text = self.token.text
        return text if self.token.is_string else f'"{text}"'

    def write(self, value: str) -> str:
        """Return the hint to write this value for the field that is being read."""
        if self.frame.is_list or self.outline.name is None:
            return f"Write {value} instead of {self.token.text}"
        return f"Write: {self.outline.name.text}: {value}"


_Rule = Callable[[_Place], Finding | None]


def _bad_text(place: _Place) -> Finding | None:
    if not place.said.startswith("Couldn't parse string"):
        return None
    # The reader has gone on to the next word when it notices.
    token = place.outline.before or place.token
    return Finding(place.said, token, "A string holds UTF-8 text, also where it is escaped.")


def _end(place: _Place) -> Finding | None:
    return None if place.token.text else _file_ends(place.outline)


def _file_ends(outline: Outline) -> Finding:
    inner = outline.frame
    if len(outline.frames) == 1:
        name = outline.name.text if outline.name else ""
        return Finding(
            f'The file ends where a value for "{name}" should stand.',
            outline.token,
            f"Write the value behind {name}, or copy the rest of the file.",
        )
    closers = " ".join(frame.closer for frame in reversed(outline.frames[1:]))
    return Finding(
        f'Expected "{inner.closer}".',
        outline.token,
        f"The file ends inside {_opened(inner)}: write {closers} at the end, or copy the rest of "
        "the file if it was cut short.",
    )


def _opened(frame: Frame) -> str:
    owner = f"{frame.owner.name} " if frame.owner is not None else ""
    return f'"{owner}{frame.opener.text}" of line {frame.opener.line}'


def _duplicate(place: _Place) -> Finding | None:
    match = _DUPLICATE.search(place.said)
    if match is None:
        return None
    first = place.frame.names.get(match[1])
    second = place.outline.name or place.token
    where = f"It stands in line {first.line} already: keep" if first else "Keep"
    return Finding(
        f'Non-repeated field "{match[1]}" is specified multiple times.',
        second,
        f"{where} one of the two.",
    )


def _oneof(place: _Place) -> Finding | None:
    match = _ONEOF.search(place.said)
    if match is None:
        return None
    other = place.frame.names.get(match[2])
    where = f", which stands in line {other.line}" if other else ""
    return Finding(
        f"{match[0]}.",
        place.token,
        f"Only one of them may be set. Remove {match[1]} or {match[2]}{where}.",
    )


def _name(place: _Place) -> Finding | None:
    if place.outline.expected is not Expected.NAME:
        return None
    token, frame = place.token, place.frame
    if token.text in {"}", "]", ">"}:
        return _wrong_closer(place)
    if frame.message is not None and (token.is_word or token.text[:1].isdigit()):
        return Finding(
            f'Message type "{frame.message.full_name}" has no field named "{token.text}".',
            token,
            _field_hint(place, frame.message),
        )
    return Finding(f"Expected a field name, got {place.shown}.", token, _stray_hint(place))


def _wrong_closer(place: _Place) -> Finding:
    token, frame = place.token, place.frame
    if len(place.outline.frames) == 1:
        return Finding(
            f'Unexpected "{token.text}".',
            token,
            "Nothing is open here: remove it, unless an opening bracket is missing above.",
        )
    return Finding(
        f'Expected "{frame.closer}", got "{token.text}".',
        token,
        f"Write {frame.closer} in front of it, for {_opened(frame)}.",
    )


def _stray_hint(place: _Place) -> str:
    field, name = place.field, place.outline.name
    if field is not None and name is not None and field.is_repeated:
        return f"Several values stand in brackets. Write: {name.text}: [ …, … ]"
    return ""


def _field_hint(place: _Place, message: Descriptor) -> str:
    word = place.token.text
    if not place.token.is_word:
        return _stray_hint(place)
    for frame in reversed(place.outline.frames[:-1]):
        if frame.message is not None and word in frame.message.fields_by_name:
            inner = place.frame
            return (
                f"{word} is a field of {frame.message.name}: write {inner.closer} in front of it, "
                f"which closes {_opened(inner)}."
            )
    if meant := words.field_known_for(message, word):
        return f"Write: {_renamed(place, meant)}"
    return _far_hint(place, message, word)


def _far_hint(place: _Place, message: Descriptor, word: str) -> str:
    if way := words.way_down(message, word):
        return f"It stands further inside. Write: {_nested(place, way)}"
    if meant := words.field_near(message, word):
        return f"Write: {_renamed(place, meant)}"
    return f"{message.name} has the fields: {words.listed(message.fields_by_name)}."


def _nested(place: _Place, way: tuple[FieldDescriptor, ...]) -> str:
    rest = words.rest_of_field(place.text, place.token) or ": …"
    outer = " ".join(f"{field.name} {{" for field in way[:-1])
    return f"{outer} {place.token.text}{rest} {'} ' * (len(way) - 1)}".rstrip()


def _renamed(place: _Place, field: FieldDescriptor) -> str:
    rest = words.rest_of_field(place.text, place.token)
    if field.enum_type is not None and ":" in rest:
        value = rest.partition(":")[2].strip()
        meant = words.enum_value_meant(field.enum_type, value)
        rest = f": {meant or value}"
    return field.name + (rest or _shape_of(field))


def _shape_of(field: FieldDescriptor) -> str:
    """Return how a value of a field is written, where its own value goes on below."""
    inside = " { … }" if field.message_type is not None else ": …"
    if not field.is_repeated:
        return inside
    return " [ { … } ]" if field.message_type is not None else ": [ … ]"


def _colon(place: _Place) -> Finding | None:
    name, field = place.outline.name, place.field
    if place.outline.expected is not Expected.COLON or name is None or field is None:
        return None
    if field.message_type is not None:
        return _no_message(place, field)
    rest = words.rest_of_field(place.text, name).lstrip(" =")
    return Finding(
        f'Expected ":", got {place.shown}.',
        place.token,
        f"A colon stands behind {name.text}. Write: {name.text}: {rest or '…'}",
    )


def _no_message(place: _Place, field: FieldDescriptor) -> Finding:
    example = _shape_of(field)
    message = field.message_type
    if message is not None and message.name == "ModelParameter" and place.token.is_string:
        example = f" {{ string_value: {place.token.text} }}"
    return Finding(
        f'Expected "{{", got {place.shown}.',
        place.token,
        f"{field.name} holds fields of its own. Write: {field.name}{example}",
    )


def _value(place: _Place) -> Finding | None:
    field = place.field
    if place.outline.expected is not Expected.VALUE or field is None:
        return None
    if place.frame.is_list and place.token.text == "]":
        return Finding(
            'Expected a value, got "]".', place.token, "Remove the comma in front of the bracket."
        )
    if field.message_type is not None:
        return _no_message(place, field)
    if place.token.text == "[":
        return Finding(
            f'{field.name} takes one value, got "[".',
            place.token,
            f"Remove the brackets. Write: {field.name}: …",
        )
    return _SCALARS.get(field.type, _integer)(place, field)


def _integer(place: _Place, field: FieldDescriptor) -> Finding:
    text = place.token.text
    low, high = _RANGES.get(field.type, (0, 0))
    if _INTEGER.fullmatch(text) and not (low == 0 and text.startswith("-")):
        return Finding(
            f"Integer out of range ({text})", place.token, f"Write a number from {low} to {high}."
        )
    meant = words.integer_meant(text)
    hint = "Write a whole number, without quotes"
    if meant and int(meant) >= low:
        hint = place.write(meant)
    elif low == 0:
        hint = "Write a whole number that is not negative"
    return Finding(f"Expected integer, got: {text}", place.token, hint)


def _float(place: _Place, field: FieldDescriptor) -> Finding:
    del field
    return Finding(
        f"Expected double, got: {place.token.text}", place.token, "Write a number, such as 0.5"
    )


def _bool(place: _Place, field: FieldDescriptor) -> Finding:
    meant = words.bool_meant(place.token.text)
    return Finding(
        f'Invalid value for boolean field "{field.name}". Value: {place.shown}.',
        place.token,
        place.write(meant) if meant else f"Write: {field.name}: true or {field.name}: false",
    )


def _string(place: _Place, field: FieldDescriptor) -> Finding:
    del field
    token = place.token
    if not token.is_string:
        return Finding(f"Expected string, got: {token.text}", token, _quoted_hint(place))
    quote = token.text[0]
    if len(token.text) == 1 or not token.text.endswith(quote):
        return Finding("String missing ending quote.", token, place.write(_closed(token.text)))
    return Finding(place.said, token)


def _quoted_hint(place: _Place) -> str:
    text = place.token.text
    if text in {"{", "<"}:
        return "Write a text in quotes instead of the brackets"
    return place.write(f'"{text}"' if place.token.is_word or text[:1].isdigit() else '"…"')


def _closed(text: str) -> str:
    """Close a string that runs to the end of its line, before what may stand behind it."""
    quote, body = text[0], text[1:].rstrip()
    behind = re.search(r"[\s,;}\]]*$", body)
    end = behind.start() if behind else len(body)
    return f"{quote}{body[:end].rstrip(chr(92))}{quote}{body[end:]}"


def _enum(place: _Place, field: FieldDescriptor) -> Finding:
    enum = field.enum_type
    if enum is None:  # pragma: no cover - an enum field has one
        return Finding(place.said, place.token)
    meant = words.enum_value_meant(enum, place.token.text)
    return Finding(
        f'Unknown enumeration value of {place.shown} for field "{field.name}".',
        place.token,
        place.write(meant) if meant else f"The values are: {words.listed(enum.values_by_name)}.",
    )


def _separator(place: _Place) -> Finding | None:
    if place.outline.expected is not Expected.SEPARATOR or place.frame.owner is None:
        return None
    outer = place.outline.frames[-2].message
    fields = outer.fields_by_name if outer is not None else {}
    if place.token.text in fields or place.token.text in {"}", ">"}:
        hint = f"Write ] in front of it, which closes {_opened(place.frame)}."
    else:
        hint = "Write a comma in front of it."
    return Finding(f'Expected "," or "]", got {place.shown}.', place.token, hint)


_RULES: Final[tuple[_Rule, ...]] = (
    _bad_text,
    _end,
    _duplicate,
    _oneof,
    _name,
    _colon,
    _value,
    _separator,
)
_SCALARS: Final[dict[int, Callable[[_Place, FieldDescriptor], Finding]]] = {
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_ENUM: _enum,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_DOUBLE: _float,
}
