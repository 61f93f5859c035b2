"""Change a model repository in every way, good and bad, under traffic that never pauses.

16 clients with one call for each request and 16 streams ask without pause. Meanwhile
versions arrive by slow copy, by rename, by a flipped symlink, by `cp -p` of an older file,
half, truncated and with wrong golden answers, and disappear again: first in poll mode,
then the same changes in explicit mode, each followed by a Load. After every change the
server must come to the right state in time: a change that it overlooks is a failure too.

Exits with 0 if no request failed, every answer came from the file that was the right one,
every change was followed, and the server's memory does not grow.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Protocol

import grpc
import numpy as np

from interlock.cli.verb import add_format
from tests.support import onnx_small
from tests.support.models import Port, Repository
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import Client, arrays, given, infer_request, transport_flags
from tools.progress import Line, duration
from tools.publishing import BALLAST_BYTES, Change, Expected, Folder, Kind, plan_changes
from tools.traffic import Traffic, Window, percentiles, violations_in

MODEL: Final = "adder"
POLL_S: Final = 1.0
SETTLE_S: Final = 0.2
AT_REST_S: Final = 3.0
"""Traffic before the first change and after the last, for comparison."""
WITHIN_S: Final = 20.0
"""How long the server may take to come to the right state."""
SECONDS_A_CHANGE: Final = 3.0
START_S: Final = 60.0
LOOK_EVERY_S: Final = 0.02
MOST_OVERLOOKED: Final = 3
SLOPE_CHANGES: Final = 100
SLOPE_JUDGED_FROM: Final = 2 * SLOPE_CHANGES
"""With fewer changes the memory has not come to rest before the slope is taken."""
MOST_KB_A_CHANGE: Final = 100.0
GOLDEN: Final = {"input": {"x": [0, 1, 2]}, "expect": {"twice": [0, 2, 4]}}
WRONG_ANSWER: Final = "golden request 'golden/three.json': output twice[0]: got 0.5, expected 0.0"
BROKEN_FILE: Final = "failed"


class OverlookedError(Exception):
    """The server did not come to the right state in time; the text says what it said."""


class Control(Protocol):
    """A model-control mode: how a change reaches the server, and what must follow."""

    @property
    def falls_back(self) -> bool:
        """Whether the next newest serves where the newest cannot."""
        ...

    def halfway(self) -> None:
        """Do what an impatient operator does while a file is half copied."""
        ...

    def follow(self, expected: Expected) -> None:
        """Return when the server is in the right state; raise OverlookedError if it never is."""
        ...


@dataclass(frozen=True, slots=True)
class Polling:
    """The server looks by itself."""

    client: Client
    within_s: float = WITHIN_S
    falls_back = True

    def halfway(self) -> None:
        """Nobody tells it anything."""

    def follow(self, expected: Expected) -> None:
        deadline = time.monotonic() + self.within_s
        while trouble := trouble_with(self.client, expected):
            if time.monotonic() > deadline:
                raise OverlookedError(trouble)
            time.sleep(LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class Loading:
    """The server is told by RepositoryModelLoad."""

    client: Client
    falls_back = False

    def halfway(self) -> None:
        self._load(f"load failed for model '{MODEL}': version ")

    def follow(self, expected: Expected) -> None:
        refused = f"load failed for model '{MODEL}': version {expected.refused} is at "
        self._load("" if expected.refused is None else refused)
        # Nothing to wait for: what a Load has answered holds at once.
        if trouble := trouble_with(self.client, expected):
            raise OverlookedError(trouble)

    def _load(self, refusal: str) -> None:
        """Load the model, which must be refused with a text that begins so; "" for not at all."""
        try:
            self.client.load(MODEL)
        except grpc.RpcError as error:
            if not refusal or not error.details().startswith(refusal):
                raise
        else:
            if refusal:
                raise OverlookedError("Load was not refused")


def trouble_with(client: Client, expected: Expected) -> str:
    """Return what the server says that it should not, "" where all is as it must be."""
    version, constant = answer_of(client)
    if (version, constant) != (expected.version, expected.constant):
        return f"version {version} answers with {constant}"
    reasons = {row[1]: row[3] for row in client.index() if row[0] == MODEL}
    if expected.refused is not None:
        reason = reasons.get(str(expected.refused), "")
        wanted = WRONG_ANSWER if expected.why is Kind.WRONG else BROKEN_FILE
        if wanted not in reason:
            return f"the index says {reason!r} of version {expected.refused}"
    if expected.forgotten is not None:
        reason = reasons.get(str(expected.forgotten), "")
        if reason not in {"", "unloaded"}:
            return f"the index says {reason!r} of version {expected.forgotten}, which is gone"
    return ""


def answer_of(client: Client) -> tuple[int, int]:
    """Return which version answers, and with which constant."""
    response = client.infer(infer_request(MODEL, given("x", np.zeros(1, "<f4"))))
    return int(response.model_version), int(arrays(response)["y"][0])


@dataclass(frozen=True, slots=True)
class Requests:
    """What the clients lived through in one part of the run."""

    sent: int
    p99_ms: float
    worst_ms: float
    longest_gap_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run in one mode. `failed`, `disagreeing` and `overlooked` are sentences."""

    mode: str
    changes: Mapping[str, int]
    seconds: float
    before: Requests
    during: Requests
    failed: tuple[str, ...]
    disagreeing: tuple[str, ...]
    disagreeing_answers: int
    overlooked: tuple[str, ...]
    files_seen: int
    memory_before_bytes: int
    memory_after_bytes: int
    slope_kb_a_change: float
    is_slope_judged: bool

    @property
    def is_flat(self) -> bool:
        return not self.is_slope_judged or self.slope_kb_a_change < MOST_KB_A_CHANGE

    @property
    def is_good(self) -> bool:
        return self.is_flat and not (self.failed or self.disagreeing or self.overlooked)


