"""Decide when the agents of a load hear what, since all versions that it loads share them.

They hear LOAD_COMPLETE when the last version has come to an end and one serves or has
served, LOAD_FAIL where none has, UNLOAD when the last one that serves is to go, and
UNLOAD_COMPLETE when the last is gone.
"""

from collections.abc import Collection, Iterable
from enum import Enum

from interlock.domain.ids import Version
from interlock_agents.api import Action


class _Stage(Enum):
    LOADING = "loading"
    SERVING = "serving"
    LEAVING = "leaving"
    GONE = "gone"
    FAILED = "failed"


class Tenancy:
    """The versions of one load. Each call returns what the agents are to hear now, in order.

    A version settles once, as one that serves or has failed; what serves leaves, and then is
    gone. Anything else raises ValueError. One thread at a time may call.
    """

    def __init__(self, versions: Iterable[Version]) -> None:
        self._stages = dict.fromkeys(versions, _Stage.LOADING)
        self._told: list[Action] = [Action.LOAD]

    @property
    def versions(self) -> Collection[Version]:
        return self._stages.keys()

    @property
    def is_over(self) -> bool:
        """Whether no version is left, and the agents have heard the end of it."""
        return self._told[-1] in {Action.LOAD_FAIL, Action.UNLOAD_COMPLETE}

    def settled(self, version: Version, *, serves: bool) -> tuple[Action, ...]:
        """The version serves from now on, or has failed, been dropped or thrown away."""
        stage = _Stage.SERVING if serves else _Stage.FAILED
        return self._move(version, _Stage.LOADING, stage)

    def leaving(self, version: Version) -> tuple[Action, ...]:
        """The version, which served, is about to be unloaded."""
        return self._move(version, _Stage.SERVING, _Stage.LEAVING)

    def gone(self, version: Version) -> tuple[Action, ...]:
        """The version, which was leaving, is unloaded."""
        return self._move(version, _Stage.LEAVING, _Stage.GONE)

    def _move(self, version: Version, before: _Stage, after: _Stage) -> tuple[Action, ...]:
        if self._stages.get(version) is not before:
            raise ValueError(f"version {version} is not {before.value}")
        self._stages[version] = after
        due = self._due()[len(self._told) :]
        self._told += due
        return due

    def _due(self) -> tuple[Action, ...]:
        """Return the whole story up to now."""
        stages = set(self._stages.values())
        if _Stage.LOADING in stages:
            return (Action.LOAD,)
        if stages <= {_Stage.FAILED}:
            return (Action.LOAD, Action.LOAD_FAIL)
        story = (Action.LOAD, Action.LOAD_COMPLETE, Action.UNLOAD, Action.UNLOAD_COMPLETE)
        if _Stage.SERVING in stages:
            return story[:2]
        return story[:3] if _Stage.LEAVING in stages else story
