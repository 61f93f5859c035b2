"""Let several do the same work in turns, and compare them round by round.

Whatever else the machine does hits all of them. In every round each works twice, the second
time in reverse order, so that a machine that becomes slower favours nobody; how far the two
times lie apart is the machine's noise.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAX_TIMES: Final = 16
"""How many more rounds there are where each is short."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one piece of work took: by the clock, and of the processors."""

    seconds: float
    cpu_seconds: float


Round = tuple[Turn, Turn]


@dataclass(frozen=True, slots=True)
class Turns:
    """The rounds of everyone who took part, by name."""

    rounds: Mapping[str, Sequence[Round]]

    def seconds(self, name: str) -> float:
        """Return what the work took; the median of the rounds."""
        return statistics.median(self._seconds(name))

    def cpu_seconds(self, name: str) -> float:
        return statistics.median(
            (one.cpu_seconds + two.cpu_seconds) / 2 for one, two in self.rounds[name]
        )

    def fastest(self, names: Iterable[str]) -> str:
        return min(names, key=self.seconds)

    def times(self, name: str, others: Sequence[str]) -> list[float]:
        """Return how many times as long as the others together one took, for each round."""
        sums = [sum(row) for row in zip(*map(self._seconds, others), strict=True)]
        return [own / all_of for own, all_of in zip(self._seconds(name), sums, strict=True)]

    def noise(self, name: str) -> float:
        """Return how much the same work differed within a round; the median, 0.02 for 2 %."""
        return statistics.median(
            abs(one.seconds - two.seconds) / max(one.seconds, two.seconds)
            for one, two in self.rounds[name]
        )

    def _seconds(self, name: str) -> list[float]:
        return [(one.seconds + two.seconds) / 2 for one, two in self.rounds[name]]


def timed(work: Callable[[], object]) -> Turn:
    """Do some work, and return what it took of this process."""
    began, cpu_before = time.perf_counter(), time.process_time()
    work()
    return Turn(time.perf_counter() - began, time.process_time() - cpu_before)


def take_turns(work: Mapping[str, Callable[[], Turn]], rounds: int) -> Turns:
    """Let everyone work, twice in every round, after each has worked once for nothing."""
    for do in work.values():
        do()
    taken: dict[str, list[Round]] = {name: [] for name in work}
    for _ in range(rounds):
        there = {name: do() for name, do in work.items()}
        back = {name: work[name]() for name in reversed(list(work))}
        for name, turns in taken.items():
            turns.append((there[name], back[name]))
    return Turns(taken)


def rounds_for(size: int, *, largest: int, rounds: int) -> int:
    """Return how many rounds to make with a model of `size`, if `rounds` with the largest."""
    return rounds * max(1, min(MAX_TIMES, largest // size))
