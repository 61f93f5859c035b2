"""Poll mode: scan the repositories, and ask for what has changed and is complete.

One thread, which alone reads the repositories: a slow disk holds up nothing else. What is
to be asked for `changes` decides, what is complete `repository.staging`. Contents are read
in another thread, of low priority.
"""

import contextlib
import math
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from interlock.control import answers
from interlock.control.answers import LoadMovedError
from interlock.control.asking import wish_of
from interlock.control.changes import Changes, Look, Order
from interlock.control.contents import Contents, OnDigest, Task
from interlock.control.first_loads import FirstLoads
from interlock.control.index import StagingBoard
from interlock.control.polling import Repository
from interlock.control.requests import Request, Requests, tell, why_nothing
from interlock.control.wishes import LoadWish, Polled, Trouble, UnloadWish
from interlock.domain.cause import A_LOAD, A_POLL, Cause, Deed
from interlock.domain.description import PENDING
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.digest import CancelledError
from interlock.repository.scan import FoundModel, Scan, Scanning
from interlock.repository.stager import StagedVersion, Stager, Verification, verify
from interlock.repository.staging import (
    Complete,
    Incomplete,
    Leaving,
    Settling,
    Staging,
    Unverified,
)
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, spawn

log = structlog.get_logger()

_FIRST_LOOK: Final = "the first look at the repositories"
_SHARE: Final = 5
"""A scan that took so long is not followed by another before so many times that time."""
_NICENESS: Final = 10

