"""Take what `tools/quickstart` was told, prepare .venv, and go on inside it.

The first half runs on the system's Python with nothing installed; the second is
`tools/demonstration.py`, which has the server's libraries.
"""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from tools.environment import Project, Purpose, SetupError, prepare

HOST: Final = "127.0.0.1"
DIGITS: Final = range(10)


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog="tools/quickstart",
        description="Install the server into .venv, serve examples/repository on this machine,"
        " and classify a real handwritten digit.",
        epilog="A second run finds everything in place and takes seconds.",
    )
    known.add_argument(
        "--digit",
        type=int,
        choices=DIGITS,
        default=7,
        metavar="N",
        help="the digit to send, 0 to 9 (default: %(default)s)",
    )
    known.add_argument(
        "--grpc-port",
        type=int,
        default=8001,
        metavar="PORT",
        help="where to serve; 0 lets the system choose (default: %(default)s)",
    )
    known.add_argument(
        "--exit",
        action="store_true",
        help="stop after the answer; the exit code is 0 only if it is right",
    )
    return known


def port_trouble(port: int) -> str:
    """Return why nothing can be served on that port; "" if all is well."""
    with socket.socket() as probe:
        # As the server does it: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            return f"{port} is no port; --grpc-port takes 0 to 65535"
        except OSError as error:
            return f"cannot serve on port {port}: {error.strerror}; choose another with --grpc-port"
    return ""


def go_on_inside(project: Project, arguments: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    command = [str(project.python), "-m", "tools.demonstration", *arguments]
    os.execv(command[0], command)


def main(arguments: Sequence[str]) -> int:
    """Come back only with an error; otherwise this process becomes the demonstration."""
    chosen = parser().parse_args(arguments)
    # Asked before the minutes that an installation may take.
    if trouble := port_trouble(chosen.grpc_port):
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    project = Project()
    try:
        prepare(Purpose.SERVE, project)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    go_on_inside(project, arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