@dataclass(slots=True)
class Story:
    """What is known of a run while it goes on."""

    expected: Expected = field(default_factory=Expected)
    windows: list[Window] = field(default_factory=lambda: [Window(1, 0)])
    memory: list[int] = field(default_factory=list)
    overlooked: list[str] = field(default_factory=list)
    done: list[Change] = field(default_factory=list)

    def follow(self, change: Change, folder: Folder, control: Control) -> None:
        """Make one change and wait for what must follow; remember when what was right."""
        began = time.monotonic_ns()
        expected = self.expected.after(change, falls_back=control.falls_back)
        try:
            folder.publish(change, halfway=control.halfway)
            control.follow(expected)
        except OverlookedError as error:
            self._complain(change, str(error), expected)
        except grpc.RpcError as error:
            self._complain(change, f"{error.code().name}: {error.details()}", expected)
        folder.sweep(change)
        if expected.constant != self.expected.constant:
            self.windows[-1] = self.windows[-1]._replace(end_ns=time.monotonic_ns())
            self.windows.append(Window(expected.constant, began))
        self.expected = expected
        self.done.append(change)

    def _complain(self, change: Change, text: str, expected: Expected) -> None:
        wanted = f"version {expected.version} with {expected.constant}"
        self.overlooked.append(f"{change}: {text}; expected {wanted}")


def run(
    mode: str,
    changes: Sequence[Change],
    *,
    unary_clients: int = 16,
    streams: int = 16,
    at_rest_s: float = AT_REST_S,
    line: Line | None = None,
) -> Outcome:
    """Start a server in this mode, make the changes, stop it, judge."""
    with tempfile.TemporaryDirectory(prefix="interlock-demo-") as name:
        repository = Repository(Path(name, "models"))
        write_first(repository)
        folder = Folder(repository.root / MODEL, Path(name, "aside"))
        with (
            ServerProcess.start(flags_of(mode, repository.root)) as process,
            Client(process.address) as client,
            Traffic(
                process.address, MODEL, unary_clients=unary_clients, streams=streams
            ) as traffic,
        ):
            control: Control = Polling(client) if mode == "poll" else Loading(client)
            story = Story()
            moments = [time.monotonic_ns()]
            time.sleep(at_rest_s)
            moments.append(time.monotonic_ns())
            memory_before = process.memory_bytes()
            change_all(changes, story, folder, control, process, line)
            moments.append(time.monotonic_ns())
            time.sleep(at_rest_s)
            memory_after = process.memory_bytes()
    return outcome_of(mode, story, traffic, moments, (memory_before, memory_after))


def write_first(repository: Repository) -> None:
    repository.root.mkdir()
    repository.onnx(
        MODEL,
        onnx_small.marked(1, ballast_bytes=BALLAST_BYTES),
        outputs=[Port(name="y"), Port(name="twice")],
    )
    repository.replace(MODEL, "golden/three.json", json.dumps(GOLDEN).encode())


def flags_of(mode: str, root: Path) -> list[str]:
    flags = [f"--model-repository={root}", f"--model-control-mode={mode}", *transport_flags()]
    if mode == "poll":
        return [*flags, f"--repository-poll-secs={POLL_S}", f"--repository-settle-secs={SETTLE_S}"]
    return [*flags, f"--load-model={MODEL}"]


def change_all(  # noqa: PLR0917 - the loop that has everything in it
    changes: Sequence[Change],
    story: Story,
    folder: Folder,
    control: Control,
    process: ServerProcess,
    line: Line | None,
) -> None:
    deadline = time.monotonic() + START_S + SECONDS_A_CHANGE * len(changes)
    for change in changes:
        if time.monotonic() > deadline:
            story.overlooked.append(f"out of time before {change}")
            return
        if len(story.overlooked) >= MOST_OVERLOOKED:
            return
        if line is not None:
            line.update(f"{change.number} of {len(changes)}: {change.kind.value}")
        story.follow(change, folder, control)
        story.memory.append(process.memory_bytes())


