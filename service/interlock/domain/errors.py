"""Every error that the service raises on purpose.

A class here says what went wrong in the words of the domain. It does not know gRPC:
`interlock.frontend.status` holds the one table from these to status codes. Anything else
that escapes is a bug, and clients see it as INTERNAL.
"""

import re
from typing import ClassVar, Final

_MAX_REASON: Final = 4000
"""Characters. Every reason is in the index, which is to be read with whatever else is in it."""
_CUT: Final = " [...]"
_UNFIT: Final = re.compile(r"[^\n\t -~\u00a0-\ud7ff\ue000-\U0010ffff]")


class ServiceError(Exception):
    """Base of the errors whose message may be shown to a client.

    `word` is what Triton calls this kind of error; it stands in front of the message in
    the reason of a RepositoryIndex entry ("Internal: …").
    """

    word: ClassVar[str] = "Unknown"

    @property
    def reason(self) -> str:
        """The text for RepositoryIndex: the kind of error, a colon, the message.

        Fit to be sent and shown, whatever is in the message: names of files may be no text,
        and what foreign code says may be of any length.
        """
        text = f"{self.word}: {self}"
        if len(text) > _MAX_REASON:
            text = text[:_MAX_REASON] + _CUT
        return _UNFIT.sub("?", text)


class InvalidRequestError(ServiceError):
    """The request contradicts the protocol or the model's configuration."""

    word = "Invalid argument"


class NotFoundError(ServiceError):
    """What was asked for does not exist."""

    word = "Not found"


class AlreadyExistsError(ServiceError):
    """What was to be made exists already."""

    word = "Already exists"


class UnavailableError(ServiceError):
    """It exists, or will, but cannot be used now: loading, draining, full, stopping."""

    word = "Unavailable"


class NotAllowedError(UnavailableError):
    """The server's settings do not let whoever asks do this."""


class UnsupportedError(ServiceError):
    """The server does not do this, whatever the arguments."""

    word = "Unsupported"


class ExhaustedError(ServiceError):
    """A bound is reached; the same request may be taken later."""

    word = "Resource exhausted"


class InternalError(ServiceError):
    """The server, a backend or a model failed at something that should have worked."""

    word = "Internal"


class RequestCancelledError(ServiceError):
    """The client gave the request up, or its deadline passed."""

    word = "Cancelled"
