"""Kill servers that load encrypted models, each at another moment, and look at what is left.

Every server follows a repository that changes while it loads, and is killed (SIGKILL) at a
random moment of its first seconds. What it leaves must be open to nobody else and hold nothing
of what was decrypted, and the next server must start, sweep it away and, at the end, serve.
Where strace may trace, every write of every server is looked at too.
"""

import argparse
import json
import random
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from interlock.cli.verb import add_format
from tests.support import onnx_small
from tests.support.models import Repository
from tests.support.secrets import SecretModels, found_on_disk
from tests.support.server_process import LISTENING, ServerProcess
from tests.support.tracing import Trace, why_no_secrets
from tests.support.wire import Client, arrays, given, infer_request, transport_flags
from tools.file_writes import Writes, leaks, stretches

CONFIG: Final = 'backend: "onnxruntime"\nmax_batch_size: 0'
MODELS: Final = ("inline", "outside")
LATEST_S: Final = 2.5
"""After its port is open; by then a server has loaded what there is."""
STRETCHES: Final = 4096
"""Of each model's weights so many bytes are looked for in what was written."""


@dataclass(slots=True)
class Outcome:
    """What came of a storm; `failures` are sentences."""

    rounds: int
    seconds: float = 0.0
    left: int = 0
    """Servers that have left something in the scratch directory."""
    calls: int = 0
    """Of servers, that were looked at."""
    failures: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.failures


class Storm:
    """One repository, one scratch directory, and servers that come and go."""

    def __init__(self, root: Path, chance: random.Random, megabytes: int) -> None:
        self._root = root
        self._chance = chance
        self._count = megabytes * (1 << 20) // 4
        for name in ("repository", "scratch", "home", "work"):
            (root / name).mkdir()
        self._scratch = root / "scratch"
        self._models = SecretModels(Repository(root / "repository"), root / "keys")
        self._published = 0
        self._is_traced = not why_no_secrets()
        self._weights = {model: self._publish(model) for model in MODELS}

    def round(self, outcome: Outcome) -> None:
        """Start a server, change a model, kill the server, and look."""
        change_s, kill_s = sorted(self._chance.uniform(0.0, LATEST_S) for _ in range(2))
        trace = Trace(self._root / "trace") if self._is_traced else None
        process = self._started(trace, wait_for=LISTENING)
        time.sleep(change_s)
        model = self._chance.choice(MODELS)
        self._weights[model] = self._publish(model)
        time.sleep(kill_s - change_s)
        if process.exit_code is not None:
            outcome.failures.append(f"a server ended by itself:\n{process.log[-2000:]}")
        process.kill()
        outcome.left += any(self._scratch.iterdir())
        outcome.failures += self._wrong(
            None if trace is None else trace.writes_of(process), outcome
        )

    def end(self, outcome: Outcome) -> None:
        """Start the last server, which is to serve what was published last."""
        process = self._started(None)
        after = {place.name for place in self._scratch.iterdir()}
        with process, Client(process.address) as client:
            for model, weights in self._weights.items():
                request = infer_request(model, given("x", np.zeros(self._count, "<f4")))
                if arrays(client.infer(request))["y"].tobytes() != weights:
                    outcome.failures.append(f"'{model}' does not serve what was published last")
            if len(after) != 1:
                outcome.failures.append(f"in the scratch directory there is {sorted(after)}")
        outcome.failures += [f"left at the end: {place}" for place in self._scratch.iterdir()]

    def _started(self, trace: Trace | None, **start: str) -> ServerProcess:
        places = ("HOME", "TMPDIR", "XDG_CACHE_HOME")
        return ServerProcess.start(
            [
                f"--model-repository={self._models.repository.root}",
                "--model-control-mode=poll",
                "--repository-poll-secs=0.2",
                "--repository-settle-secs=0.1",
                "--exit-on-error=false",
                f"--scratch-directory={self._scratch}",
                f"--key-directory={self._models.key_directory}",
                *transport_flags(),
            ],
            env=dict.fromkeys(places, str(self._root / "home")),
            cwd=self._root / "work",
            program=() if trace is None else trace.program,
            **start,  # type: ignore[arg-type]
        )

    def _publish(self, model: str) -> bytes:
        self._published += 1
        weights = self._models.weights(f"{model} {self._published}", self._count)
        if model == "inline":
            files = {"1/model.onnx": onnx_small.add_array(weights)}
        else:
            graph, data = onnx_small.external(weights)
            files = {"1/model.onnx": graph, "1/weights.bin": data}
        if (self._models.repository.root / model).exists():
            for path, content in files.items():
                self._models.replace(model, path, content)
        else:
            self._models.put(model, CONFIG, files)
        return weights.tobytes()

    def _wrong(self, writes: Writes | None, outcome: Outcome) -> list[str]:
        wrong = found_on_disk(self._models.markers, own=[self._root])
        for place in self._scratch.iterdir():
            mode = stat.S_IMODE(place.stat().st_mode)
            if mode & 0o077:
                wrong.append(f"'{place}' has the mode {mode:o}")
        if writes is not None:
            outcome.calls += writes.calls
            ends = {name: content[:STRETCHES] for name, content in self._models.secrets.items()}
            wrong += leaks(writes, stretches(ends))
        return wrong


def run(*, rounds: int, seed: int, megabytes: int = 4) -> Outcome:
    """Let so many servers be killed, and one more serve."""
    outcome = Outcome(rounds)
    root = Path(tempfile.mkdtemp(prefix="interlock-storm-"))
    began = time.monotonic()
    try:
        storm = Storm(root, random.Random(seed), megabytes)
        for _ in range(rounds):
            storm.round(outcome)
        storm.end(outcome)
    finally:
        shutil.rmtree(root)
    outcome.seconds = time.monotonic() - began
    return outcome


def table(outcome: Outcome) -> str:
    rows = {
        "servers killed": f"{outcome.rounds} in {outcome.seconds:.0f} s",
        "of these left something": outcome.left,
        "calls that were looked at": outcome.calls or f"none: {why_no_secrets()}",
        "failures": len(outcome.failures),
    }
    return "\n".join(f"{name:<28} {value}" for name, value in rows.items())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/kill_storm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="how many servers are killed (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--megabytes", type=int, default=4, help="the size of each model (4)")
    add_format(parser)
    wanted = parser.parse_args(arguments)
    outcome = run(rounds=wanted.rounds, seed=wanted.seed, megabytes=wanted.megabytes)
    print(json.dumps(asdict(outcome)) if wanted.format == "json" else table(outcome))
    for line in sorted(set(outcome.failures))[:20]:
        print(f"WRONG {line}", file=sys.stderr)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