ModelWish = LoadWish | UnloadWish | Trouble


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to scan, and how long the first versions may take to lie still."""

    interval_s: float
    patience_s: float


class Poller:
    """Keeps the wishes for all models in line with what is in the repositories.

    `tick` belongs to one thread: the one that `start` makes, or a test. `background` does a
    task in another thread, one after the other; what somebody waits for goes to `urgent`.
    """

    def __init__(
        self,
        *,
        scanner: Scanning,
        stager: Stager,
        repository: Repository,
        hand_over: Callable[[ModelWish], None],
        first_loads: FirstLoads,
        board: StagingBoard,
        pace: Pace,
        clock: Clock,
        background: Callable[[Task], None],
        urgent: Callable[[Task], None],
        after_scan: Callable[[], None] | None = None,
        on_digest: OnDigest | None = None,
    ) -> None:
        self._scanner = scanner
        self._stager = stager
        self._repository = repository
        self._hand_over = hand_over
        self._first_loads = first_loads
        self._board = board
        self._pace = pace
        self._clock = clock
        self._urgent = urgent
        self._after_scan = after_scan
        # Guards the two below, and is what the poller's thread sleeps on.
        self._news = threading.Condition()
        self._is_hinted = False
        self._is_closing = False
        # From other threads.
        self._verified: SimpleQueue[Verification] = SimpleQueue()
        self._overtaken: SimpleQueue[str] = SimpleQueue()
        self._requests = Requests()
        self._settled: SimpleQueue[str] = SimpleQueue()
        # The stepping thread's own.
        self._changes = Changes()
        self._contents = Contents(
            background,
            urgent=urgent,
            done=self.hint,
            is_cancelled=self.is_closing,
            on_digest=on_digest,
        )
        self._verifying: set[tuple[StagedVersion, str, object]] = set()
        self._problems: Mapping[str, str] = {}
        # Written by that thread, by assignment; read by any.
        self._staged: Mapping[StagedVersion, Staging] = {}
        # Counted from the end of the first scan, which may have had to wait for a mirror.
        self._first_until: float | None = math.inf
        first_loads.begin(_FIRST_LOOK)

    def start(self, on_death: OnDeath | None = None) -> None:
        """Start the poller's thread."""
        spawn("poller", self.run, on_death=on_death)

    def ask(
        self, model: ModelName, *, force: bool = False, cause: Cause = A_LOAD
    ) -> "Future[None]":
        """Scan now, and ask for what there is of the model, what failed before included.

        Waits for versions to settle; with `force` what serves already is loaded anew. Told
        as the load ends; any thread.
        """
        request = Request(model, force=force, cause=cause)
        with self._news:
            if self._is_closing:
                request.outcome.set_exception(answers.stopping())
                return request.outcome
            self._requests.add(request)
        self.hint()
        return request.outcome

    def withdraw(self, model: ModelName) -> None:
        """Send away whoever asked for the model and still waits for its files; any thread."""
        self._requests.withdraw(model)

    def foresee(self, polled: Polled) -> Polled:
        """Return what a load by name would take of what a poll of the model finds. Any thread.

        Files that were only touched are no new content; what is incomplete would not be loaded.
        Raise ServiceError where that leaves nothing.
        """
        model, staged = polled.model, self._staged
        found = dict(self._changes.found(model))
        for version, seen in polled.found.items():
            known = found.get(version)
            is_whole = not isinstance(staged.get(StagedVersion(model, version)), Incomplete)
            if is_whole and (known is None or known.observed != seen.observed):
                found[version] = seen
        found = {
            version: one
            for version, one in found.items()
            if not isinstance(staged.get(StagedVersion(model, version)), Leaving)
        }
        if not found:
            raise why_nothing(model, staged)
        return self._repository.poll_staged(model, found)

    def is_closing(self) -> bool:
        """Whether nothing more is asked for. Any thread."""
        return self._is_closing

    def hint(self) -> None:
        """Say that a scan is worth its while now; any thread."""
        with self._news:
            self._is_hinted = True
            self._news.notify()

    def close(self) -> None:
        """Ask for nothing more. Does not wait: a disk that hangs is not to hold us up."""
        with self._news:
            self._is_closing = True
            self._news.notify()

    def run(self) -> None:
        """Tick whenever it is time, until `close`."""
        while not self._is_closing:
            began = self._clock()
            try:
                due = self.tick()
            except Exception:  # what one tick meets must not be the end of all of them
                log.exception("poll failed unexpectedly")
                due = began + self._pace.interval_s
            if self._after_scan is not None:
                self._after_scan()
            self._rest((self._clock() - began) * _SHARE)
            self._wait(due)
        self._requests.send_away(answers.stopping())

    def tick(self) -> float:
        """Scan once and ask for what has changed; return when to come again at the latest."""
        scan = self._scanner.scan()
        self._tell_problems(scan)
        self._take_in()
        staging = self._staged = self._stager.look(scan)
        self._contents.see(scan, self._changes.fingerprints)
        now = self._clock()
        if self._first_until == math.inf:
            self._first_until = now + self._pace.patience_s
        named = self._requests.at_rest(staging)
        orders = self._changes.decide(
            staging,
            duplicates=scan.duplicates,
            named=named.keys(),
            versionless=self._stager.versionless,
            is_same=self._contents.is_same,
            body_of=self._contents.body_of,
            now=now,
        )
        self._board.show(_texts(staging), now)
        for order in orders:
            if self._is_closing:
                break
            self._carry_out(order, named.get(order.model, ()))
        if not self._is_closing:
            self._requests.refuse_rest(named, staging)
        self._verify(scan, staging)
        self._end_first_look(staging, now)
        return self._due(now)

    def _carry_out(self, order: Order, requests: Collection[Request]) -> None:
        model = order.model
        if not isinstance(order, Look):
            log.info("model has gone from the repository", model=model)
            self._hand_over(UnloadWish(model, cause=Cause(Deed.POLL_UNLOAD)))
            return
        found = order.found
        wish = wish_of(
            model,
            lambda: self._repository.poll_staged(model, found),
            alone=True,
            again=bool(requests),
            force=any(request.force for request in requests),
            follows=True,
            cause=next((request.cause for request in requests), A_POLL),
        )
        if isinstance(wish, Trouble):
            if isinstance(wish.error, UnavailableError):
                self._overtaken.put(model)
            if not found:
                # To make a directory is not to say that the server cannot do its work.
                wish = replace(wish, unready=False)
        if self._first_until is not None:
            self._first_loads.begin(model)
            wish.outcome.add_done_callback(lambda outcome: self._first_ended(model, outcome))
        wish.outcome.add_done_callback(lambda outcome: self._ended(model, outcome))
        with self._requests.begin(model, requests) as begun:
            if isinstance(wish, LoadWish) and not begun:
                wish = replace(wish, again=False, force=False, cause=A_POLL)
            tell(begun, wish.outcome)
            self._hand_over(wish)

    def _first_ended(self, model: ModelName, outcome: "Future[None]") -> None:
        error = outcome.exception()
        self._first_loads.end(model, error if isinstance(error, ServiceError) else None)

    def digest_of(self, model: ModelName, version: Version, fingerprint: str) -> str:
        """Return the digest of a version that is there, `PENDING` until it is made. Any thread.

        "" where there is none, and for a content that has been replaced in the repository.
        """
        known = self._changes.found(model).get(version)
        if known is None or known.fingerprint != fingerprint:
            return ""
        digest = self._contents.digest(StagedVersion(model, version), known.observed)
        return PENDING if digest is None else digest

    def _ended(self, model: ModelName, outcome: "Future[None]") -> None:
        self._settled.put(model)
        with self._news:
            self._news.notify()
        if isinstance(outcome.exception(), LoadMovedError):
            self._overtaken.put(model)
            self.hint()

    def _take_in(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                verification = self._verified.get_nowait()
                self._verifying.discard(
                    (verification.key, verification.fingerprint, verification.manifest)
                )
                self._stager.record(verification)
        with contextlib.suppress(Empty):
            while True:
                self._changes.ask_again(self._overtaken.get_nowait(), self._clock())
        self._take_in_settled()

    def _take_in_settled(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._ask_for_digests(self._settled.get_nowait())

    def _verify(self, scan: Scan, staging: Mapping[StagedVersion, Staging]) -> None:
        """Have the contents compared with the manifest where that is all that is lacking."""
        for key, one in staging.items():
            model = scan.models.get(key.model)
            if not isinstance(one, Unverified) or model is None:
                continue
            task = (key, one.fingerprint, model.manifest)
            if task not in self._verifying:
                self._verifying.add(task)
                self._urgent(_Verifying(model, key.version, self))

    def verified(self, verification: Verification) -> None:
        """Take in how a comparison ended; any thread."""
        self._verified.put(verification)
        self.hint()

    def _ask_for_digests(self, model: str) -> None:
        """Of what has been loaded, so that a later change has something to differ from."""
        for version, candidate in self._changes.found(model).items():
            self._contents.ask(StagedVersion(model, version), candidate.observed)

    def _end_first_look(self, staging: Mapping[StagedVersion, Staging], now: float) -> None:
        if self._first_until is None:
            return
        is_open = any(isinstance(one, (Settling, Unverified)) for one in staging.values())
        if not is_open or now >= self._first_until:
            self._first_until = None
            self._first_loads.end(_FIRST_LOOK, None)

    def _due(self, now: float) -> float:
        times = [now + self._pace.interval_s, self._stager.next_look(), self._changes.next_look()]
        if self._first_until is not None:
            times.append(self._first_until)
        return min(time for time in times if time is not None)

    def _tell_problems(self, scan: Scan) -> None:
        """Log which models cannot be looked at when it begins, and when it ends.

        The repositories themselves are the listing's to tell of.
        """
        if self._first_until is not None:
            for place in filter(_is_root, scan.problems):
                self._first_loads.end(place, UnavailableError(scan.problems[place]))
        problems = {name: text for name, text in scan.problems.items() if not _is_root(name)}
        for model, problem in sorted(problems.items()):
            if model not in self._problems:
                log.warning(
                    "cannot be looked at, nothing of it changes", model=model, reason=problem
                )
        for model in sorted(self._problems.keys() - problems.keys()):
            log.warning("can be looked at again", model=model)
        self._problems = problems

    def _rest(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._is_closing, min(seconds, self._pace.interval_s))

    def _wait(self, due: float) -> None:
        """Wait until it is time to scan. What is loaded meanwhile is not left unread till then.

        Until its digest has been made, a file that is touched counts as changed.
        """
        while True:
            with self._news:
                self._news.wait_for(self._has_news, max(0.0, due - self._clock()))
                if self._is_hinted or self._is_closing or self._settled.empty():
                    self._is_hinted = False
                    return
            self._take_in_settled()

    def _has_news(self) -> bool:
        return self._is_hinted or self._is_closing or not self._settled.empty()


def _is_root(place: str) -> bool:
    return "/" in place


@dataclass(frozen=True, slots=True)
class _Verifying:
    """The task to compare one version with its manifest."""

    model: FoundModel
    version: int
    poller: Poller

    def __call__(self) -> None:
        with contextlib.suppress(CancelledError):
            self.poller.verified(
                verify(self.model, self.version, is_cancelled=self.poller.is_closing)
            )


def at_low_priority(task: Task) -> Task:
    """Return the task, to be done when nobody else wants the processor; it never raises."""

    def nice() -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            task()
        except Exception:
            log.exception("reading contents failed unexpectedly")

    return nice


def _texts(
    staging: Mapping[StagedVersion, Staging],
) -> dict[ModelName, dict[Version, str]]:
    texts: dict[ModelName, dict[Version, str]] = {}
    for key, one in staging.items():
        if not isinstance(one, (Complete, Leaving)):
            of_model = texts.setdefault(ModelName(key.model), {})
            of_model[Version(key.version)] = f"staging: {one.progress}"
    return texts
