"""Translate domain errors to gRPC status: the one table."""

from collections.abc import Mapping
from typing import Final

import grpc

from interlock.domain.errors import (
    AlreadyExistsError,
    ExhaustedError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    RequestCancelledError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)

_CODES: Final[Mapping[type[ServiceError], grpc.StatusCode]] = {
    ServiceError: grpc.StatusCode.UNKNOWN,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    ExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InternalError: grpc.StatusCode.INTERNAL,
    RequestCancelledError: grpc.StatusCode.CANCELLED,
}

# A client refuses a call whose trailers are too large (8 KiB by default), and loses the text.
_MAX_WIRE_BYTES: Final = 6000
_CUT: Final = " [...]"
_ESCAPED: Final = 3
"""Bytes on the wire for each byte that is not printable ASCII: gRPC writes it as %XX."""


def code_of(error: ServiceError) -> grpc.StatusCode:
    """Return the status of an error: that of its class, or of the nearest one above it."""
    for kind in type(error).__mro__:
        code = _CODES.get(kind)
        if code is not None:
            return code
    raise TypeError(f"{type(error).__name__} is not a ServiceError")


def text_of(error: ServiceError) -> str:
    """Return the message as it can travel: encodable, and short enough for a trailer."""
    text = str(error)
    if not text.isascii():
        # A file name that is not UTF-8 comes as lone surrogates.
        text = text.encode(errors="replace").decode()
    if len(text) * _ESCAPED <= _MAX_WIRE_BYTES and text.isascii():
        return text
    return _cut(text)


def _cut(text: str) -> str:
    size = 0
    for index, character in enumerate(text):
        plain = " " <= character <= "~" and character != "%"
        size += 1 if plain else _ESCAPED * len(character.encode())
        if size > _MAX_WIRE_BYTES:
            return text[:index] + _CUT
    return text
