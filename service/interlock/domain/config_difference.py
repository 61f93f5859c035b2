"""Tell whether two configurations differ in what can be changed while a version serves."""

from typing import Final

from interlock.domain.config import ModelConfig, Scheduling
from interlock.domain.config_values import message_of

_IN_PLACE: Final = ("instance_group", "version_policy")


def same_but_for_instances(before: ModelConfig, after: ModelConfig) -> bool:
    """Return whether only `instance_group` and `version_policy` differ, if anything does.

    Both are normalised. An ensemble has no instances that could be changed.
    """
    if before.message == after.message:
        return True
    if Scheduling.ENSEMBLE in (before.scheduling, after.scheduling):
        return False
    return _fixed(before) == _fixed(after)


def _fixed(config: ModelConfig) -> bytes:
    """Return all that only a load can change."""
    message = message_of(config)
    for name in _IN_PLACE:
        message.ClearField(name)
    return message.SerializeToString(deterministic=True)
