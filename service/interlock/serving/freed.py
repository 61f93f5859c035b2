"""What unloading a version gave back to the system."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Freed:
    """By how many bytes the process shrank over an unload, and what it has in memory since.

    Both are the whole process's: what goes on beside the unload shows in them. They are 0
    where the system does not tell.
    """

    freed_bytes: int = 0
    resident_bytes: int = 0
