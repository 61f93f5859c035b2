import grpc

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
