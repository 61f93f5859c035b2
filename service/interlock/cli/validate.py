"""`interlock validate`: say, without a server, what would be wrong with a repository."""

import argparse
import contextlib
import difflib
import json
import sys
import textwrap
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Final, TextIO

from interlock.backends.base import OpenedModel, VersionFiles
from interlock.backends.catalog import Catalog, built_in
from interlock.cli.examination import Examination, Finding, OpenModel, Severity, unreadable
from interlock.cli.key_flags import add_key_directory, add_key_sources
from interlock.cli.rehearsal import DECRYPT, SIGNATURE, Agents, Rehearsal
from interlock.cli.verb import SubParsers, add_format
from interlock.control.agent_pool import AgentPool
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError, ServiceError
from interlock.repository import layout
from interlock.repository.scratch import Scratch
from interlock.repository.snapshot import RepositorySnapshot, read_repository
from interlock.settings import AgentSettings, SettingsError
from interlock_agents.built_in import built_in_offers
from interlock_agents.catalog import AgentCatalog
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.key_sources import KeyRing, ring_of
from interlock_agents.locked_memory import LockedMemory
from interlock_agents.signing.signers import NoSigners, SignerDirectory

FINE: Final = 0
PROBLEMS: Final = 1
UNUSABLE: Final = 2

