"""The serving table: which loaded version answers for which name, now.

Derived from the control plane's records and replaced whole, by one assignment. Looking a
version up and taking a lease on it is one step.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from interlock.domain.errors import InvalidRequestError, NotFoundError, UnavailableError
from interlock.repository.namespaces import ambiguity, qualified_names
from interlock.serving.served_model import ServedModel

LATEST: Final = -1

# What C's strtol takes: leading blanks, a sign, digits; what follows is not looked at.
_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", re.ASCII)
_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model's line in the table.

    `ready` holds what is shown, by version; `known` every version that the control plane
    has a record of, so that "not ready" and "unknown" can be told apart.
    """

    ready: Mapping[int, ServedModel] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    latest: ServedModel | None = None


def parse_version(text: str) -> int:
    """Return the version that a request names, `LATEST` for none.

    Takes what Triton takes ("1x" is 1). Raise InvalidRequestError for the rest.
    """
    if not text:
        return LATEST
    match = _NUMBER.match(text)
    if match is None or abs(int(match[1])) > _INT64_MAX:
        raise InvalidRequestError(
            f"failed to get model version from specified version string '{text}' "
            "(details: stol), version should be an integral value > 0"
        )
    version = int(match[1])
    if version < 0:
        raise InvalidRequestError(
            f"invalid model version specified '{text}' , version should be an integral value > 0"
        )
    return version


class ServingTable:
    """What can be looked up now. The manager alone calls `show`; any thread looks up.

    With `namespacing` a bare name leads to the one model that is qualified from it.
    """

    def __init__(self, *, namespacing: bool = False) -> None:
        self._namespacing = namespacing
        self._entries: Mapping[str, ModelEntry] = {}
        self._qualified: Mapping[str, Sequence[str]] = {}

    @property
    def entries(self) -> Mapping[str, ModelEntry]:
        """The table as it stands: immutable, safe to keep."""
        return self._entries

    def show(self, entries: Mapping[str, ModelEntry]) -> None:
        """Replace the table. What is no longer in it can be drained from here on."""
        self._entries = entries
        if self._namespacing:
            self._qualified = qualified_names(entries)

    def find(self, model: str, version: str) -> ServedModel:
        """Look a READY version up without a lease, for what only reads it.

        Raise InvalidRequestError for a bad version string, NotFoundError, UnavailableError.
        """
        wanted = parse_version(version)
        entry = self._entries.get(model)
        if entry is None or not entry.known:
            entry = self._told_apart(model) or entry
        if entry is None:
            raise NotFoundError(f"Request for unknown model: '{model}' is not found")
        found = entry.latest if wanted == LATEST else entry.ready.get(wanted)
        if found is not None:
            return found
        if wanted == LATEST:
            raise NotFoundError(f"Request for unknown model: '{model}' has no available versions")
        if wanted in entry.known:
            raise UnavailableError(
                f"Request for unknown model: '{model}' version {wanted} is not at ready state"
            )
        raise NotFoundError(f"Request for unknown model: '{model}' version {wanted} is not found")

    def _told_apart(self, model: str) -> ModelEntry | None:
        """Return the only model of this bare name, if it is; raise where there are several."""
        names = self._qualified.get(model, ())
        if len(names) > 1:
            raise InvalidRequestError(ambiguity(model, len(names)))
        return self._entries.get(names[0]) if names else None

    def lease(self, model: str, version: str) -> ServedModel:
        """Look a READY version up and enter it; whoever calls gives the lease back.

        Raise as `find` does.
        """
        while True:
            found = self.find(model, version)
            # Refused only between `show` of a new table and our look into the old one.
            if found.leases.take():
                return found
