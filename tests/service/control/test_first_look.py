"""At start, what is still being copied is given time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.control.first_look import FirstLook
from interlock.domain.ids import ModelName
from interlock.repository.scan import Scanner
from interlock.repository.stager import Stager
from interlock.repository.staging import Rules, Writing

SETTLE_S = 2.0
PATIENCE_S = 4.0


class Start:
    """A repository at the start of a server, and a clock that only waiting moves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.is_closing = False
        self.waits: list[float] = []
        self.looks = 0
        self.look = FirstLook(
            scanner=Scanner([root]),
            stager=Stager(
                # Nothing has lain still since before the start.
                rules=Rules(SETTLE_S, started=self.now, started_ns=0),
                clock=lambda: self.now,
                writers=lambda: lambda _paths: Writing.UNKNOWN,
            ),
            patience_s=PATIENCE_S,
            clock=lambda: self.now,
            pause=self._pause,
        )

    def _pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        self.while_waiting()
        return self.is_closing

    def while_waiting(self) -> None:
        """Nothing happens."""

    def copy(self, model: str, content: str = "weights") -> None:
        (self.root / model / "1").mkdir(parents=True, exist_ok=True)
        (self.root / model / "1" / "model.onnx").write_text(content)

    def settled(self, *models: str) -> Iterator[str]:
        return iter(self.look.as_they_settle(map(ModelName, models)))


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_what_nobody_can_see_waits_for_nothing(start: Start) -> None:
    assert list(start.settled("a", "b")) == ["a", "b"]
    assert start.waits == []


def test_what_may_still_be_moving_waits_for_the_settle_time_and_no_longer(start: Start) -> None:
    start.copy("moving")
    models = start.settled("moving", "missing")
    assert next(models) == "missing"
    assert start.waits == []
    assert next(models) == "moving"
    assert start.waits == [SETTLE_S]


def test_what_goes_on_moving_is_tried_in_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start.copy("moving")
    monkeypatch.setattr(start, "while_waiting", lambda: start.copy("moving", f"{start.now}"))
    assert list(start.settled("moving")) == ["moving"]
    assert start.now == 100.0 + PATIENCE_S


def test_nobody_waits_for_a_server_that_is_to_end(start: Start) -> None:
    start.copy("moving")
    start.is_closing = True
    assert list(start.settled("moving")) == ["moving"]
    assert len(start.waits) == 1


def test_without_models_nothing_is_looked_at(tmp_path: Path) -> None:
    start = Start(tmp_path / "not there")
    assert list(start.settled()) == []
