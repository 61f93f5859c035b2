from pathlib import Path

import grpc
import pytest

from interlock.pb import grpc_service_pb2 as pb
from tests.support.command_line import CommandLine
from tests.support.scripted_server import Refusal, scripted_server


def test_lists_every_model_with_its_state(command_line: CommandLine) -> None:
    answer = pb.RepositoryIndexResponse()
    answer.models.add(name="m", version="1", state="READY")
    answer.models.add(name="m", version="2", state="UNAVAILABLE", reason="Internal: no\n  file\n")
    answer.models.add(name="never-loaded")
    with scripted_server({"RepositoryIndex": answer}) as server:
        as_text = command_line.ask(server, ["index"])
        as_json = command_line.ask(server, ["index", "--ready", "-o=json"])

        assert [request.ready for request in server.seen] == [False, True]
    assert as_text.lines == [
        "NAME VERSION STATE REASON",
        "m 1 READY",
        "m 2 UNAVAILABLE Internal: no file",
        "never-loaded - -",
    ]
    assert as_json.json["models"][1]["reason"] == "Internal: no\n  file\n"


def test_loads_a_model(command_line: CommandLine) -> None:
    answers = {"RepositoryModelLoad": pb.RepositoryModelLoadResponse()}
    with scripted_server(answers) as server:
        as_text = command_line.ask(server, ["load", "m"])
        as_json = command_line.ask(server, ["load", "m", "-o=json"])

        assert server.seen[0].model_name == "m"
    assert (as_text.code, as_text.out) == (0, "loaded m\n")
    assert as_json.json == {"model": "m", "event": "loaded"}


def test_unloads_a_model(command_line: CommandLine) -> None:
    answers = {"RepositoryModelUnload": pb.RepositoryModelUnloadResponse()}
    with scripted_server(answers) as server:
        printed = command_line.ask(server, ["unload", "m"])

        assert server.seen[0].model_name == "m"
    assert (printed.code, printed.out) == (0, "unloaded m\n")


def test_a_failed_load_tells_why_in_one_line(command_line: CommandLine) -> None:
    text = "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no;\n"
    refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
    with scripted_server({"RepositoryModelLoad": refusal}) as server:
        printed = command_line.ask(server, ["load", "m"])

    assert printed.code == 1
    assert printed.err == f"interlock: INVALID_ARGUMENT: {text}"


def test_a_load_brings_what_it_is_told_to(command_line: CommandLine, tmp_path: Path) -> None:
    config, model = tmp_path / "config.json", tmp_path / "here.onnx"
    config.write_text('{"backend": "onnxruntime"}')
    model.write_bytes(b"graph")
    words = ["load", "m", f"--config={config}", "--file", f"1/model.onnx={model}"]
    words += ["--versions=1,2", "--force", "--no-wait"]
    with scripted_server({"RepositoryModelLoad": pb.RepositoryModelLoadResponse()}) as server:
        printed = command_line.ask(server, words)

        sent = server.seen[0].parameters
        assert sent["config"].string_param == '{"backend": "onnxruntime"}'
        assert sent["file:1/model.onnx"].bytes_param == b"graph"
        assert sent["versions"].string_param == "1,2"
        assert sent["force"].bool_param
        assert sent["wait"].WhichOneof("parameter_choice") == "bool_param"
        assert not sent["wait"].bool_param
    assert (printed.code, printed.out) == (0, "loading m\n")


def test_a_load_says_what_the_policy_has_against_the_model(command_line: CommandLine) -> None:
    with scripted_server({"RepositoryModelLoad": pb.RepositoryModelLoadResponse()}) as server:
        server.trailers["interlock-policy-warning"] = "policy: Gr%C3%B6%C3%9Fe%0A100 %25"
        printed = command_line.ask(server, ["load", "m"])

    assert (printed.code, printed.out) == (0, "loaded m\n")
    assert printed.err == "interlock load: policy: Größe 100 %\n"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--file", "1/x=/dev/null"], "--file needs --config as well"),
        (["--config=/gone.json"], "cannot read /gone.json: No such file or directory"),
        (
            ["--config=/dev/null", "--file", "1/x"],
            "--file 1/x: must be PATH=LOCAL, as in 1/model.onnx=./model.onnx",
        ),
    ],
)
def test_a_load_that_cannot_be_sent_is_wrong_usage(
    command_line: CommandLine, flags: list[str], text: str
) -> None:
    with scripted_server({}) as server:
        printed = command_line.ask(server, ["load", "m", *flags])

    assert (printed.code, printed.err) == (2, f"interlock: {text}\n")


def test_an_unload_waits_when_it_is_told_to(command_line: CommandLine) -> None:
    with scripted_server({"RepositoryModelUnload": pb.RepositoryModelUnloadResponse()}) as server:
        command_line.ask(server, ["unload", "m", "--wait"])

        assert server.seen[0].parameters["wait"].bool_param


def test_an_unload_that_waited_says_how_much_it_gave_back(command_line: CommandLine) -> None:
    with scripted_server({"RepositoryModelUnload": pb.RepositoryModelUnloadResponse()}) as server:
        server.trailers["interlock-bytes-freed"] = "4096"
        as_text = command_line.ask(server, ["unload", "m", "--wait"])
        as_json = command_line.ask(server, ["unload", "m", "--wait", "-o=json"])

    assert as_text.out == "unloaded m, the process shrank by 4096 bytes\n"
    assert as_json.json == {"model": "m", "event": "unloaded", "bytes_freed": 4096}
