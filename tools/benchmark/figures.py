"""What was measured, what the goal was, and whether it was reached."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

Progress = Callable[[str], None]
"""Is told what is being measured."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Without a `limit` it is there to be read, and cannot be missed.

    The limit is the most that may be, or the least with `is_least`.
    """

    part: str
    name: str
    value: float
    unit: str
    limit: float | None = None
    remark: str = ""
    is_least: bool = False

    @property
    def reached(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    def as_map(self) -> dict[str, object]:
        return {**asdict(self), "reached": self.reached}


def progress(text: str) -> None:
    """Say on a terminal what is being measured, in place of what was said before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def all_reached(figures: Iterable[Figure]) -> bool:
    return all(figure.reached is not False for figure in figures)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of them lie; raise ValueError for none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def stall_limit_ms(rest_ms: float) -> float:
    """Return what p99 may be while a model loads: three times that at rest, or 10 ms."""
    return max(3 * rest_ms, 10.0)


def number(value: float) -> str:
    """Return three digits that count, and no power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines, each part under its name."""
    rows = []
    part = ""
    for figure in figures:
        if figure.part != part:
            part = figure.part
            rows.append(part)
        value = f"{number(figure.value)} {figure.unit}"
        goal = verdict = ""
        if figure.limit is not None:
            bound = "at least" if figure.is_least else "at most"
            goal = f"{bound} {number(figure.limit)} {figure.unit}"
            verdict = "reached" if figure.reached else "MISSED"
        rows.append(f"  {figure.name:<52} {value:>16}  {goal:<20} {verdict:<8} {figure.remark}")
    return "\n".join(row.rstrip() for row in rows)
