"""Make the mirrors of all remote repositories that the settings name."""

from functools import partial

from interlock.repository.cloud.budget import Budget
from interlock.repository.cloud.root import CloudRoot, IsUsed
from interlock.repository.cloud.store import check_package, open_store
from interlock.repository.scratch import Scratch
from interlock.runtime.clock import Clock
from interlock.settings import CloudSettings


def open_roots(
    settings: CloudSettings,
    scratch: Scratch,
    *,
    clock: Clock,
    settle_s: float,
    is_used: IsUsed,
) -> tuple[CloudRoot, ...]:
    """Make an empty mirror of each; nothing is asked of a store yet.

    Raise MissingPackageError where the extra is not installed, OSError where the scratch
    directory cannot be used.
    """
    if not settings.locations:
        return ()
    check_package()
    budget = Budget(scratch.open(), settings.cache_bytes)
    return tuple(
        CloudRoot(
            location.url,
            scratch.folder("cloud-"),
            open_store=partial(open_store, location, settings.environment),
            budget=budget,
            clock=clock,
            settle_s=settle_s,
            within=location.within,
            is_used=is_used,
        )
        for location in settings.locations
    )
