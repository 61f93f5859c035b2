"""A server in a process of its own, as the tests of the wire want it.

Which interpreter runs it, and on which transport, the environment says: so the same
tests serve for every release of grpcio that we allow, with the client unchanged.

- `INTERLOCK_TEST_PYTHON`: an interpreter whose environment has `interlock`; this one if unset.
- `INTERLOCK_TEST_TRANSPORT`: what `--grpc-transport` gets; the server's choice if unset.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE_REPOSITORY: Final = ROOT / "examples" / "repository"
STARTED: Final = r"Started GRPCInferenceService at ([\w.:\[\]-]+:\d+)"
LISTENING: Final = r"Listening on ([\w.:\[\]-]+:\d+)"
LOOK_EVERY_S: Final = 0.02
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class ServerProcessError(Exception):
    """The server did not do what the test needs; the text ends with what it logged last."""


class ServerProcess:
    """One running server, for one thread. Use it in a `with` statement, or call `terminate`."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output
        self._last_words = ""
        self.address = ""

    @classmethod
    def start(
        cls,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        program: Sequence[str] = (),
        wait_for: str = STARTED,
        within_s: float = 60.0,
    ) -> Self:
        """Start a server on a free port, and return when it has logged `wait_for`.

        That pattern's first group is the address; `LISTENING` returns before the first loads
        have ended. `args` may repeat any flag that is set here, `env` is added to ours; it runs
        in `cwd`, or where we do; `program` is run instead of the interpreter and the flags that
        the environment asks for.
        Raise `ServerProcessError` if the process ends or the time runs out first.
        """
        # What the server writes goes to a file: a pipe would need somebody who empties it.
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        process = subprocess.Popen(
            [*(program or command()), *args],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        server = cls(process, output)
        try:
            server.address = server.wait_for_log(wait_for, within_s=within_s)[1]
        except BaseException:
            server.kill()
            raise
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one killed it."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """All that it has written so far, without colours."""
        if self._output.closed:
            return self._last_words
        size = os.fstat(self._output.fileno()).st_size
        # pread leaves the position alone, which the server's own writes share.
        return COLOURS.sub("", os.pread(self._output.fileno(), size, 0).decode(errors="replace"))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self.log.splitlines())

    def wait_for_log(self, pattern: str, *, within_s: float = 30.0) -> re.Match[str]:
        """Return the first match in the log, when there is one.

        Raise `ServerProcessError` if the process ends or the time runs out first.
        """
        deadline = time.monotonic() + within_s
        while True:
            # Looked at before the log, so that a last line is not missed.
            ended = self.exit_code
            if found := re.search(pattern, self.log):
                return found
            if ended is not None:
                raise self._failed(f"ended with {ended} before it logged {pattern!r}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not log {pattern!r} within {within_s:g} s")
            time.sleep(LOOK_EVERY_S)

    def wait_for_exit(self, *, within_s: float = 30.0) -> int:
        """Return the exit code. Raise `ServerProcessError`, and kill it, if the time runs out."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            error = self._failed(f"was still there after {within_s:g} s")
            self.kill()
            raise error from None
        self._close()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self, *, within_s: float = 30.0) -> int:
        """Ask it to stop, and return the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait_for_exit(within_s=within_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def cpu_seconds(self) -> float:
        """The time that all its threads, ended ones too, have spent on a processor."""
        # The second field, the command's name, is in brackets and may hold spaces.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """What it has in memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.exit_code is None and kind is None:
            self.terminate()
        else:
            self.kill()

    def _close(self) -> None:
        if not self._output.closed:
            self._last_words = self.log
            self._output.close()

    def _failed(self, what: str) -> ServerProcessError:
        last_lines = "\n".join(self.lines[-30:])
        return ServerProcessError(f"the server {what}; its log ends:\n{last_lines}")


def command() -> list[str]:
    """Return how a server is started here, on a free port of this machine alone."""
    python = os.environ.get("INTERLOCK_TEST_PYTHON") or sys.executable
    transport = os.environ.get("INTERLOCK_TEST_TRANSPORT")
    return [
        python,
        "-m",
        "interlock",
        "--grpc-address=127.0.0.1",
        "--grpc-port=0",
        *([f"--grpc-transport={transport}"] if transport else []),
    ]
