"""Tell of each version that begins to serve, ceases to, or fails to: lines of the audit log.

The manager says what moves and why; which of that is told, and in which words, is decided
here. Nothing here blocks.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from interlock.control.agent_verdicts import Verdict, agents_of
from interlock.control.lifecycle import Event, Phase, Transition
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import Trouble
from interlock.domain.cause import Cause, Deed
from interlock.domain.description import PENDING
from interlock.domain.errors import ServiceError
from interlock.domain.ids import GenerationKey, ModelName, Version, VersionKey
from interlock.telemetry.audit import AuditEvent

OK: Final = "ok"
FAILED: Final = "failed"
REFUSED: Final = "refused"
POLICY: Final = "policy"
"""What a line says of the agent policy, and of what it makes of a version that serves."""
DIGEST: Final = "digest"
"""What a line says that brings the digest of a version that serves already."""

_NOT_DONE: Final = frozenset({Phase.PREPARING, Phase.LOADING, Phase.WARMING, Phase.PROVING})
_GIVEN_UP: Final = frozenset({Event.DROP, Event.DISCARD})
_LEAVING: Final[Mapping[Deed, Deed]] = {
    Deed.POLL_LOAD: Deed.POLL_UNLOAD,
    Deed.POLL_UNLOAD: Deed.POLL_UNLOAD,
    Deed.POLICY_LOAD: Deed.POLICY_UNLOAD,
}
"""What it is called that a version leaves, by why; whatever else is an unload."""
_BY_ITSELF: Final = frozenset({Deed.START, Deed.POLL_LOAD})


@dataclass(frozen=True, slots=True)
class Told:
    """One move of a generation, and why: what began the generation, what moves the model now.

    `refusal` is why its repository agents kept it from being loaded, where they did.
    """

    move: Transition
    event: Event
    begun_by: Cause
    moved_by: Cause
    fingerprint: str = ""
    refusal: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is to be told of a move: what was done, why, and what came of it."""

    what: str
    cause: Cause
    outcome: str = OK


class Chronicle(Protocol):
    """What the manager knows of the audit log."""

    def moved(self, told: Told) -> None:
        """Hear of a move, before anybody else does."""
        ...

    def troubled(self, trouble: Trouble) -> None:
        """Hear that a model cannot be looked at, or has nothing to load."""
        ...


class NoChronicle:
    """Where nobody keeps one."""

    def moved(self, told: Told) -> None:
        pass

    def troubled(self, trouble: Trouble) -> None:
        pass


def sentence_of(told: Told) -> Sentence | None:
    """Return what is to be told of a move, `None` where it changes nothing that is served."""
    before, after = told.move.before, told.move.after
    if told.event in {Event.ADJUST, Event.KEEP}:
        outcome = OK if told.event is Event.ADJUST else FAILED
        return Sentence(told.moved_by.deed.value, told.moved_by, outcome)
    if after is Phase.READY:
        # What stood by has been loaded for somebody else, and long ago.
        cause = told.moved_by if before is Phase.STANDBY else told.begun_by
        return Sentence(cause.deed.value, cause)
    if before is Phase.READY:
        return _leaving(told.moved_by)
    is_given_up = told.event in _GIVEN_UP and before in _NOT_DONE
    if after is Phase.FAILED or is_given_up:
        return Sentence(told.begun_by.deed.value, told.begun_by, FAILED)
    return None


def _leaving(cause: Cause) -> Sentence | None:
    # That the server ends is told once, and not of each model.
    if cause.deed is Deed.STOP:
        return None
    return Sentence(_LEAVING.get(cause.deed, Deed.UNLOAD).value, cause)


def _judged(told: Told, verdict: Verdict, outcome: str) -> tuple[str, str]:
    """Return outcome and reason of what has something against it."""
    if outcome == OK:
        return verdict.outcome, verdict.reason or told.move.reason
    is_refused = told.refusal is not None and not isinstance(told.refusal, FilesMovedError)
    return REFUSED if is_refused else outcome, told.move.reason


def _is_leaving(told: Told) -> bool:
    return told.move.before is Phase.READY and told.move.after is not Phase.READY


@dataclass(slots=True)
class _Serving:
    """The fingerprint of what serves, and the digest that was told of it."""

    fingerprint: str
    digest: str


