"""`interlock agents`: list the repository agents that a server would have, and what they take."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.cli.output import one_line, table, write, write_json
from interlock.cli.verb import WRONG_USAGE, SubParsers, add_format, refuse
from interlock_agents.api import AgentError, Parameter
from interlock_agents.built_in import built_in_offers
from interlock_agents.catalog import AgentCatalog, KnownAgent
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.key_sources import ring_of
from interlock_agents.locked_memory import LockedMemory
from interlock_agents.signing.signers import NoSigners

FINE: Final = 0
PROBLEMS: Final = 1

_DESCRIPTION: Final = """\
Lists the repository agents that a model may name in its config.pbtxt: those that are built
in, those of a directory, and those of installed packages. Imports all of them.
"""
_EPILOG: Final = "Exit code: 0, 1 if one of them cannot be imported, 2 for wrong usage."


@dataclass(frozen=True, slots=True)
class _Agent:
    name: str
    origin: str
    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    error: str = ""


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "agents",
        help="list the repository agents and what they take",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--repoagent-directory",
        type=Path,
        metavar="DIRECTORY",
        help="as for the server: DIRECTORY/NAME/agent.py is the agent NAME",
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock agents` and return the exit code."""
    directory: Path | None = args.repoagent_directory
    if directory is not None and not directory.is_dir():
        return refuse("agents", f"{directory} is no directory", WRONG_USAGE)
    built_in = built_in_offers(_no_keys(), NoSigners())
    catalog = AgentCatalog(built_in, directory=directory)
    agents = [_known(catalog.find(name)) for name in catalog.names()]
    if args.format == "json":
        write_json([_as_json(agent) for agent in agents])
    else:
        write(
            table(("AGENT", "FROM", "PARAMETER", ""), (row for one in agents for row in _rows(one)))
        )
    for agent in agents:
        if agent.error:
            sys.stderr.write(f"interlock agents: {one_line(agent.error)}\n")
    return PROBLEMS if any(agent.error for agent in agents) else FINE


def _no_keys() -> Decryption:
    """Return what `decrypt` agents would share; none is asked to do anything here."""
    return Decryption(ring_of(None, ()), CoreDumps(), lambda _: None, LockedMemory())


def _known(agent: KnownAgent) -> _Agent:
    try:
        offer = agent.offer()
    except AgentError as error:
        return _Agent(agent.name, agent.origin, error=str(error))
    return _Agent(agent.name, agent.origin, offer.summary, tuple(offer.parameters))


def _rows(agent: _Agent) -> Iterator[tuple[str, str, str, str]]:
    said = "cannot be imported" if agent.error else agent.summary
    yield agent.name, agent.origin, "", one_line(said)
    for parameter in agent.parameters:
        needed = " (required)" if parameter.is_required else ""
        yield "", "", parameter.name, f"{one_line(parameter.summary)}{needed}"


def _as_json(agent: _Agent) -> dict[str, object]:
    entry: dict[str, object] = {"name": agent.name, "from": agent.origin}
    if agent.error:
        return {**entry, "error": agent.error}
    parameters = [
        {"name": one.name, "summary": one.summary, "required": one.is_required}
        for one in agent.parameters
    ]
    return {**entry, "summary": agent.summary, "parameters": parameters}
