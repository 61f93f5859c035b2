"""What a verb of the command line is made of."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from interlock.client.calls import Client

# The one name that argparse has for it.
SubParsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

DONE: Final = 0
REFUSED: Final = 1
WRONG_USAGE: Final = 2
NO_SERVER: Final = 3

Run = Callable[[argparse.Namespace, "Client"], int]


class UsageError(Exception):
    """The arguments contradict themselves or what the server says of its model."""


def add_format(parser: argparse.ArgumentParser) -> None:
    """Let whoever calls choose how the verb prints: `format` is "text" or "json" then."""
    parser.add_argument(
        "-o", "--format", choices=("text", "json"), default="text", help="how to print [text]"
    )
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as -o json"
    )


def refuse(verb: str, text: str, code: int) -> int:
    """Say why a verb did not do what it was asked to, and return the exit code."""
    sys.stderr.write(f"interlock {verb}: {text}\n")
    return code


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" where something known looks like `word`, else ""."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
