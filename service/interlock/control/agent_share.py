"""The agents of one load, shared by the versions that it loads: asked once, told once.

Whoever loads a version waits for `prepare`. What becomes of the versions is reported as it
happens and never waited for: it is told to the agents in other threads, in its order.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from copy import copy

import structlog

from interlock.control.agent_chain import AgentChain
from interlock.control.agent_story import is_over
from interlock.control.agent_tenancy import Tenancy
from interlock.control.agent_verdicts import Heard
from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.ids import Version
from interlock_agents.api import Action, Location

log = structlog.get_logger()

Submit = Callable[[Callable[[], None]], None]


class SharedChain:
    """A chain, and the versions that live on what it has prepared. Any thread may call.

    `submit` does a task in another thread, soon; one task of a chain at a time.
    """

    def __init__(self, chain: AgentChain, versions: Iterable[Version], submit: Submit) -> None:
        self._chain = chain
        self._submit = submit
        self._prepared: Future[Location] = Future()
        # Guards all below.
        self._lock = threading.Lock()
        self._tenancy = Tenancy(versions)
        self._left = set(self._tenancy.versions)
        self._has_begun = False
        self._due: deque[Action] = deque()
        self._is_telling = False

    @property
    def is_over(self) -> bool:
        """Whether the agents have heard the end, and hold nothing any more."""
        with self._lock:
            told = not self._is_telling and not self._due
            return told and self._tenancy.is_over

    @property
    def location(self) -> Location:
        """Where to load from, once `prepare` has returned."""
        return self._chain.location

    @property
    def heard(self) -> tuple[Heard, ...]:
        """What the agents have said, once `prepare` has returned or raised."""
        return self._chain.heard

    @property
    def at_work(self) -> tuple[tuple[str, Action], ...]:
        """The agents that are inside an action now, and that action."""
        return self._chain.at_work

    def prepare(self) -> Location:
        """Return where to load from; the first that asks has the agents work, the others wait.

        Raise ServiceError with the reason of the agents for all of them.
        """
        with self._lock:
            is_first, self._has_begun = not self._has_begun, True
        if is_first:
            self._load()
        try:
            return self._prepared.result()
        except ServiceError as error:
            # One for each: who raises an error writes into it.
            raise copy(error) from None

    def settled(self, version: Version, *, serves: bool) -> None:
        """The version serves from now on; or it has failed, been dropped or thrown away."""
        with self._lock:
            self._left.discard(version)
            self._due += self._tenancy.settled(version, serves=serves)
            is_unwanted = not self._left and not self._prepared.done()
            has_begun, self._has_begun = self._has_begun, self._has_begun or is_unwanted
            if not has_begun and is_unwanted:
                # Nobody was asked, and nobody will be: there is no story to be ended.
                self._due.clear()
        if is_unwanted and has_begun:
            self._chain.cancel()
        elif is_unwanted:
            self._prepared.set_exception(UnavailableError("the load was dropped"))
        self._tell()

    def leaving(self, version: Version) -> None:
        """The version is about to be unloaded."""
        with self._lock:
            self._due += self._tenancy.leaving(version)
        self._tell()

    def gone(self, version: Version) -> None:
        """The version is unloaded."""
        with self._lock:
            self._due += self._tenancy.gone(version)
        self._tell()

    def _load(self) -> None:
        try:
            self._prepared.set_result(self._chain.load())
        except ServiceError as error:
            self._prepared.set_exception(error)
        except BaseException as error:
            log.exception("repository agents could not be run")
            self._prepared.set_exception(InternalError(f"{type(error).__name__}: {error}"))
        self._tell()

    def _tell(self) -> None:
        """Have the agents told what is due, after what is being told, and not before LOAD ends."""
        with self._lock:
            if self._is_telling or not self._due or not self._prepared.done():
                return
            self._is_telling = True
        self._submit(self._tell_all)

    def _tell_all(self) -> None:
        while (action := self._next()) is not None:
            # A load that the agents have refused was told them there and then.
            if not is_over(self._chain.last):
                self._act(action)

    def _next(self) -> Action | None:
        with self._lock:
            if self._due:
                return self._due.popleft()
            self._is_telling = False
            return None

    def _act(self, action: Action) -> None:
        acts = {
            Action.LOAD_COMPLETE: self._chain.complete,
            Action.LOAD_FAIL: self._chain.fail,
            Action.UNLOAD: self._chain.unload,
            Action.UNLOAD_COMPLETE: self._chain.unloaded,
        }
        try:
            acts[action]()
        except Exception:
            log.exception("repository agents were not told", action=action.value)