class AuditChronicle:
    """Records what is told. Any thread may call.

    `digest_of` is told a fingerprint as well; `verdict_of` returns what was made of what the
    agents of a generation said. Both are quick.
    """

    def __init__(
        self,
        record: Callable[[AuditEvent], None],
        *,
        digest_of: Callable[[GenerationKey, str], str],
        verdict_of: Callable[[GenerationKey], Verdict | None],
    ) -> None:
        self._record = record
        self._digest_of = digest_of
        self._verdict_of = verdict_of
        # Guards what serves. A leaf.
        self._lock = threading.Lock()
        self._serving: dict[VersionKey, dict[GenerationKey, _Serving]] = {}

    def moved(self, told: Told) -> None:
        sentence = sentence_of(told)
        key = told.move.key
        if sentence is not None:
            outcome, reason = sentence.outcome, told.move.reason
            verdict = None if _is_leaving(told) else self._verdict_of(key)
            if verdict is not None and not verdict.passes:
                outcome, reason = _judged(told, verdict, outcome)
            self._record(
                AuditEvent(
                    what=sentence.what,
                    outcome=outcome,
                    who=sentence.cause.who,
                    model=key.model,
                    version=key.version,
                    generation=key.generation,
                    digest=self._digest(told),
                    agents=agents_of(verdict),
                    reason=reason,
                )
            )
        if told.move.after is not Phase.READY:
            self._forget(key)

    def troubled(self, trouble: Trouble) -> None:
        # Who asked for it is told himself, and that is audited where he is answered.
        if trouble.cause.deed in _BY_ITSELF:
            self._record(
                AuditEvent(
                    what=trouble.cause.deed.value,
                    outcome=FAILED,
                    model=trouble.model,
                    reason=trouble.error.reason,
                )
            )

    def digested(self, key: GenerationKey, digest: str) -> None:
        """Hear the digest of a generation, "" where there is none."""
        with self._lock:
            known = self._serving.get(key.version_key, {}).get(key)
            if known is None or not digest or known.digest == digest:
                return
            known.digest = digest
        self._record(
            AuditEvent(
                what=DIGEST,
                outcome=OK,
                model=key.model,
                version=key.version,
                generation=key.generation,
                digest=digest,
            )
        )

    def judged(self, key: GenerationKey, verdict: Verdict) -> None:
        """Hear what a change of the policy makes of something that is loaded."""
        self._record(
            AuditEvent(
                what=POLICY,
                outcome=OK if verdict.passes else verdict.outcome,
                model=key.model,
                version=key.version,
                generation=key.generation,
                agents=agents_of(verdict),
                reason=verdict.reason or "",
            )
        )

    def policy(self, digest: str, *, trouble: str = "") -> None:
        """Hear which policy is in force, by the digest of its file, or why another is not."""
        outcome = REFUSED if trouble else OK
        self._record(AuditEvent(POLICY, outcome, digest=digest, reason=trouble))

    def content_digested(
        self, model: ModelName, version: Version, fingerprint: str, digest: str
    ) -> None:
        """Hear the digest of a content, whatever generations are made of it."""
        with self._lock:
            serving = self._serving.get(VersionKey(model, version), {})
            keys = [key for key, known in serving.items() if known.fingerprint == fingerprint]
        for key in keys:
            self.digested(key, digest)

    def _digest(self, told: Told) -> str:
        """Return the digest to tell, and remember that of what serves."""
        key = told.move.key
        if told.move.after is not Phase.READY:
            digest = self._digest_of(key, told.fingerprint)
            return "" if digest == PENDING else digest  # nobody brings it any more
        now = _Serving(told.fingerprint, PENDING)
        with self._lock:
            of_version = self._serving.setdefault(key.version_key, {})
            before, of_version[key] = of_version.get(key), now
        # After that: one that is made in between is heard of.
        digest = self._digest_of(key, told.fingerprint)
        if before is not None and told.event is Event.ADJUST and before.digest == digest:
            # Its configuration is another, and that has not been read yet.
            return PENDING
        with self._lock:
            if digest != PENDING:
                now.digest = digest
        return digest

    def _forget(self, key: GenerationKey) -> None:
        with self._lock:
            of_version = self._serving.get(key.version_key, {})
            of_version.pop(key, None)
            if not of_version:
                self._serving.pop(key.version_key, None)
