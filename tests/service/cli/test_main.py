import json
import os
import signal
import socket
import subprocess
import sys

import grpc
import pytest

from interlock import __version__
from interlock.cli.main import main
from interlock.pb import grpc_service_pb2 as pb, health_pb2
from tests.support.command_line import CommandLine
from tests.support.scripted_server import Refusal, scripted_server

SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
CLIENT_VERBS = [
    ["health"],
    ["ready"],
    ["metadata"],
    ["config", "m"],
    ["stats"],
    ["index"],
    ["load", "m"],
    ["unload", "m"],
    ["infer", "m", "x=1"],
    ["golden", "record", "m", "--to=x"],
    ["example", "m"],
    ["logs"],
]
by_verb = pytest.mark.parametrize("words", CLIENT_VERBS, ids=[verb[0] for verb in CLIENT_VERBS])


@by_verb
def test_a_refusal_is_one_line_and_code_1(command_line: CommandLine, words: list[str]) -> None:
    with scripted_server({}) as server:
        printed = command_line.ask(server, words)

    assert (printed.code, printed.out) == (1, "")
    assert printed.err == "interlock: UNIMPLEMENTED\n"


@by_verb
def test_no_server_is_one_line_and_code_3(command_line: CommandLine, words: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        printed = command_line.run(*words, "--server", address)

    assert (printed.code, printed.out) == (3, "")
    assert printed.err.startswith(f"interlock: no server answers at {address} (failed to connect")
    assert printed.err.count("\n") == 1


@by_verb
def test_an_unknown_flag_is_code_2_and_names_the_nearest(
    command_line: CommandLine, words: list[str]
) -> None:
    printed = command_line.run(*words, "--sever=x")

    assert printed.code == 2
    assert printed.err == f"interlock: {words[0]}: unknown flag --sever; did you mean --server?\n"


@by_verb
def test_every_verb_tells_how_it_is_used(command_line: CommandLine, words: list[str]) -> None:
    printed = command_line.run(words[0], "--help")

    assert printed.code == 0
    assert printed.out.startswith(f"usage: interlock {words[0]} ")
    for flag in ("--server", "--tls-ca", "--tls-server-name", "--header", "--timeout"):
        assert flag in printed.out
    assert "0 done, 1 refused, 2 wrong usage, 3 no server" in printed.out


def test_a_word_too_many_is_code_2(command_line: CommandLine) -> None:
    printed = command_line.run("load", "m", "n")

    assert (printed.code, printed.err) == (2, "interlock: load: unknown argument n\n")


def test_a_word_too_few_is_code_2(command_line: CommandLine) -> None:
    printed = command_line.run("config")

    assert printed.code == 2
    assert "the following arguments are required: MODEL" in printed.err


def test_an_unknown_verb_is_code_2_and_names_the_nearest(command_line: CommandLine) -> None:
    printed = command_line.run("idnex")

    assert (printed.code, printed.err) == (
        2,
        "interlock: unknown verb 'idnex'; did you mean index?\n",
    )


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_lists_every_verb(command_line: CommandLine, word: str) -> None:
    printed = command_line.run(word)

    assert printed.code == 0
    for verb in (
        "serve",
        "validate",
        "manifest",
        "agents",
        "version",
        *(words[0] for words in CLIENT_VERBS),
    ):
        assert f"\n  {verb} " in printed.out


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_shows_the_version(command_line: CommandLine, words: list[str]) -> None:
    assert command_line.run(*words).out == f"interlock {__version__}\n"


def test_shows_the_version_as_json(command_line: CommandLine) -> None:
    assert command_line.run("version", "-o", "json").json == {"version": __version__}


def test_an_argument_of_version_is_code_2(command_line: CommandLine) -> None:
    assert command_line.run("version", "-o", "yaml").code == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param(
            "Request for unknown model: 'm' is not found",
            "'interlock index' lists the models",
            id="unknown model",
        ),
        pytest.param(
            "explicit model load / unload is not allowed if polling is enabled",
            "the server must run with --model-control-mode=explicit",
            id="control mode",
        ),
        pytest.param(
            "This protocol is restricted, expecting header 'triton-grpc-protocol-key'",
            "pass it with --header triton-grpc-protocol-<key>=<value>",
            id="restricted",
        ),
    ],
)
def test_a_refusal_comes_with_what_may_help(
    command_line: CommandLine, text: str, hint: str
) -> None:
    refusal = Refusal(grpc.StatusCode.UNAVAILABLE, f"{text}\n")
    with scripted_server({"RepositoryModelLoad": refusal}) as server:
        printed = command_line.ask(server, ["load", "m"])

    assert (printed.code, printed.err) == (1, f"interlock: UNAVAILABLE: {text} ({hint})\n")


def test_a_refusal_that_names_the_flag_itself_is_left_alone(command_line: CommandLine) -> None:
    text = "explicit model load / unload is not allowed: start the server with --a-flag"
    refusal = Refusal(grpc.StatusCode.UNAVAILABLE, text)
    with scripted_server({"RepositoryModelLoad": refusal}) as server:
        printed = command_line.ask(server, ["load", "m"])

    assert printed.err == f"interlock: UNAVAILABLE: {text}\n"


def test_the_environment_names_the_server(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server({"Check": SERVING}) as server:
        monkeypatch.setenv("INTERLOCK_SERVER", server.address)
        monkeypatch.setenv("INTERLOCK_HEADERS", "X-User=a,x-team=b")
        printed = command_line.run("health")

        assert (printed.code, printed.out) == (0, "SERVING\n")
        assert server.metadata[0]["x-user"] == "a"
        assert server.metadata[0]["x-team"] == "b"


def test_flags_may_stand_between_arguments(command_line: CommandLine) -> None:
    answer = pb.LogSettingsResponse()
    with scripted_server({"LogSettings": answer}) as server:
        printed = command_line.ask(
            server, ["logs", "log_info=false", "-o", "json", "log_error=true"]
        )

        assert printed.code == 0
        assert set(server.seen[0].settings) == {"log_info", "log_error"}


def test_flags_alone_serve(command_line: CommandLine) -> None:
    printed = command_line.run("--modle-repository", "x")

    assert printed.code == 1
    assert "did you mean --model-repository?" in printed.err


def test_without_a_word_it_serves(command_line: CommandLine) -> None:
    printed = command_line.run()

    assert printed.code == 1
    assert printed.err.startswith("Error: --model-repository is required\nusage: interlock serve ")


def test_validates_a_repository(command_line: CommandLine, tmp_path: os.PathLike[str]) -> None:
    printed = command_line.run("validate", f"{tmp_path}/absent")

    assert printed.code == 2


def test_writes_manifests(command_line: CommandLine, tmp_path: os.PathLike[str]) -> None:
    printed = command_line.run("manifest", f"{tmp_path}/absent")

    assert printed.code == 2


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = "import sys; from interlock.cli.main import main; sys.exit(main(['help']))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        code = process.wait()

    assert (code, err) == (0, b"")


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupted)

    assert main(["help"]) == 128 + signal.SIGINT


def test_prints_json_that_others_can_read(command_line: CommandLine) -> None:
    answer = pb.RepositoryIndexResponse()
    answer.models.add(name="modèle", state="READY")
    with scripted_server({"RepositoryIndex": answer}) as server:
        printed = command_line.ask(server, ["index", "-o", "json"])

    assert json.loads(printed.out)["models"][0]["name"] == "modèle"
