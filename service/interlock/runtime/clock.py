"""The clock as an argument: monotonic time in production, a hand-set one in tests."""

import time
from collections.abc import Callable

Clock = Callable[[], float]

monotonic: Clock = time.monotonic
"""Seconds since some fixed moment; never goes back."""
