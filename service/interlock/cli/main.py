"""The `interlock` command: find the verb, load what it needs, run it, judge how it ended.

With flags alone it serves, so that what was written for tritonserver goes on to work.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from interlock import __version__
from interlock.cli.verb import (
    DONE,
    NO_SERVER,
    REFUSED,
    WRONG_USAGE,
    SubParsers,
    UsageError,
    add_format,
    nearest,
)

if TYPE_CHECKING:
    from interlock.client.calls import RefusedError

# Verb, the module that has it, what `--help` says of it.
_CLIENT_VERBS: Final = (
    ("health", "health", "ask whether the server serves: the check of a container"),
    ("ready", "models", "ask whether the server, or a model, is ready"),
    ("metadata", "models", "show the server, or the tensors of a model"),
    ("config", "models", "show the configuration that a model runs with"),
    ("stats", "models", "show what happened to the requests of one model or of all"),
    ("index", "repository", "list every model with its state"),
    ("get", "control", "list models with what each version does"),
    ("describe", "control", "show all of one model, and why a version is not loaded"),
    ("plan", "control", "show what loading a model now would do, without doing it"),
    ("retry", "control", "try again now what failed of a model"),
    ("rollback", "control", "serve what a model served before, and hold that"),
    ("watch", "control", "print each move of a version as it happens"),
    ("load", "repository", "load a model, or load it anew"),
    ("unload", "repository", "stop serving a model"),
    ("infer", "infer", "send one request to a model"),
    ("golden", "golden", "record a request and its answer, to prove new versions by"),
    ("example", "example", "print a call of a model that can be pasted into a shell"),
    ("logs", "logs", "show or change what the server logs"),
)
_OTHER_VERBS: Final = (
    ("serve", "run the server; may be left out in front of flags"),
    ("validate", "check a model repository without a server"),
    ("manifest", "write down what a model is made of, or compare it with that"),
    ("agents", "list the repository agents and what they take"),
    ("encrypt", "let nobody read a model but who has its key"),
    ("keys", "make, list and rotate the keys of encrypted models"),
    ("sign", "sign the files of a model, for servers that load only what is signed"),
    ("verify", "say who has signed a model, and whether it is what was signed"),
    ("version", "show the version"),
)
_MODULES: Final = {verb: f"interlock.cli.{module}" for verb, module, _ in _CLIENT_VERBS}
_VERBS: Final = tuple(verb for verb, *_ in (*_OTHER_VERBS, *_CLIENT_VERBS))
_LOCAL: Final = ("validate", "manifest", "agents", "encrypt", "keys", "sign", "verify")
"""The verbs that need no server; a module of the same name has each."""
_INTERRUPTED: Final = 130

AddParser = Callable[[SubParsers], None]
"""What each module of this package that has verbs offers."""

_HINTS: Final = {
    "UNAUTHENTICATED": "see --header and --tls-cert",
    "DEADLINE_EXCEEDED": "see --timeout",
}
_HINTS_BY_TEXT: Final = (
    ("triton-grpc-protocol-", "pass it with --header triton-grpc-protocol-<key>=<value>"),
    ("unknown model", "'interlock index' lists the models"),
    ("explicit model load", "the server must run with --model-control-mode=explicit"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _dispatch(words, os.environ)
        sys.stdout.flush()  # here, where a reader that has gone is not yet an error of the exit
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def _dispatch(words: Sequence[str], environment: Mapping[str, str]) -> int:
    first = words[0] if words else "serve"
    if first in _MODULES:
        return _client_verb(words, environment)
    if first in _LOCAL_VERBS:
        return _LOCAL_VERBS[first](words[1:])
    if first == "serve" or first.startswith("-"):
        from interlock.cli.serve import serve

        return serve(words[first == "serve" :], environment)
    return _refuse(f"unknown verb '{first}'{nearest(first, _VERBS)}", WRONG_USAGE)


def _help(_: Sequence[str]) -> int:
    lines = ["usage: interlock VERB [argument | --flag]...", ""]
    lines += [f"  {verb:<10}{summary}" for verb, summary in _OTHER_VERBS]
    lines += ["", "to a running server (--server, INTERLOCK_SERVER):"]
    lines += [f"  {verb:<10}{summary}" for verb, _, summary in _CLIENT_VERBS]
    lines += ["", "'interlock VERB --help' says more. Exit codes: 0 done, 1 refused, 2 wrong"]
    lines += ["usage, 3 no server.", ""]
    sys.stdout.write("\n".join(lines))
    return DONE


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"interlock: {message}\n")
    return code


def _parse(add_parser: AddParser, words: Sequence[str]) -> argparse.Namespace | int:
    """Return the arguments of a verb, or the exit code where argparse has said all."""
    subparsers = argparse.ArgumentParser(prog="interlock").add_subparsers()
    add_parser(subparsers)
    parser = subparsers.choices[words[0]]
    try:
        # Intermixed: what is typed after a flag belongs to NAME=VALUE... all the same.
        arguments, extra = parser.parse_known_intermixed_args(list(words[1:]))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    if not extra:
        return arguments
    spelled = extra[0].split("=", 1)[0]
    known = re.findall(r"--[a-z-]+", parser.format_help())
    kind = "flag" if spelled.startswith("-") else "argument"
    return _refuse(f"{words[0]}: unknown {kind} {spelled}{nearest(spelled, known)}", WRONG_USAGE)


def _version(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="interlock version", description="Show the version.")
    add_format(parser)
    try:
        is_json = parser.parse_args(list(words)).format == "json"
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    text = f'{{"version": "{__version__}"}}' if is_json else f"interlock {__version__}"
    sys.stdout.write(f"{text}\n")
    return DONE


def _local(verb: str, words: Sequence[str]) -> int:
    arguments = _parse(importlib.import_module(f"interlock.cli.{verb}").add_parser, [verb, *words])
    if isinstance(arguments, int):
        return arguments
    code: int = arguments.run(arguments)
    return code


_LOCAL_VERBS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "-h": _help,
    "--help": _help,
    "help": _help,
    "--version": _version,
    "version": _version,
    **{verb: partial(_local, verb) for verb in _LOCAL},
}


def _client_verb(words: Sequence[str], environment: Mapping[str, str]) -> int:
    # Before grpc is imported: what its core would log is said by us, in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    arguments = _parse(importlib.import_module(_MODULES[words[0]]).add_parser, words)
    return arguments if isinstance(arguments, int) else _run(arguments, environment)


def _run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from interlock.cli.connection_flags import connection_of
    from interlock.client.calls import Client, NoServerError, RefusedError
    from interlock.client.connection import ConnectionSettingsError

    server = ""
    try:
        connection = connection_of(arguments, environment)
        server = connection.target
        with Client(connection) as client:
            code: int = arguments.run(arguments, client)
    except (UsageError, ConnectionSettingsError) as error:
        return _refuse(str(error), WRONG_USAGE)
    except NoServerError as error:
        return _refuse(_no_server(server, str(error)), NO_SERVER)
    except RefusedError as error:
        return _refuse(_refusal(error), REFUSED)
    return code


def _no_server(server: str, details: str) -> str:
    return (
        f"no server answers at {server} ({' '.join(details.split())});"
        " see --server and --tls, and whether it runs"
    )


def _refusal(error: "RefusedError") -> str:
    """Return the server's error in one line, with what may help."""
    text = f"{error.status}: {' '.join(error.message.split())}".rstrip(": ")
    if "start the server with" in text:
        return text  # as Triton does not say
    hint = next((hint for part, hint in _HINTS_BY_TEXT if part in error.message), "")
    hint = hint or _HINTS.get(error.status, "")
    return f"{text} ({hint})" if hint else text
