"""Hold what serves against the policy for repository agents, whenever that has changed.

What passes goes on. What lacks a verdict is loaded again, beside itself. What fails is told of
at once and, where the policy is enforced, withdrawn after a grace. What failed by an older
policy is tried again.
"""

import threading
from collections.abc import Callable, Mapping, Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Final, Protocol

import structlog

from interlock.control.agent_hearing import Judged
from interlock.control.agent_policy import AgentPolicy, Mode, decide
from interlock.control.agent_verdicts import Graces, Reassessment, Standing, Verdict, reassess
from interlock.control.index import ModelView
from interlock.control.lifecycle import ON_THE_WAY, Phase
from interlock.control.reports import Remarked
from interlock.control.wishes import ReviewWish
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, Thread, spawn

log = structlog.get_logger()

PAUSE_S: Final = 0.2
"""How long to wait at least between two looks: a start brings much news."""
_PASSES: Final = Reassessment(Standing.PASSES)
_OPEN: Final = ON_THE_WAY | {Phase.PROVING}

Phases = Mapping[GenerationKey, Phase]
Told = Callable[[GenerationKey, Verdict], None]
"""Called with each verdict that a change of the policy has made another."""


class Book(Protocol):
    """What was found of each generation. Nothing here blocks."""

    def entries(self) -> Mapping[GenerationKey, Judged]:
        """Return all that there are now."""
        ...

    def amend(self, key: GenerationKey, before: Judged, after: Judged) -> None:
        """Let a generation have another verdict, if it has the one that this comes of still."""
        ...


@dataclass(slots=True)
class _Wanted:
    """What one look wants of a model."""

    renewed: set[GenerationKey] = field(default_factory=set)
    retried: set[Version] = field(default_factory=set)
    withdrawn: set[GenerationKey] = field(default_factory=set)