def outcome_of(
    mode: str,
    story: Story,
    traffic: Traffic,
    moments: Sequence[int],
    memory: tuple[int, int],
) -> Outcome:
    first, begin, end = moments
    answers = traffic.answers
    wrong = violations_in(answers, story.windows)
    return Outcome(
        mode=mode,
        changes=dict(Counter(change.kind.value for change in story.done)),
        seconds=(end - begin) / 1e9,
        before=requests_in(traffic, first, begin),
        during=requests_in(traffic, begin, end),
        failed=tuple(traffic.failures),
        disagreeing=tuple(map(str, wrong)),
        disagreeing_answers=sum(one.answers for one in wrong),
        overlooked=tuple(story.overlooked),
        files_seen=len(set(answers.constants.tolist())),
        memory_before_bytes=memory[0],
        memory_after_bytes=memory[1],
        slope_kb_a_change=slope(story.memory[-SLOPE_CHANGES:]) / 1000,
        is_slope_judged=len(story.memory) >= SLOPE_JUDGED_FROM,
    )


def requests_in(traffic: Traffic, begin_ns: int, end_ns: int) -> Requests:
    answers = traffic.answers.sent_between(begin_ns, end_ns)
    _, p99, worst = percentiles(answers.milliseconds())
    return Requests(len(answers), p99, worst, traffic.longest_gap_ms(begin_ns, end_ns))


def slope(values: Sequence[float]) -> float:
    """Return by how much the values grow from one to the next, as the best straight line does."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(values)), np.array(values, float), 1)[0])


def table(outcomes: Sequence[Outcome]) -> str:
    first, *others = [_rows(outcome) for outcome in outcomes]
    lines = [
        f"{name:<36}" + "".join(f"{value:>14}" for value in (value, *more))
        for (name, value), *rest in zip(first, *others, strict=True)
        for more in [[value for _, value in rest]]
    ]
    return "\n".join(lines)


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    last = f"the last {SLOPE_CHANGES}" if outcome.is_slope_judged else "too few to judge"
    before, during = outcome.before, outcome.during
    return [
        ("mode", outcome.mode),
        ("changes", str(sum(outcome.changes.values()))),
        *((f"  {kind.value}", str(outcome.changes.get(kind.value, 0))) for kind in Kind),
        ("time for them", duration(outcome.seconds)),
        ("requests sent", f"{before.sent + during.sent:,}"),
        ("  failed", str(len(outcome.failed))),
        ("  answers that disagree", str(outcome.disagreeing_answers)),
        ("changes not followed", str(len(outcome.overlooked))),
        ("different files that answered", str(outcome.files_seen)),
        *latency_rows(before, during),
        ("memory, before", f"{outcome.memory_before_bytes / 1e6:.1f} MB"),
        ("  after", f"{outcome.memory_after_bytes / 1e6:.1f} MB"),
        (f"  a change, {last}", f"{outcome.slope_kb_a_change:.1f} kB"),
    ]


def latency_rows(before: Requests, during: Requests) -> list[tuple[str, str]]:
    return [
        ("longest gap between answers, before", f"{before.longest_gap_ms:.0f} ms"),
        ("  during", f"{during.longest_gap_ms:.0f} ms"),
        ("p99 of a request, before", f"{before.p99_ms:.1f} ms"),
        ("  during", f"{during.p99_ms:.1f} ms"),
    ]


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does, so that nothing stays behind."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog="tools/demo-swap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known.add_argument("--changes", type=int, default=200, metavar="N", help="in each mode (200)")
    known.add_argument("--mode", choices=("poll", "explicit", "both"), default="both")
    known.add_argument("--seed", type=int, default=1, help="other changes (default: %(default)s)")
    add_format(known)
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    changes = plan_changes(chosen.changes, chosen.seed, settle_s=SETTLE_S)
    modes = ("poll", "explicit") if chosen.mode == "both" else (chosen.mode,)
    outcomes = []
    with stoppable():
        for mode in modes:
            line = Line(f"{len(changes)} changes in {mode} mode", out=sys.stderr)
            try:
                outcomes.append(run(mode, changes, line=line))
            except (ServerProcessError, TimeoutError) as error:
                line.end("failed")
                print(f"error: {error}", file=sys.stderr)
                return 1
            line.end(duration(line.seconds))
    is_json = chosen.format == "json"
    print(json.dumps([asdict(one) for one in outcomes]) if is_json else table(outcomes))
    for outcome in outcomes:
        told = {*outcome.failed, *outcome.disagreeing, *outcome.overlooked}
        for text in sorted(told)[:20]:
            print(f"WRONG in {outcome.mode} mode: {text}", file=sys.stderr)
        if not outcome.is_flat:
            print(f"WRONG in {outcome.mode} mode: the memory grows", file=sys.stderr)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
