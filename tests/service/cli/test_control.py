"""`interlock get`, `describe` and `watch`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.message import Message

from interlock.client import control
from interlock.pb import control_pb2 as pb, grpc_service_pb2
from tests.support.command_line import CommandLine
from tests.support.scripted_server import Answer, Refusal, scripted_server

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
WRITTEN = "2030-01-01T12:00:00.000Z"


def state(version: str, phase: pb.Phase, word: str, *, generation: int = 1) -> pb.VersionState:
    return pb.VersionState(
        model="m",
        version=version,
        generation=generation,
        phase=phase,
        state=word,
        reason="because\n of it",
        since=NOON,
    )


def move() -> pb.WatchResponse:
    transition = pb.Transition(
        model="m", version="1", generation=2, to="PHASE_READY", reason="loaded", time=NOON
    )
    setattr(transition, control._FROM, pb.PHASE_PROVING)
    return pb.WatchResponse(transition=transition)


def snapshot(*states: pb.VersionState) -> pb.WatchResponse:
    return pb.WatchResponse(snapshot=pb.WatchResponse.Snapshot(versions=states))


def events() -> Sequence[Message]:
    return [snapshot(state("1", pb.PHASE_LOADING, "LOADING")), move()]


def test_watch_prints_a_line_for_what_is_and_for_each_move(command_line: CommandLine) -> None:
    with scripted_server({"Watch": events()}) as server:
        printed = command_line.ask(server, ["watch", "m"])

        assert server.seen[0].model == "m"
    assert printed.lines == [
        f"{WRITTEN} m/1#1 loading because of it",
        f"{WRITTEN} m/1#2 proving -> ready loaded",
    ]


def test_watch_prints_what_arrives(command_line: CommandLine) -> None:
    arriving = state("2", pb.PHASE_STAGING, "UNAVAILABLE", generation=0)
    over = state("2", pb.PHASE_STAGING, "UNAVAILABLE", generation=0)
    over.reason = ""
    messages = [
        snapshot(arriving),
        pb.WatchResponse(staging=arriving),
        pb.WatchResponse(staging=over),
    ]
    with scripted_server({"Watch": messages}) as server:
        as_text = command_line.ask(server, ["watch", "m"])
        as_json = command_line.ask(server, ["watch", "m", "-o=json"])

    assert as_text.lines == [
        f"{WRITTEN} m/2 staging because of it",
        f"{WRITTEN} m/2 staging because of it",
        f"{WRITTEN} m/2 staging over: complete, or gone",
    ]
    assert [json.loads(line)["event"] for line in as_json.lines] == ["state", "staging", "staging"]


def test_watch_prints_json_line_by_line(command_line: CommandLine) -> None:
    with scripted_server({"Watch": events()}) as server:
        printed = command_line.ask(server, ["watch", "-o=json"])

        assert server.seen[0].model == ""
    first, second = map(json.loads, printed.lines)
    assert (first["event"], first["phase"], first["since"]) == ("state", "loading", WRITTEN)
    assert second == {
        "event": "transition",
        "model": "m",
        "version": "1",
        "generation": 2,
        "from": "proving",
        "to": "ready",
        "reason": "loaded",
        "time": WRITTEN,
    }


def test_a_watch_that_the_server_ends_is_refused(command_line: CommandLine) -> None:
    refusal = Refusal(grpc.StatusCode.UNAVAILABLE, "Server exiting")
    with scripted_server({"Watch": refusal}) as server:
        printed = command_line.ask(server, ["watch"])

    assert printed.code == 1
    assert printed.err == "interlock: UNAVAILABLE: Server exiting\n"


def test_nobody_to_watch_is_no_server(command_line: CommandLine) -> None:
    printed = command_line.run("watch", "--server=localhost:1", "--timeout=5")

    assert printed.code == 3


def test_a_phase_that_is_newer_than_we_are_is_its_number() -> None:
    assert control._phase(99) == "99"


def test_get_shows_each_content_of_a_version(command_line: CommandLine) -> None:
    index = grpc_service_pb2.RepositoryIndexResponse()
    index.models.add(name="m", version="1", state="READY", reason="its successor failed")
    index.models.add(name="never")
    answers: Mapping[str, Answer] = {
        "RepositoryIndex": index,
        "Watch": [
            snapshot(
                state("1", pb.PHASE_READY, "READY"),
                state("1", pb.PHASE_FAILED, "UNAVAILABLE", generation=2),
            )
        ],
    }
    with scripted_server(answers) as server:
        as_text = command_line.ask(server, ["get"])
        as_json = command_line.ask(server, ["get", "m", "-o=json"])

    assert as_text.lines == [
        "NAME VERSION STATE PHASE GENERATION SINCE REASON",
        f"m 1 READY ready 1 {WRITTEN} its successor failed",
        f"m 1 UNAVAILABLE failed 2 {WRITTEN} because of it",
        "never - - - - -",
    ]
    assert [one["generation"] for one in as_json.json["versions"]] == [1, 2]


def test_get_says_when_what_failed_is_tried_again(command_line: CommandLine) -> None:
    index = grpc_service_pb2.RepositoryIndexResponse()
    index.models.add(name="m", version="1", state="UNAVAILABLE", reason="because of it")
    failed = state("1", pb.PHASE_FAILED, "UNAVAILABLE")
    failed.failures = 2
    failed.next_try.FromDatetime(NOON)
    with scripted_server({"RepositoryIndex": index, "Watch": [snapshot(failed)]}) as server:
        as_text = command_line.ask(server, ["get"])
        as_json = command_line.ask(server, ["get", "-o=json"])

    assert as_text.lines[1] == (
        f"m 1 UNAVAILABLE failed 1 {WRITTEN} because of it; next try at {WRITTEN}"
    )
    (told,) = as_json.json["versions"]
    assert (told["failures"], told["next_try"]) == (2, WRITTEN)


def test_retry_asks_for_another_try(command_line: CommandLine) -> None:
    with scripted_server({"Retry": pb.RetryResponse()}) as server:
        as_text = command_line.ask(server, ["retry", "m"])
        as_json = command_line.ask(server, ["retry", "m", "2", "-o=json"])

        assert [(one.model, one.version) for one in server.seen] == [("m", ""), ("m", "2")]
    assert as_text.lines == ["m: serves"]
    assert as_json.json == {"model": "m", "result": "serves"}


def test_a_retry_that_is_refused_says_why(command_line: CommandLine) -> None:
    refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "nothing to try again")
    with scripted_server({"Retry": refusal}) as server:
        printed = command_line.ask(server, ["retry", "m"])

    assert printed.code == 1
    assert printed.err == "interlock: INVALID_ARGUMENT: nothing to try again\n"


def described(**changes: str) -> pb.DescribeResponse:
    answer = pb.DescribeResponse(
        model="m",
        directory="/models/m",
        config_path="/models/m/config.pbtxt",
        version_policy="latest 1",
    )
    for name, value in changes.items():
        setattr(answer, name, value)
    answer.versions.add(version="1", on_disk=True, why_not_ready="not\nselected")
    version = answer.versions.add(version="2", on_disk=True, selected=True)
    serving = state("2", pb.PHASE_READY, "READY")
    version.generations.add(state=serving, leases=3, fingerprint="f", instances=2)
    return answer


def test_describe_shows_why_a_version_is_not_loaded(command_line: CommandLine) -> None:
    with scripted_server({"Describe": described()}) as server:
        printed = command_line.ask(server, ["describe", "m"])

    assert printed.lines == [
        "model: m",
        "directory: /models/m",
        "config: /models/m/config.pbtxt",
        "version policy: latest 1",
        "problem: -",
        "",
        "VERSION ON DISK SELECTED PHASE GENERATION SINCE INSTANCES REQUESTS REASON",
        "1 yes no - - - - - not selected",
        f"2 yes yes ready 1 {WRITTEN} 2 3 because of it",
    ]


def test_describe_shows_what_arrives_sizes_and_digests(command_line: CommandLine) -> None:
    answer = described()
    first, second = answer.versions
    first.staging = first.why_not_ready = "staging: 3 of 4 files"
    second.staging = "staging: settling"
    second.size_bytes = 4096
    second.generations[0].digest = "pending"
    with scripted_server({"Describe": answer}) as server:
        printed = command_line.ask(server, ["describe", "m"])

    assert printed.lines[-5:] == [
        "1 yes no staging - - - - staging: 3 of 4 files",
        f"2 yes yes ready 1 {WRITTEN} 2 3 because of it",
        "version 2: 4096 bytes on disk",
        "version 2, next content: staging: settling",
        "version 2#1: digest pending",
    ]


def test_describe_shows_what_agents_said(command_line: CommandLine) -> None:
    answer = described()
    verdict = answer.versions[1].generations[0].verdict
    verdict.outcome, verdict.reason = "refused", "the agent 'checksum'\nrefuses it"
    verdict.agents.add(name="signature", passed=True, notes={"signer": "release", "key": "k"})
    verdict.agents.add(name="checksum", passed=False, reason="Mismatched\nfile hash")
    with scripted_server({"Describe": answer}) as server:
        printed = command_line.ask(server, ["describe", "m"])
        told = command_line.ask(server, ["describe", "m", "-o=json"]).json

    assert printed.lines[-3:] == [
        "version 2#1: agent signature passed; key=k; signer=release",
        "version 2#1: agent checksum refused: Mismatched file hash",
        "version 2#1: verdict refused: the agent 'checksum' refuses it",
    ]
    assert told["versions"][1]["generations"][0]["verdict"] == {
        "outcome": "refused",
        "reason": "the agent 'checksum'\nrefuses it",
        "agents": [
            {
                "name": "signature",
                "passed": True,
                "reason": "",
                "notes": {"key": "k", "signer": "release"},
            },
            {"name": "checksum", "passed": False, "reason": "Mismatched\nfile hash", "notes": {}},
        ],
    }


def test_describe_in_json_has_everything(command_line: CommandLine) -> None:
    with scripted_server({"Describe": described()}) as server:
        told = command_line.ask(server, ["describe", "m", "-o=json"]).json

    assert told["versions"][0]["why_not_ready"] == "not\nselected"
    assert told["versions"][1]["generations"][0]["fingerprint"] == "f"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"config_path": ""}, "config: made up from the model's files"),
        ({"directory": "", "config_path": ""}, "directory: not in the repository"),
        ({"problem": "no\nroom"}, "problem: no room"),
    ],
)
def test_describe_says_what_is_not_there(
    command_line: CommandLine, changes: dict[str, str], line: str
) -> None:
    with scripted_server({"Describe": described(**changes)}) as server:
        assert line in command_line.ask(server, ["describe", "m"]).lines


def test_plan_shows_what_a_load_would_do(command_line: CommandLine) -> None:
    answer = pb.PlanResponse()
    answer.steps.add(version="1", generation=1, effect="EFFECT_UNLOAD", reason="old")
    answer.steps.add(version="2", generation=1, effect="EFFECT_LOAD", reason="new")
    with scripted_server({"Plan": answer}) as server:
        as_text = command_line.ask(server, ["plan", "m"])
        as_json = command_line.ask(server, ["plan", "m", "-o=json"])

    assert as_text.lines == [
        "WOULD VERSION GENERATION REASON",
        "unload 1 1 old",
        "load 2 1 new",
    ]
    assert as_json.json["steps"][1]["effect"] == "load"


def test_plan_says_which_hold_a_load_would_end(command_line: CommandLine) -> None:
    with scripted_server({"Plan": pb.PlanResponse(hold="held: rolled back")}) as server:
        printed = command_line.ask(server, ["plan", "m"])

    assert printed.lines[0] == "a load would end this: held: rolled back"


def test_describe_says_that_a_model_is_held(command_line: CommandLine) -> None:
    with scripted_server({"Describe": described(hold="held: rolled back")}) as server:
        assert "hold: held: rolled back" in command_line.ask(server, ["describe", "m"]).lines


@pytest.mark.parametrize(
    ("was_warm", "how"), [(True, "it was loaded still"), (False, "its files were loaded again")]
)
def test_rollback_says_where_it_went_and_what_is_held(
    command_line: CommandLine, was_warm: bool, how: str
) -> None:
    answer = pb.RollbackResponse(versions=["1", "2"], was_warm=was_warm, hold="held: for now")
    with scripted_server({"Rollback": answer}) as server:
        as_text = command_line.ask(server, ["rollback", "m"])
        as_json = command_line.ask(server, ["rollback", "m", "2", "-o=json"])

    assert as_text.lines == [f"rolled back m to version 1, 2: {how}", "held: for now"]
    assert as_json.json == {
        "model": "m",
        "event": "rolled back",
        "versions": ["1", "2"],
        "was_warm": was_warm,
        "hold": "held: for now",
    }
    assert server.seen == [
        pb.RollbackRequest(model="m"),
        pb.RollbackRequest(model="m", version="2"),
    ]


def test_rollback_releases_a_hold(command_line: CommandLine) -> None:
    with scripted_server({"Rollback": pb.RollbackResponse()}) as server:
        as_text = command_line.ask(server, ["rollback", "m", "--release"])
        as_json = command_line.ask(server, ["rollback", "m", "--release", "-o=json"])

    assert as_text.out == "released m\n"
    assert as_json.json == {"model": "m", "event": "released"}
    assert server.seen == 2 * [pb.RollbackRequest(model="m", release=True)]


def test_a_release_names_no_version(command_line: CommandLine) -> None:
    printed = command_line.run("rollback", "m", "2", "--release")

    assert printed.code == 2
    assert "--release ends the hold on the model: it goes without a VERSION" in printed.err
