"""Decide what a rollback goes back to.

What served before the last change of the model, or, where a version is named, that version
as it served last. Only what this process has served counts.
"""

from collections.abc import Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from interlock.domain.errors import InvalidRequestError
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.serving.load_job import LoadJob

_KEPT_CONTENTS = 2
"""How many contents of a version are remembered: the one that serves, and the one before."""
_KEPT_VERSIONS = 16
"""Of how many versions; those that began to serve last."""


@dataclass(frozen=True, slots=True)
class Content:
    """One content of a version that has served, with all that loading it again takes."""

    job: LoadJob
    fingerprint: str
    origin: str = ""
    body: str = ""

    @property
    def key(self) -> GenerationKey:
        return self.job.key

    @property
    def version(self) -> Version:
        return self.job.key.version

    @property
    def directory(self) -> Path:
        return self.job.model_directory


@dataclass(frozen=True, slots=True)
class Past:
    """What of one model has served.

    `now` is what serves, `formers` what did at the last changes, each once, the newest last:
    what serves now may be one of them, and there is one other. `contents` are the last ones of
    each version, oldest first.
    """

    now: tuple[Content, ...] = ()
    formers: tuple[tuple[Content, ...], ...] = ()
    contents: Mapping[Version, tuple[Content, ...]] = field(default_factory=dict)

    def shown(self, content: Content) -> "Past":
        """Return the past after one more content began to serve."""
        known = self.contents.get(content.version, ())
        # A content that comes back is the newest, not two.
        others = tuple(one for one in known if one.fingerprint != content.fingerprint)
        kept = (*others, content)[-_KEPT_CONTENTS:]
        rest = [(number, of) for number, of in self.contents.items() if number != content.version]
        contents = dict([*rest, (content.version, kept)][-_KEPT_VERSIONS:])
        return Past((*self.now, content), self.formers, contents)

    def became(self, content: Content) -> "Past":
        """Return the past after what serves was changed in place: no change to go back from."""

        def changed(known: tuple[Content, ...]) -> tuple[Content, ...]:
            return tuple(content if one.key == content.key else one for one in known)

        contents = {number: changed(of) for number, of in self.contents.items()}
        return Past(changed(self.now), self.formers, contents)

    def gone(self, key: GenerationKey) -> "Past":
        """Return the past after one content ceased to serve."""
        now = tuple(one for one in self.now if one.key != key)
        return Past(now, self.formers, self.contents)

    def at_a_change(self) -> "Past":
        """Return the past when a change begins: what serves now is what one goes back to."""
        if not self.now:
            return self
        # What was unloaded and loaded again is one, not two.
        others = [one for one in self.formers if _identity(one) != _identity(self.now)]
        return Past(self.now, (*others[-1:], self.now), self.contents)

    @property
    def former(self) -> tuple[Content, ...]:
        """What served last that is not what serves now."""
        now = _identity(self.now)
        return next((one for one in reversed(self.formers) if _identity(one) != now), ())


def target_of(model: ModelName, past: Past, version: Version | None) -> tuple[Content, ...]:
    """Return what shall serve after a rollback. Raise InvalidRequestError where there is nothing.

    A version that serves goes back to its own former content and the others stay; one that
    does not serve takes the place of all.
    """
    if version is None:
        if not past.former:
            raise InvalidRequestError(
                f"failed to roll back model '{model}': nothing served before what serves now"
            )
        return _by_version(past.former)
    serving = {content.key for content in past.now}
    known = [one for one in past.contents.get(version, ()) if one.key not in serving]
    if not known:
        raise InvalidRequestError(
            f"failed to roll back model '{model}': no other content of version {version} has "
            "served; except in mode poll, a load with the parameter 'versions' loads version "
            f"{version} as it is in the repository"
        )
    if all(content.version != version for content in past.now):
        return (known[-1],)
    rest = (content for content in past.now if content.version != version)
    return _by_version((*rest, known[-1]))


def _identity(contents: Iterable[Content]) -> AbstractSet[tuple[Version, str]]:
    return {(content.version, content.fingerprint) for content in contents}


def _by_version(contents: Iterable[Content]) -> tuple[Content, ...]:
    return tuple(sorted(contents, key=lambda content: content.version))
