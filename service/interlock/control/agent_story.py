"""What a repository agent hears of one model, and in which order: the actions and their moves.

The table is Triton's. Every agent that was started hears a whole story, whatever becomes of
the model: a load that fails anywhere ends in LOAD_FAIL, one that serves in UNLOAD_COMPLETE.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from interlock.domain.errors import InternalError
from interlock_agents.api import Action

_NEXT: Final[Mapping[Action | None, frozenset[Action]]] = MappingProxyType(
    {
        None: frozenset({Action.LOAD}),
        Action.LOAD: frozenset({Action.LOAD_COMPLETE, Action.LOAD_FAIL}),
        Action.LOAD_COMPLETE: frozenset({Action.UNLOAD}),
        Action.LOAD_FAIL: frozenset(),
        Action.UNLOAD: frozenset({Action.UNLOAD_COMPLETE}),
        Action.UNLOAD_COMPLETE: frozenset(),
    }
)
_ENDINGS: Final[Mapping[Action | None, tuple[Action, ...]]] = MappingProxyType(
    {
        None: (),
        Action.LOAD: (Action.LOAD_FAIL,),
        Action.LOAD_COMPLETE: (Action.UNLOAD, Action.UNLOAD_COMPLETE),
        Action.LOAD_FAIL: (),
        Action.UNLOAD: (Action.UNLOAD_COMPLETE,),
        Action.UNLOAD_COMPLETE: (),
    }
)
_FORWARD: Final = frozenset({Action.LOAD, Action.UNLOAD})


class IllegalActionError(InternalError):
    """An action that the table does not have after the last one was asked for."""


def advance(last: Action | None, action: Action) -> Action:
    """Return the action as the last one now; `None` is a story that has not begun.

    Raise IllegalActionError, with Triton's texts, where it may not follow.
    """
    if action in _NEXT[last]:
        return action
    if last is None:
        raise IllegalActionError(f"Unexpected lifecycle start state {name_of(action)}")
    raise IllegalActionError(
        f"Unexpected lifecycle state transition from {name_of(last)} to {name_of(action)}"
    )


def ending(last: Action | None) -> tuple[Action, ...]:
    """Return what is still to be told for the story to end, whenever it must."""
    return _ENDINGS[last]


def is_over(last: Action | None) -> bool:
    """Whether nothing can follow any more."""
    return not _NEXT[last]


def is_forward(action: Action) -> bool:
    """Whether agents hear it in the order of the configuration; the others in reverse."""
    return action in _FORWARD


def is_whole(story: Sequence[Action]) -> bool:
    """Whether a story may be told from its beginning to its end."""
    return is_legal(story) and is_over(story[-1] if story else None)


def is_legal(story: Iterable[Action]) -> bool:
    """Whether a story is the beginning of one that may be told."""
    last: Action | None = None
    for action in story:
        if action not in _NEXT[last]:
            return False
        last = action
    return True


def name_of(action: Action | None) -> str:
    """Return what Triton calls an action."""
    return "not set" if action is None else f"TRITONREPOAGENT_ACTION_{action.value}"
