"""Decide when a version that failed is tried again with the same content.

Each failure doubles the time to the next try, up to a limit. Other content begins anew.
"""

from typing import Final

FIRST_DELAY_S: Final = 15.0
MAX_DELAY_S: Final = 600.0
_DOUBLINGS: Final = 10
"""As many as any limit needs; so that no count of failures is too large for a float."""


def delay_after(failures: int) -> float:
    """Return how many seconds to wait with a content that has failed so often; at least once."""
    doublings = min(max(0, failures - 1), _DOUBLINGS)
    return min(FIRST_DELAY_S * 2.0**doublings, MAX_DELAY_S)


def next_try(failed_at: float, failures: int) -> float:
    """Return when (monotonic) to try again what failed for the last time at `failed_at`."""
    return failed_at + delay_after(failures)


def note(failures: int, *, by_itself: bool = True) -> str:
    """Return what is added to the reason of a failure in the history of the version.

    Not everything is tried again by itself.
    """
    times = "" if failures == 1 else f" after {failures} failures"
    if not by_itself:
        return f"quarantined{times}, until its content changes or somebody asks"
    return f"quarantined{times}, next try in {delay_after(failures):.0f} s"
