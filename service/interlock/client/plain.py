"""Turn messages into plain values, for JSON that people read.

Unlike protobuf's own JSON it shows every field under the name of the .proto file, and
64-bit numbers as numbers.
"""

import base64

from google.protobuf.message import Message

Plain = dict[str, object]


def _one(value: object) -> object:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def plain(message: Message) -> Plain:
    """Return the fields of a message; a message within it that is not set is left out."""
    result: Plain = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            result[field.name] = {str(key): _one(value[key]) for key in value}
        elif field.is_repeated:
            result[field.name] = [_one(element) for element in value]
        elif not field.has_presence or message.HasField(field.name):
            result[field.name] = _one(value)
    return result
