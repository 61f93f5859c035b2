"""One agent's place in a chain: what it is still to hear, one call at a time.

An agent that hangs in a call hears what has happened since as soon as it comes back, in the
thread that it kept, so that its story is whole even then.
"""

import threading
from collections import deque
from collections.abc import Callable

import structlog

from interlock.control.agent_model import HeldModel
from interlock.control.agent_story import is_over, name_of
from interlock_agents.api import Action, AgentCancelledError, RepositoryAgent

log = structlog.get_logger()


def text_of(error: BaseException) -> str:
    """Return what an error says, or its kind where it cannot: foreign code made it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - any of what its author did not think of
        return type(error).__name__


class Seat:
    """Hears actions from a chain's thread and acts on them in an agent's."""

    def __init__(self, name: str, make: Callable[[], RepositoryAgent], model: HeldModel) -> None:
        self.name = name
        self.model = model
        self._make = make
        self._agent: RepositoryAgent | None = None
        # Guards the three below.
        self._lock = threading.Lock()
        self._pending: deque[Action] = deque()
        self._is_busy = False
        self._refusal: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an agent's thread is inside it."""
        with self._lock:
            return self._is_busy

    def take_refusal(self) -> BaseException | None:
        """Return what LOAD raised, once: its frames may hold what is to be forgotten."""
        with self._lock:
            refusal, self._refusal = self._refusal, None
            return refusal

    def post(self, action: Action) -> bool:
        """Let it hear an action; whether `work` is to be called for that."""
        with self._lock:
            self._pending.append(action)
            was_busy, self._is_busy = self._is_busy, True
            return not was_busy

    def take_back(self) -> None:
        """There is no thread now: a load is forgotten, all else heard with what comes next."""
        with self._lock:
            if Action.LOAD in self._pending:
                self._pending.clear()
            self._is_busy = False

    def work(self) -> None:
        """Act on everything that there is to hear. Raises nothing."""
        while (action := self._next()) is not None:
            self._act(action)

    def _next(self) -> Action | None:
        with self._lock:
            if self._pending:
                return self._pending.popleft()
            self._is_busy = False
            return None

    def _act(self, action: Action) -> None:
        self.model.begin(action)
        try:
            self._call(action)
        except BaseException as error:  # noqa: BLE001 - foreign code may raise SystemExit too
            if action is Action.LOAD:
                with self._lock:
                    self._refusal = error
            else:
                self._log(action, error)
        finally:
            self.model.action = None
            self._clear_up(action)

    def _clear_up(self, action: Action) -> None:
        if is_over(action):
            self.model.free(is_in_use=False)
        elif action is not Action.LOAD:
            # Nobody reads what it has put in memory now.
            self.model.forget_memory(is_in_use=False)

    def _call(self, action: Action) -> None:
        if action is Action.LOAD:
            self.model.check()
            self._agent = self._make()
        # Without an agent there is nobody to be told how it ended.
        if self._agent is not None:
            self._agent.act(action, self.model)

    def _log(self, action: Action, error: BaseException) -> None:
        if isinstance(error, AgentCancelledError):
            return  # it gave up when it was asked to
        log.error(
            f"Agent model returns error on {name_of(action)}: {text_of(error)}",  # noqa: G004 - Triton's
            model=self.model.name,
            agent=self.name,
            exc_info=error,
        )