_DESCRIPTION: Final = """\
Looks at every model of a repository as a server would, and says what is wrong: a broken
configuration with the line and what to write instead, a shape or type that contradicts the
model file, files and versions that are missing, a backend that is not there. Repository
agents are asked as a load asks them; what a server has for them (keys, signers, agents of
your own) is to be named here too, or what they would need it for is not examined.
"""
_EPILOG: Final = """\
Exit code: 0 if every model would load (warnings aside), 1 if one would not, 2 if the
repository cannot be read or the arguments are wrong.
"""
_RANK: Final = {Severity.OK: 0, Severity.WARNING: 1, Severity.ERROR: 2}


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "validate",
        help="check a model repository without a server",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="its directory")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="look at this model only; may be repeated",
    )
    add_format(parser)
    parser.add_argument(
        "--disable-auto-complete-config",
        action="store_true",
        help="take configurations as they are, as the server's flag of that name does",
    )
    parser.add_argument(
        "--model-config-name",
        default="",
        metavar="NAME",
        help="use configs/NAME.pbtxt where a model has it",
    )
    parser.add_argument(
        "--repoagent-directory",
        type=Path,
        metavar="DIRECTORY",
        help="as for the server: DIRECTORY/NAME/agent.py is the agent NAME",
    )
    parser.add_argument(
        "--agent-timeout-secs",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait no longer for a repository agent; 0 waits for ever",
    )
    add_key_directory(parser, is_required=False)
    add_key_sources(parser)
    parser.add_argument(
        "--signer-directory",
        type=Path,
        metavar="DIRECTORY",
        help="as for the server: DIRECTORY/NAME.pem is whom the agent 'signature' trusts",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock validate` and return the exit code."""
    # What backends log while they open a model does not belong into the report.
    with contextlib.redirect_stdout(sys.stderr):
        snapshot = read_repository([args.repository], config_name=args.model_config_name)
        complaint = _complaint(args.repository, snapshot, args.model)
        if complaint:
            sys.stderr.write(f"interlock validate: {complaint}\n")
            return UNUSABLE
        try:
            settings = _settings(args)
            keys = ring_of(settings.key_directory, settings.key_sources)
        except (EncryptionError, SettingsError) as error:
            sys.stderr.write(f"interlock validate: {error}\n")
            return UNUSABLE
        with closing(Scratch()) as scratch:
            findings = examine(
                args.repository,
                snapshot,
                BackendOpener(built_in()),
                _agents(settings, keys, scratch, config_name=args.model_config_name),
                models=args.model,
                auto_complete=not args.disable_auto_complete_config,
            )
    write = _write_json if args.format == "json" else _write_text
    write(findings, sys.stdout)
    failed = any(finding.severity is Severity.ERROR for finding in findings)
    return PROBLEMS if failed else FINE


def _settings(args: argparse.Namespace) -> AgentSettings:
    return AgentSettings(
        directory=args.repoagent_directory,
        timeout_s=args.agent_timeout_secs,
        key_directory=args.key_directory,
        key_sources=tuple(args.key_source),
        signer_directory=args.signer_directory,
    )


def _agents(
    settings: AgentSettings, keys: KeyRing, scratch: Scratch, *, config_name: str
) -> Rehearsal:
    """Return the agents of a server with these settings."""
    trusted = settings.signer_directory
    signers = NoSigners() if trusted is None else SignerDirectory(trusted)
    has_keys = settings.key_directory is not None or settings.key_sources
    lacking = {DECRYPT: not has_keys, SIGNATURE: trusted is None}
    decryption = Decryption(keys, CoreDumps(), _warn, LockedMemory())
    return Rehearsal(
        AgentCatalog(built_in_offers(decryption, signers), directory=settings.directory),
        AgentPool(timeout_s=settings.timeout_s),
        scratch,
        lacking=frozenset(name for name, lacks in lacking.items() if lacks),
        config_name=config_name,
        searched=settings.directory is not None,
    )


def _warn(text: str) -> None:
    sys.stderr.write(f"interlock validate: {text}\n")


class BackendOpener:
    """Opens a version with the backend that its configuration names."""

    def __init__(self, backends: Catalog) -> None:
        self._backends = backends

    def __call__(self, files: VersionFiles, config: ModelConfig) -> OpenedModel:
        backend = self._backends.find(config.backend, model=config.name)
        try:
            return backend.open(files, config)
        except ServiceError:
            raise
        except Exception as error:  # a plug-in's bug concerns its model alone
            raise InternalError(
                f"backend '{config.backend}' failed: {type(error).__name__}: {error}"
            ) from error


def examine(
    root: Path,
    snapshot: RepositorySnapshot,
    open_model: OpenModel,
    agents: Agents,
    *,
    models: Sequence[str] = (),
    auto_complete: bool = True,
) -> list[Finding]:
    """Return what is to be said about each model, or about those of `models`, by name."""
    findings: list[Finding] = []
    for name in sorted(set(models) or snapshot.models.keys() | _broken(snapshot)):
        source = snapshot.models.get(name)
        if source is None:
            findings.append(unreadable(name, snapshot.problems[name], root))
        else:
            findings += Examination(source, open_model, agents, auto_complete=auto_complete).run()
    return findings


def _broken(snapshot: RepositorySnapshot) -> set[str]:
    return {name for name in snapshot.problems if "/" not in name}


def _complaint(root: Path, snapshot: RepositorySnapshot, models: Sequence[str]) -> str:
    """Return why there is nothing to examine, "" if there is."""
    problem = snapshot.problems.get(str(root.absolute()))
    if problem:
        return problem
    names = snapshot.models.keys() | _broken(snapshot)
    for model in models:
        if model not in names:
            near = difflib.get_close_matches(model, sorted(names), n=1)
            return f"{root} has no model '{model}'" + (f"; is it '{near[0]}'?" if near else "")
    if layout.config_path(root) is not None:
        return (
            f"{root} is a model's own directory (it holds config.pbtxt): name the repository "
            f"around it, {root.absolute().parent}"
        )
    return ""


def _write_json(findings: Sequence[Finding], out: TextIO) -> None:
    json.dump([_as_json(finding) for finding in findings], out, indent=2, ensure_ascii=False)
    out.write("\n")


def _as_json(finding: Finding) -> dict[str, object]:
    entry: dict[str, object] = {
        "model": finding.model,
        "version": finding.version,
        "severity": finding.severity.value,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
    }
    if finding.hint:
        entry["hint"] = finding.hint
    if finding.unexamined:
        entry["unexamined"] = list(finding.unexamined)
    return entry


def _write_text(findings: Sequence[Finding], out: TextIO) -> None:
    worst: list[Severity] = []
    for model, group in groupby(findings, key=lambda finding: finding.model):
        of_model = list(group)
        severity = max((one.severity for one in of_model), key=_RANK.__getitem__)
        worst.append(severity)
        out.write(f"{severity.value:<8} {model}{_served(of_model)}\n")
        for finding in of_model:
            if finding.severity is not Severity.OK:
                out.write(textwrap.indent(_detail(finding), "    "))
    counts = [(worst.count(severity), severity.value) for severity in Severity]
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    out.write(f"{len(worst)} model{'' if len(worst) == 1 else 's'}: {told or 'nothing to check'}\n")


def _served(findings: Sequence[Finding]) -> str:
    versions = [str(one.version) for one in findings if one.severity is Severity.OK]
    return f" (version {', '.join(versions)})" if versions else ""


def _detail(finding: Finding) -> str:
    version = f"version {finding.version}: " if finding.version is not None else ""
    place = f"{finding.path}:{finding.line}:{finding.column}" if finding.line else finding.path
    lines = [version + finding.message, place, finding.excerpt, finding.hint]
    return "".join(f"{line}\n" for line in lines if line)
