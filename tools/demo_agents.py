"""Publish an encrypted, signed model, rotate its key, and attack it, while clients ask.

16 clients with one call for each request and 16 streams ask without pause. Meanwhile the
publisher of examples/secure rotates the key and publishes versions, and somebody who can write
into the repository tries to get another model served: a byte flipped, the agents deleted from
config.pbtxt, a model that is clear or that a stranger has signed; then, in explicit mode, a load
with a configuration or files of its own.

Each attack must be refused with its reason in RepositoryIndex, while the version before it
answers, and be in the audit log. Exits with 0 if that is so, no request failed, and every answer
came from the file that was the right one.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import grpc

from interlock.cli.verb import add_format
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import Client, transport_flags
from tools.attacks import (
    IN_EXPLICIT_MODE,
    IN_POLL_MODE,
    OLD_KEY,
    Attack,
    Publication,
    Scene,
    Step,
    StepError,
)
from tools.demo_swap import MODEL, Requests, answer_of, latency_rows, requests_in, stoppable
from tools.progress import Line, duration
from tools.releases import CommandError, Releases
from tools.traffic import Traffic, Window, violations_in

POLL_S: Final = 0.5
SETTLE_S: Final = 0.3
AT_REST_S: Final = 2.0
"""Traffic before the first step and after the last, for comparison."""
WITHIN_S: Final = 30.0
"""How long the server may take to come to the right state."""
LOOK_EVERY_S: Final = 0.02
MOST_TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a step.

    `reason` is what clients are told of what was refused, `trouble` what was not as it must be,
    and `seconds` how long the server took to come to it.
    """

    step: str
    expected: str
    seconds: float
    reason: str = ""
    trouble: str = ""

    @property
    def seen(self) -> str:
        return "WRONG" if self.trouble else self.expected


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. `failed` and `disagreeing` are sentences."""

    mode: str
    steps: tuple[Seen, ...]
    seconds: float
    before: Requests
    during: Requests
    failed: tuple[str, ...]
    disagreeing: tuple[str, ...]
    disagreeing_answers: int
    audited: int
    """How many lines the audit log has."""
    unaudited: tuple[str, ...]
    """The attacks whose reason it does not give."""

    @property
    def troubles(self) -> list[str]:
        """Return all that is not as it must be, as sentences."""
        return [
            *(f"{one.step}: {one.trouble}" for one in self.steps if one.trouble),
            *(f"the audit log has nothing of this: {step}" for step in self.unaudited),
            *sorted({*self.failed, *self.disagreeing})[:MOST_TOLD],
        ]

    @property
    def is_good(self) -> bool:
        return not self.troubles


@dataclass(slots=True)
class Story:
    """What is known of a run while it goes on."""

    scene: Scene
    within_s: float = WITHIN_S
    version: int = 1
    constant: int = 1
    windows: list[Window] = field(default_factory=lambda: [Window(1, 0)])
    seen: list[Seen] = field(default_factory=list)

    def play(self, step: Step) -> None:
        """Do a step, wait for what must follow, and remember what came of it."""
        began = time.monotonic_ns()
        before = self.scene.serving()
        if isinstance(step, Publication):
            self.version = step.version
        reason, seconds = "", 0.0
        try:
            with step.way(self.scene):
                trouble = self._follow(lambda: self._trouble_with(step, before))
                seconds = (time.monotonic_ns() - began) / 1e9
                reason = "; ".join(self.scene.reasons())
            trouble = trouble or self._follow(self._unrest)
        except (StepError, CommandError, ServerProcessError) as error:
            trouble = str(error)
        except grpc.RpcError as error:
            trouble = f"{error.code().name}: {error.details()}"
        if isinstance(step, Publication):
            self._pass_on(step.constant, began)
        self.seen.append(Seen(step.title, self._expected(step), seconds, reason, trouble))

    def _trouble_with(self, step: Step, before: tuple[int, int]) -> str:
        """Return what is not as it must be after a step, "" where all is."""
        if isinstance(step, Attack):
            reasons = self.scene.reasons()
            found = any(step.reason in reason for reason in reasons)
            wrong = f"the index says {reasons}, and nothing of '{step.reason}'"
            return self._answers_wrong(self.constant) or ("" if found else wrong)
        if self.scene.serving() == before:
            return f"it was not loaded anew; the index says {self.scene.reasons()}"
        return self._answers_wrong(step.constant)

    def _unrest(self) -> str:
        """Return what there still is of a step that has been taken back, "" for nothing."""
        if reasons := self.scene.reasons():
            return f"the index goes on to say {reasons}"
        return "" if self.scene.is_at_rest() else "the model does not come to rest"

    def _answers_wrong(self, constant: int) -> str:
        found = answer_of(self.scene.client)
        return "" if found == (self.version, constant) else "version {} adds {}".format(*found)

    def _follow(self, trouble: Callable[[], str]) -> str:
        """Wait until nothing is wrong; return what still is when the time has run out."""
        deadline = time.monotonic() + self.within_s
        while (found := trouble()) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        return found

    def _pass_on(self, constant: int, began_ns: int) -> None:
        """Let the file with this constant be the right one from now on."""
        if constant != self.constant:
            self.windows[-1] = self.windows[-1]._replace(end_ns=time.monotonic_ns())
            self.windows.append(Window(constant, began_ns))
            self.constant = constant

    def _expected(self, step: Step) -> str:
        after = "goes on, and says why" if isinstance(step, Attack) else "takes over"
        return f"version {self.version} {after}"


def run(
    mode: str,
    steps: Sequence[Step],
    *,
    unary_clients: int = 16,
    streams: int = 16,
    at_rest_s: float = AT_REST_S,
    within_s: float = WITHIN_S,
    line: Line | None = None,
) -> Outcome:
    """Publish the first version, start a server, play the steps, stop it, judge."""
    with tempfile.TemporaryDirectory(prefix="interlock-demo-") as name:
        releases = Releases(Path(name).resolve(), MODEL)
        releases.prepare(OLD_KEY)
        releases.show(releases.release({1: 1}, key=OLD_KEY))
        with (
            ServerProcess.start(flags_of(mode, releases)) as process,
            Client(process.address) as client,
            Traffic(
                process.address, MODEL, unary_clients=unary_clients, streams=streams
            ) as traffic,
        ):
            story = Story(Scene(releases, process, client), within_s)
            moments = [time.monotonic_ns()]
            time.sleep(at_rest_s)
            moments.append(time.monotonic_ns())
            for number, step in enumerate(steps, 1):
                if line is not None:
                    line.update(f"{number} of {len(steps)}: {step.title}")
                story.play(step)
                if story.seen[-1].trouble:
                    break
            moments.append(time.monotonic_ns())
            time.sleep(at_rest_s)
        return outcome_of(mode, story, steps, traffic, moments)


def flags_of(mode: str, releases: Releases) -> list[str]:
    flags = [
        f"--model-repository={releases.repository}",
        f"--model-control-mode={mode}",
        f"--key-directory={releases.keys}",
        f"--signer-directory={releases.signers}",
        f"--agent-policy={releases.policy}",
        f"--audit-log={releases.audit_log}",
        *transport_flags(),
    ]
    if mode == "poll":
        return [*flags, f"--repository-poll-secs={POLL_S}", f"--repository-settle-secs={SETTLE_S}"]
    return [*flags, f"--load-model={MODEL}"]


def outcome_of(
    mode: str, story: Story, steps: Sequence[Step], traffic: Traffic, moments: Sequence[int]
) -> Outcome:
    first, begin, end = moments
    answers = traffic.answers
    wrong = violations_in(answers, story.windows)
    reasons = audited_reasons(story.scene.releases.audit_log)
    return Outcome(
        mode=mode,
        steps=tuple(story.seen),
        seconds=(end - begin) / 1e9,
        before=requests_in(traffic, first, begin),
        during=requests_in(traffic, begin, end),
        failed=tuple(traffic.failures),
        disagreeing=tuple(map(str, wrong)),
        disagreeing_answers=sum(one.answers for one in wrong),
        audited=len(reasons),
        unaudited=tuple(unaudited(steps, reasons)),
    )


def audited_reasons(path: Path) -> list[str]:
    """Return the reason that each line of an audit log gives."""
    return [json.loads(line)["reason"] for line in path.read_text(encoding="utf-8").splitlines()]


def unaudited(steps: Sequence[Step], reasons: Sequence[str]) -> list[str]:
    """Return the attacks that none of these reasons speaks of."""
    attacks = [step for step in steps if isinstance(step, Attack)]
    return [
        attack.title for attack in attacks if not any(attack.reason in reason for reason in reasons)
    ]


def table(outcomes: Sequence[Outcome]) -> str:
    steps = [(outcome.mode, one) for outcome in outcomes for one in outcome.steps]
    wide = max(len(one.step) for _, one in steps)
    lines = [f"{'':<3}{'mode':<9}{'what is done':<{wide}}  {'expected':<31}  {'seen':<31}  after"]
    for number, (mode, one) in enumerate(steps, 1):
        told = f"{one.step:<{wide}}  {one.expected:<31}  {one.seen:<31}  {duration(one.seconds)}"
        lines.append(f"{number:>2} {mode:<9}{told}")
        lines.extend([f"            {one.reason}"] if one.reason else [])
    first, *others = [_rows(outcome) for outcome in outcomes]
    lines.append("")
    for (name, value), *rest in zip(first, *others, strict=True):
        values = [value, *(value for _, value in rest)]
        lines.append(f"{name:<36}" + "".join(f"{value:>12}" for value in values))
    return "\n".join(lines)


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    before, during = outcome.before, outcome.during
    return [
        ("mode", outcome.mode),
        ("time for all", duration(outcome.seconds)),
        ("requests sent", f"{before.sent + during.sent:,}"),
        ("  failed", str(len(outcome.failed))),
        ("  answers that disagree", str(outcome.disagreeing_answers)),
        *latency_rows(before, during),
        ("lines of the audit log", str(outcome.audited)),
        ("  attacks that it does not tell", str(len(outcome.unaudited))),
    ]


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog="tools/demo-agents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known.add_argument("--clients", type=int, default=16, metavar="N", help="of each kind (16)")
    add_format(known)
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    outcomes = []
    with stoppable():
        for mode, steps in (("poll", IN_POLL_MODE), ("explicit", IN_EXPLICIT_MODE)):
            line = Line(f"{len(steps)} steps in {mode} mode", out=sys.stderr)
            try:
                outcomes.append(
                    run(
                        mode,
                        steps,
                        unary_clients=chosen.clients,
                        streams=chosen.clients,
                        line=line,
                    )
                )
            except (CommandError, ServerProcessError, TimeoutError) as error:
                line.end("failed")
                print(f"error: {error}", file=sys.stderr)
                return 1
            line.end(duration(line.seconds))
    is_json = chosen.format == "json"
    print(json.dumps([asdict(one) for one in outcomes]) if is_json else table(outcomes))
    for outcome in outcomes:
        for text in outcome.troubles:
            print(f"WRONG in {outcome.mode} mode: {text}", file=sys.stderr)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