class Review:
    """Looks at every verdict when there is news. One thread calls `step`; any may call `hint`.

    `view` says what is known of a model, `hand_over` gives the manager what is to be done.
    """

    def __init__(
        self,
        *,
        policy: Callable[[], AgentPolicy],
        book: Book,
        view: Callable[[str], ModelView | None],
        hand_over: Callable[[Remarked | ReviewWish], None],
        grace_s: float,
        clock: Clock,
        told: Told | None = None,
    ) -> None:
        self._policy = policy
        self._book = book
        self._view = view
        self._hand_over = hand_over
        self._grace_s = grace_s
        self._clock = clock
        self._on_told = told
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread: Thread | None = None
        # From the manager's thread.
        self._answers: SimpleQueue[ReviewWish] = SimpleQueue()
        # The stepping thread's own: what is asked to be loaded again, what has been, and for
        # which policy; what was said last of each, and of which policy.
        self._asking: set[GenerationKey] = set()
        self._renewed: dict[GenerationKey, AgentPolicy] = {}
        self._told: dict[GenerationKey, tuple[AgentPolicy, Standing]] = {}
        self._graces = Graces(grace_s)

    def hint(self) -> None:
        """Say that a look is worth its while. Any thread; quick, never blocking."""
        self._news.set()

    def start(self, on_death: OnDeath | None = None) -> None:
        """Begin to look, in a thread of its own."""
        self._thread = spawn("agent-review", self._run, on_death=on_death)

    def close(self) -> None:
        """End looking, and wait for the thread."""
        self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> None:
        """Look at everything that has a verdict."""
        self._hear()
        policy, entries = self._policy(), self._book.entries()
        # After the answers: what was begun is there then.
        phases = self._phases({key.model for key in entries})
        wanted = {key.model: _Wanted() for key in entries}
        serving: dict[GenerationKey, Reassessment] = {}
        for key, judged in entries.items():
            of_model = wanted[key.model]
            match phases.get(key):
                case Phase.READY:
                    serving[key] = self._look_at_serving(key, judged, policy, phases, of_model)
                case Phase.STANDBY:
                    self._look_at_standby(key, judged, policy, of_model)
                case Phase.FAILED:
                    self._look_at_failed(key, judged, policy, of_model)
                case _:
                    pass
        for key in self._graces.step(serving, self._clock()):
            wanted[key.model].withdrawn.add(key)
        for model, of_model in wanted.items():
            self._ask(model, of_model, policy)
        self._forget(entries.keys())

    def _phases(self, models: AbstractSet[ModelName]) -> Phases:
        views = [view for model in models if (view := self._view(model)) is not None]
        states = [one.state for view in views for one in view.generations]
        return {state.key: state.phase for state in states}

    def _look_at_serving(
        self,
        key: GenerationKey,
        judged: Judged,
        policy: AgentPolicy,
        phases: Phases,
        wanted: _Wanted,
    ) -> Reassessment:
        is_open = key in self._asking or _has_successor(key, phases)
        found = self._look(key, judged, policy, is_open=is_open)
        if found.standing is Standing.LACKS and not is_open:
            wanted.renewed.add(key)
        return found

    def _look_at_standby(
        self, key: GenerationKey, judged: Judged, policy: AgentPolicy, wanted: _Wanted
    ) -> None:
        """Nobody misses it: it goes at once, lest a rollback should bring it back."""
        found = self._look(key, judged, policy, is_open=False)
        if found.standing is not Standing.PASSES and found.mode is Mode.ENFORCE:
            wanted.withdrawn.add(key)

    def _look(
        self, key: GenerationKey, judged: Judged, policy: AgentPolicy, *, is_open: bool
    ) -> Reassessment:
        """Return how something that is loaded stands; tell of it where that is news."""
        if judged.policy is policy and judged.verdict.passes:
            return _PASSES
        found = reassess(decide(policy, judged.candidate), judged.verdict)
        before = self._told.get(key)
        # It was loaded again, and once that has come to nothing another try changes nothing.
        has_failed = not is_open or before == (policy, Standing.FAILS)
        if self._renewed.get(key) is policy and has_failed:
            found = _failing(found)
        if before is None and judged.policy is policy:
            return found  # whoever loaded it has told
        if before is None or before[0] is not policy or before[1] is not found.standing:
            self._told[key] = (policy, found.standing)
            self._tell(key, judged, policy, found)
        return found

    def _tell(
        self, key: GenerationKey, judged: Judged, policy: AgentPolicy, found: Reassessment
    ) -> None:
        verdict = Verdict(judged.verdict.heard, found.findings, found.mode, found.where)
        self._book.amend(key, judged, replace(judged, verdict=verdict, policy=policy))
        is_contested = found.is_to_go
        text = verdict.warning or ""
        if is_contested:
            text = f"{found.reason}; it goes after --agent-policy-grace-secs={self._grace_s:g}"
        self._hand_over(Remarked(key, text, is_contested=is_contested))
        _log(key, found)
        if self._on_told is not None:
            self._on_told(key, verdict)

    def _look_at_failed(
        self, key: GenerationKey, judged: Judged, policy: AgentPolicy, wanted: _Wanted
    ) -> None:
        """Have it tried again, once for each policy, unless that is against it as well."""
        if judged.policy is policy or judged.verdict.passes:
            return
        found = reassess(decide(policy, judged.candidate), judged.verdict)
        self._book.amend(key, judged, replace(judged, policy=policy))
        if not found.is_to_go:
            wanted.retried.add(key.version)

    def _ask(self, model: ModelName, wanted: _Wanted, policy: AgentPolicy) -> None:
        if not (wanted.renewed or wanted.retried or wanted.withdrawn):
            return
        wish = ReviewWish(
            model,
            renewed=frozenset(wanted.renewed),
            retried=frozenset(wanted.retried),
            withdrawn=frozenset(wanted.withdrawn),
        )
        self._asking |= wish.renewed
        self._renewed.update(dict.fromkeys(wish.renewed, policy))
        wish.outcome.add_done_callback(lambda _: self._answered(wish))
        self._hand_over(wish)

    def _answered(self, wish: ReviewWish) -> None:
        """Hear that a wish was taken, or not. Any thread.

        The end of what it was not taken for is news.
        """
        self._answers.put(wish)
        if wish.outcome.exception() is None:
            self.hint()

    def _hear(self) -> None:
        """Take in what has been answered; what was not taken is to be asked for once more."""
        with suppress(Empty):
            while True:
                wish = self._answers.get_nowait()
                self._asking -= wish.renewed
                if wish.outcome.exception() is not None:
                    for key in wish.renewed:
                        self._renewed.pop(key, None)

    def _forget(self, known: AbstractSet[GenerationKey]) -> None:
        """Forget what is over."""
        self._asking &= known
        self._told = {key: told for key, told in self._told.items() if key in known}
        self._renewed = {key: policy for key, policy in self._renewed.items() if key in known}

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.wait(self._rest_s())
            self._news.clear()
            if not self._closing.is_set():
                self.step()
                self._closing.wait(PAUSE_S)

    def _rest_s(self) -> float | None:
        due = self._graces.due()
        return None if due is None else max(0.0, due - self._clock())


def _failing(found: Reassessment) -> Reassessment:
    """Return what becomes of a version that lacks a verdict and cannot get one."""
    is_lacking = found.standing is Standing.LACKS
    return replace(found, standing=Standing.FAILS) if is_lacking else found


def _has_successor(key: GenerationKey, phases: Phases) -> bool:
    """Whether another generation of the version is on its way."""
    return any(
        phase in _OPEN
        for other, phase in phases.items()
        if other.version_key == key.version_key and other.generation > key.generation
    )


def _log(key: GenerationKey, found: Reassessment) -> None:
    fields = {"model": key.model, "version": key.version, "generation": key.generation}
    match found.standing:
        case Standing.PASSES:
            log.debug("passes the new agent policy", **fields)
        case Standing.LACKS:
            log.info(
                "loaded again, since the new agent policy asks for more",
                reason=found.reason,
                **fields,
            )
        case Standing.FAILS:
            log.warning(
                "the agent policy is against what serves",
                mode=found.mode.value,
                reason=found.reason,
                **fields,
            )
