"""Guess which word of a configuration was meant: fields, values of enums, literals."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from interlock.domain.config_tokens import Token, tokens

_FIELDS: Final = {
    "ModelConfig": {
        "inputs": "input",
        "outputs": "output",
        "model_name": "name",
        "batch_size": "max_batch_size",
        "max_batch": "max_batch_size",
        "version": "version_policy",
        "instances": "instance_group",
        "dynamic_batcher": "dynamic_batching",
        "ensemble": "ensemble_scheduling",
        "filename": "default_model_filename",
        "warmup": "model_warmup",
    },
    "ModelInput": {
        "dim": "dims",
        "shape": "dims",
        "type": "data_type",
        "datatype": "data_type",
        "dtype": "data_type",
    },
    "ModelOutput": {
        "dim": "dims",
        "shape": "dims",
        "type": "data_type",
        "datatype": "data_type",
        "dtype": "data_type",
        "labels": "label_filename",
        "label_file": "label_filename",
    },
    "ModelTensorReshape": {"dims": "shape", "dim": "shape"},
    "ModelInstanceGroup": {"type": "kind", "device": "gpus", "instances": "count"},
    "ModelDynamicBatching": {
        "max_queue_delay": "max_queue_delay_microseconds",
        "max_queue_delay_ms": "max_queue_delay_microseconds",
    },
    "ModelParameter": {"value": "string_value", "string": "string_value"},
}
_TYPES: Final = {
    "FLOAT": "FP32",
    "FLOAT32": "FP32",
    "SINGLE": "FP32",
    "DOUBLE": "FP64",
    "FLOAT64": "FP64",
    "HALF": "FP16",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "INT": "INT32",
    "LONG": "INT64",
    "SHORT": "INT16",
    "BYTE": "UINT8",
    "BOOLEAN": "BOOL",
    "BYTES": "STRING",
    "STR": "STRING",
    "TEXT": "STRING",
}
_TRUE: Final = frozenset({"true", "yes", "on", "enable", "enabled", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "disable", "disabled", "0", "none"})
_DEPTH: Final = 3
_COMMON: Final = frozenset({"input", "output", "instance_group", "dynamic_batching"})


def field_known_for(message: Descriptor, word: str) -> FieldDescriptor | None:
    """Return the field that a word often stands for by mistake."""
    return message.fields_by_name.get(_FIELDS.get(message.name, {}).get(word.lower(), ""))


def field_near(message: Descriptor, word: str) -> FieldDescriptor | None:
    """Return the field of a message whose name is spelled most like a word."""
    plain = _plain(word)
    names = {_plain(name): name for name in message.fields_by_name}
    near = difflib.get_close_matches(plain, names, n=1, cutoff=0.7)
    return message.fields_by_name[names[near[0]]] if near else None


def _plain(word: str) -> str:
    """Return a word without the differences of taste: `maxBatchSize`, `MAX-BATCH-SIZE`."""
    return re.sub(r"[^a-z0-9]", "", word.lower())


def way_down(message: Descriptor, word: str) -> tuple[FieldDescriptor, ...]:
    """Return the fields that lead from a message to one inside that has the word; may be ()."""
    level: list[tuple[FieldDescriptor, ...]] = [()]
    for _ in range(_DEPTH):
        level = [(*way, field) for way in level for field in _messages(way, message)]
        for way in level:
            inner = way[-1].message_type
            if inner is not None and word in inner.fields_by_name:
                return (*way, inner.fields_by_name[word])
    return ()


def _messages(way: Sequence[FieldDescriptor], root: Descriptor) -> Iterator[FieldDescriptor]:
    message = way[-1].message_type if way else root
    if message is not None:
        fields = [field for field in message.fields if field.message_type is not None]
        yield from sorted(fields, key=lambda field: field.name not in _COMMON)


def enum_value_meant(enum: EnumDescriptor, word: str) -> str:
    """Return the value of an enum that was probably meant, "" if it cannot be told."""
    names = list(enum.values_by_name)
    prefix = _prefix(names)
    plain = word.strip("\"'").upper().replace("-", "_").removeprefix(prefix)
    if enum.name == "DataType":
        plain = _TYPES.get(plain, plain)
    short = {name.removeprefix(prefix): name for name in names}
    near = difflib.get_close_matches(plain, short, n=1, cutoff=0.7)
    return short[near[0]] if near else ""


def _prefix(names: Sequence[str]) -> str:
    """Return what all names begin with, up to an underscore: "KIND_"."""
    first, last = min(names), max(names)
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    return first[: first[:common].rfind("_") + 1]


def bool_meant(word: str) -> str:
    plain = word.strip("\"'").lower()
    if plain in _TRUE:
        return "true"
    return "false" if plain in _FALSE else ""


def integer_meant(word: str) -> str:
    """Return the whole number that a word stands for, "" if it stands for none."""
    plain = word.strip("\"'").replace("_", "")
    match = re.fullmatch(r"([+-]?\d+)(?:\.0*)?", plain, re.ASCII)
    return str(int(match[1])) if match and len(match[1]) < 20 else ""  # noqa: PLR2004 - an int64's digits


def rest_of_field(text: str, start: Token) -> str:
    """Return what follows a field's name on its line: colon and value, "" if it goes on below."""
    line = text.split("\n")[start.line - 1][start.column - 1 + len(start.text) :]
    depth = 0
    for token in tokens(line):
        depth += token.text in {"{", "[", "<"}
        depth -= token.text in {"}", "]", ">"}
        if depth < 0:
            return ""
        if depth == 0 and token.text not in {":", "=", ""}:
            return line[: token.column - 1 + len(token.text)].rstrip()
    return ""


def listed(words: Iterable[str]) -> str:
    return ", ".join(words)
