"""Copy a version into a served model's folder while clients ask, and tell what they saw."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import grpc

CLIENTS: Final = 4
STEPS: Final = 8
STEP_PAUSE_S: Final = 0.05
"""The copy is slow on purpose: a server that looked too early would load a part of it."""
AROUND_S: Final = 0.5
"""How long the clients ask before the copy begins and after the takeover."""

Ask = Callable[[], int]
"""Send one request and return which version answered. Raise grpc.RpcError if it fails."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What the clients saw. `after_s` counts from the last byte to the first new answer."""

    answers: Mapping[int, int]
    failures: Sequence[str]
    version: int
    after_s: float

    @property
    def sent(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def table(self) -> str:
        rows = [
            ("requests sent", f"{self.sent:,}"),
            ("  failed", f"{len(self.failures):,}"),
            *(
                (f"  answered by version {version}", f"{count:,}")
                for version, count in sorted(self.answers.items())
            ),
        ]
        lines = [f"    {name:<24}{value:>9}" for name, value in rows]
        took = f"version {self.version} took over {self.after_s:.2f} s after its last byte"
        return "\n".join([*lines, "", f"    {took}"])


@dataclass(slots=True)
class _Seen:
    """What one client saw."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    first: dict[int, float] = field(default_factory=dict)


class _Clients:
    """Threads that ask without pause while the `with` block runs."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._over = threading.Event()
        self._seen = [_Seen() for _ in range(CLIENTS)]
        self._threads = [
            threading.Thread(target=self._run, args=(seen,), daemon=True) for seen in self._seen
        ]

    def _run(self, seen: _Seen) -> None:
        while not self._over.is_set():
            try:
                version = self._ask()
            except grpc.RpcError as error:
                seen.failures.append(str(error))
            else:
                seen.first.setdefault(version, time.monotonic())
                seen.answers[version] += 1

    def first_answer_of(self, version: int) -> float | None:
        """Return when (monotonic) a client first heard of that version."""
        moments = [seen.first[version] for seen in self._seen if version in seen.first]
        return min(moments, default=None)

    @property
    def answers(self) -> Counter[int]:
        return sum((seen.answers for seen in self._seen), Counter())

    @property
    def failures(self) -> list[str]:
        return [failure for seen in self._seen for failure in seen.failures]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def take_over(
    source: Path, model: Path, ask: Ask, *, pause: Callable[[], None], within_s: float
) -> Takeover | None:
    """Copy `source`, a version's directory, into that of the model while clients ask.

    Return what they saw, `None` if the new version does not answer in time. `pause` waits a
    moment, and may raise what is to end this.
    """
    version = int(source.name)
    with _Clients(ask) as clients:
        _wait(AROUND_S, pause)
        copy_slowly(source, model / source.name, pause=pause)
        complete = time.monotonic()
        while (first := clients.first_answer_of(version)) is None:
            if time.monotonic() > complete + within_s:
                return None
            pause()
        _wait(AROUND_S, pause)
    return Takeover(clients.answers, clients.failures, version, first - complete)


def copy_slowly(source: Path, target: Path, *, pause: Callable[[], None]) -> None:
    """Copy a directory of files piece by piece, as a slow network would."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        content = file.read_bytes()
        step = -(-len(content) // STEPS)
        with (target / file.name).open("wb", buffering=0) as copy:
            for start in range(0, len(content), step):
                copy.write(content[start : start + step])
                time.sleep(STEP_PAUSE_S)
        pause()


def _wait(seconds: float, pause: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pause()
