"""Pick the headers of a call that go to the backend as parameters."""

from collections.abc import Iterable, Mapping
from typing import Final

import re2

from interlock.domain.errors import InvalidRequestError

Metadata = Iterable[tuple[str, str | bytes]]

_NONE: Final[Mapping[str, str]] = {}


class HeaderForwarder:
    """What `--grpc-header-forward-pattern` asks for. Any thread may call.

    The pattern is RE2's, may match a part of the key, and looks at no case unless it says
    so with (?-i). Raise InvalidRequestError where it is none.
    """

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.log_errors = False
        try:
            self._search = re2.compile(f"(?i){pattern}", options).search
        except re2.error as error:
            raise InvalidRequestError(
                f"header forward pattern '{pattern}' is not a regular expression: {error}"
            ) from None

    def pick(self, metadata: Metadata) -> Mapping[str, str]:
        """Return the matching headers, keys in lower case; the last of several with one key."""
        search = self._search
        picked = {
            key.lower(): value if isinstance(value, str) else value.decode(errors="replace")
            for key, value in metadata
            if search(key)
        }
        return picked or _NONE
