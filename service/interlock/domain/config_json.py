"""Read a configuration that came as JSON, with a request to load the model.

protobuf's mapping is the judge: names in either spelling, unknown fields refused. Triton
takes the values of enums in any case, and so do we.
"""

import json
from collections.abc import Sequence
from typing import Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from interlock.domain.config_text import ConfigError
from interlock.pb import model_config_pb2 as pb

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

SOURCE: Final = "the config override"
"""What errors name where they would otherwise name a file."""
_HEADLINE: Final = "Invalid config override: "
_MODEL_CONFIG: Final[Descriptor] = pb.DESCRIPTOR.message_types_by_name["ModelConfig"]
_PARSE_NOISE: Final = "Failed to parse "


def parse_json(text: str) -> pb.ModelConfig:
    """Return what the text says, all of it; raise ConfigError where it is broken."""
    message = pb.ModelConfig()
    try:
        decoded: Json = json.loads(text, object_pairs_hook=_without_repetition)
        if not isinstance(decoded, dict):
            raise invalid("a JSON object is expected")
        json_format.ParseDict(_spelled(decoded, _MODEL_CONFIG), message)
    except json.JSONDecodeError as error:
        raise invalid(f"no JSON, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except json_format.ParseError as error:
        raise invalid(_shortened(str(error))) from error
    except RecursionError:
        raise invalid("it is nested too deeply") from None
    except (UnicodeEncodeError, OverflowError) as error:  # half a surrogate pair; Infinity
        raise invalid(str(error)) from error
    return message


def invalid(reason: str, hint: str = "") -> ConfigError:
    """Return the error for a configuration override, in the words that the log is searched for."""
    return ConfigError(f"{_HEADLINE}{reason}", path=SOURCE, hint=hint)


def _shortened(text: str) -> str:
    """Return protobuf's sentence without the words that it repeats at each level."""
    while text.startswith(_PARSE_NOISE) and ": " in text:
        text = text.split(": ", 1)[1]
    return text.rstrip(".")


def _without_repetition(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise invalid(f"'{twice}' is given twice")
    return found


def _spelled(message: dict[str, Json], descriptor: Descriptor) -> dict[str, Json]:
    """Return a message with the values of its enums in the case in which they are declared."""
    if descriptor.GetOptions().map_entry:
        value = descriptor.fields_by_name["value"]
        return {key: _field(inner, value) for key, inner in message.items()}
    fields = {
        name: field for field in descriptor.fields for name in (field.name, field.camelcase_name)
    }
    return {
        name: _field(inner, fields[name]) if name in fields else inner
        for name, inner in message.items()
    }


def _field(value: Json, field: FieldDescriptor) -> Json:
    if isinstance(value, list):
        return [_field(one, field) for one in value]
    if field.enum_type is not None and isinstance(value, str):
        meant = value.upper()
        return meant if meant in field.enum_type.values_by_name else value
    if field.message_type is not None and isinstance(value, dict):
        return _spelled(value, field.message_type)
    return value
