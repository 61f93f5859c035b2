"""`interlock get`, `describe`, `plan`, `watch`, `retry`, `rollback`: versions, and how to help."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace

from interlock.cli.connection_flags import add_client_verb
from interlock.cli.interrupt import interrupt_is_the_end
from interlock.cli.output import one_line, table, write, write_json, write_json_line
from interlock.cli.verb import DONE, SubParsers, UsageError
from interlock.client import control, repository
from interlock.client.calls import Client

_READY = "READY"


def add_parser(subparsers: SubParsers) -> None:
    parser = add_client_verb(
        subparsers, "get", _get, summary="list models with what each version does", timeout_s=30
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", default="")
    parser = add_client_verb(
        subparsers,
        "describe",
        _describe,
        summary="show all of one model, and why a version is not loaded",
        timeout_s=30,
    )
    parser.add_argument("model", metavar="MODEL")
    parser = add_client_verb(
        subparsers,
        "plan",
        _plan,
        summary="show what loading a model now would do, without doing it",
        timeout_s=30,
    )
    parser.add_argument("model", metavar="MODEL")
    parser = add_client_verb(
        subparsers,
        "retry",
        _retry,
        summary="try again now what failed of a model, and wait until it serves",
        timeout_s=None,
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("version", metavar="VERSION", nargs="?", default="")
    parser = add_client_verb(
        subparsers,
        "rollback",
        _rollback,
        summary="serve what a model served before, and hold that until its content changes",
        timeout_s=None,
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "version",
        metavar="VERSION",
        nargs="?",
        default="",
        help="go back to this version as it served last [what served before the last change]",
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="end the hold; in poll mode what the repository has is served again",
    )
    parser = add_client_verb(
        subparsers,
        "watch",
        _watch,
        summary="print each move of a version as it happens, until interrupted",
        timeout_s=None,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", default="")


def _get(arguments: argparse.Namespace, client: Client) -> int:
    states: dict[tuple[str, str], list[control.VersionState]] = {}
    for state in control.states(client, arguments.model):
        states.setdefault((state.model, state.version), []).append(state)
    lines = [
        line
        for entry in repository.index(client, ready=False)
        if arguments.model in {"", entry.name}
        for line in _lines(entry, states.get((entry.name, entry.version), []))
    ]
    if arguments.format == "json":
        write_json({"versions": [asdict(line) for line in lines]})
        return DONE
    head = ("NAME", "VERSION", "STATE", "PHASE", "GENERATION", "SINCE", "REASON")
    write(table(head, map(_row, lines)))
    return DONE


def _lines(
    entry: repository.IndexEntry, states: list[control.VersionState]
) -> Iterator[control.VersionState]:
    """Yield a line for each content of a version, or one where there is none."""
    if not states:
        yield control.VersionState(entry.name, entry.version, 0, "", entry.state, entry.reason, "")
    for state in states:
        # The index says of what serves why its successor does not.
        reason = entry.reason if state.state == _READY else state.reason
        yield replace(state, reason=reason)


def _row(line: control.VersionState) -> tuple[str, ...]:
    return (
        line.model,
        line.version or "-",
        line.state or "-",
        line.phase or "-",
        str(line.generation or "-"),
        line.since or "-",
        _reason(line),
    )


def _reason(state: control.VersionState) -> str:
    """Return the reason in one line, with when it is tried again."""
    reason = one_line(state.reason)
    return f"{reason}; next try at {state.next_try}" if state.next_try else reason


def _describe(arguments: argparse.Namespace, client: Client) -> int:
    description = control.describe(client, arguments.model)
    if arguments.format == "json":
        write_json(asdict(description))
        return DONE
    facts = [
        ("model", description.model),
        ("directory", description.directory or "not in the repository"),
        ("config", description.config_path or "made up from the model's files"),
        ("version policy", description.version_policy or "-"),
        ("problem", one_line(description.problem) or "-"),
    ]
    if description.hold:
        facts.append(("hold", one_line(description.hold)))
    if not description.directory:
        del facts[2]
    for name, value in facts:
        write(f"{name}: {value}")
    write("")
    known = ("PHASE", "GENERATION", "SINCE", "INSTANCES", "REQUESTS", "REASON")
    head = ("VERSION", "ON DISK", "SELECTED", *known)
    write(table(head, (row for version in description.versions for row in _version_rows(version))))
    for line in (line for version in description.versions for line in _remarks(version)):
        write(line)
    return DONE


def _remarks(version: control.Version) -> Iterator[str]:
    """Yield what a line of the table has no room for."""
    if version.size_bytes:
        yield f"version {version.version}: {version.size_bytes} bytes on disk"
    if version.staging and version.generations:
        yield f"version {version.version}, next content: {one_line(version.staging)}"
    for generation in version.generations:
        number = f"{version.version}#{generation.state.generation}"
        if generation.digest:
            yield f"version {number}: digest {generation.digest}"
        if generation.verdict is not None:
            yield from _verdict_lines(number, generation.verdict)


def _verdict_lines(number: str, verdict: control.Verdict) -> Iterator[str]:
    for agent in verdict.agents:
        word = "passed" if agent.passed else f"refused: {one_line(agent.reason)}"
        notes = "".join(f"; {name}={one_line(value)}" for name, value in agent.notes.items())
        yield f"version {number}: agent {agent.name} {word}{notes}"
    reason = f": {one_line(verdict.reason)}" if verdict.reason else ""
    yield f"version {number}: verdict {verdict.outcome}{reason}"


def _version_rows(version: control.Version) -> Iterator[tuple[str, ...]]:
    facts = (version.version, _yes_no(version.on_disk), _yes_no(version.selected))
    if not version.generations:
        phase = "staging" if version.staging else "-"
        yield (*facts, phase, "-", "-", "-", "-", one_line(version.why_not_ready))
    newest = version.generations[-1] if version.generations else None
    for generation in version.generations:
        state = generation.state
        reason = version.why_not_ready if generation is newest else ""
        yield (
            *facts,
            state.phase,
            str(state.generation),
            state.since or "-",
            str(generation.instances or "-"),
            str(generation.leases),
            one_line(reason or state.reason),
        )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _plan(arguments: argparse.Namespace, client: Client) -> int:
    plan = control.plan(client, arguments.model)
    if arguments.format == "json":
        write_json(asdict(plan))
        return DONE
    steps = plan.steps
    if plan.hold:
        write(f"a load would end this: {one_line(plan.hold)}")
    rows = [(one.effect, one.version, str(one.generation), one_line(one.reason)) for one in steps]
    write(table(("WOULD", "VERSION", "GENERATION", "REASON"), rows))
    return DONE


def _retry(arguments: argparse.Namespace, client: Client) -> int:
    control.retry(client, arguments.model, arguments.version)
    if arguments.format == "json":
        write_json({"model": arguments.model, "result": "serves"})
    else:
        write(f"{arguments.model}: serves")
    return DONE


def _rollback(arguments: argparse.Namespace, client: Client) -> int:
    model = arguments.model
    if arguments.release and arguments.version:
        raise UsageError("--release ends the hold on the model: it goes without a VERSION")
    if arguments.release:
        control.release(client, model)
        if arguments.format == "json":
            write_json({"model": model, "event": "released"})
        else:
            write(f"released {model}")
        return DONE
    done = control.roll_back(client, model, arguments.version)
    if arguments.format == "json":
        write_json({"model": model, "event": "rolled back", **asdict(done)})
        return DONE
    how = "it was loaded still" if done.was_warm else "its files were loaded again"
    write(f"rolled back {model} to version {', '.join(done.versions)}: {how}")
    write(one_line(done.hold))
    return DONE


def _watch(arguments: argparse.Namespace, client: Client) -> int:
    with interrupt_is_the_end():
        for event in control.watch(client, arguments.model):
            if isinstance(event, control.Move):
                _write_move(event, is_json=arguments.format == "json")
                continue
            if isinstance(event, control.VersionState):
                _write_staging(event, is_json=arguments.format == "json")
                continue
            for state in event:
                _write_state(state, is_json=arguments.format == "json")
    return DONE


def _write_move(move: control.Move, *, is_json: bool) -> None:
    if is_json:
        write_json_line({"event": "transition", **move.as_plain()})
        return
    name = f"{move.model}/{move.version}#{move.generation}"
    write(
        f"{move.time}  {name}  {move.before} -> {move.after}  {one_line(move.reason)}", flush=True
    )


def _write_staging(state: control.VersionState, *, is_json: bool) -> None:
    if is_json:
        write_json_line({"event": "staging", **asdict(state)})
        return
    reason = one_line(state.reason) or "over: complete, or gone"
    write(f"{state.since}  {state.model}/{state.version}  staging  {reason}", flush=True)


def _write_state(state: control.VersionState, *, is_json: bool) -> None:
    if is_json:
        write_json_line({"event": "state", **asdict(state)})
        return
    number = f"#{state.generation}" if state.generation else ""
    name = f"{state.model}/{state.version}{number}"
    write(f"{state.since or '-'}  {name}  {state.phase}  {_reason(state)}", flush=True)
