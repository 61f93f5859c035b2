import pytest

from interlock.pb import grpc_service_pb2 as pb
from tests.support.command_line import CommandLine
from tests.support.scripted_server import scripted_server


def settings() -> pb.LogSettingsResponse:
    answer = pb.LogSettingsResponse()
    answer.settings["log_info"].bool_param = True
    answer.settings["log_verbose_level"].uint32_param = 0
    answer.settings["log_file"].string_param = ""
    return answer


def test_shows_the_settings(command_line: CommandLine) -> None:
    with scripted_server({"LogSettings": settings()}) as server:
        as_text = command_line.ask(server, ["logs"])
        as_json = command_line.ask(server, ["logs", "-o=json"])

        assert not server.seen[0].settings
    assert as_text.out == "log_file=\nlog_info=true\nlog_verbose_level=0\n"
    assert as_json.json == {"log_file": "", "log_info": True, "log_verbose_level": 0}


def test_changes_settings(command_line: CommandLine) -> None:
    changes = ["log_info=FALSE", "log_verbose_level=2", "log_format=json"]
    with scripted_server({"LogSettings": settings()}) as server:
        printed = command_line.ask(server, ["logs", *changes])

        sent = server.seen[0].settings
        assert printed.code == 0
        assert sent["log_info"].WhichOneof("parameter_choice") == "bool_param"
        assert not sent["log_info"].bool_param
        assert sent["log_verbose_level"].uint32_param == 2
        assert sent["log_format"].string_param == "json"


@pytest.mark.parametrize("word", ["log_info", "=true"])
def test_a_setting_has_a_key_and_a_value(command_line: CommandLine, word: str) -> None:
    printed = command_line.run("logs", word)

    assert printed.code == 2
    assert f"'{word}' is no setting: write KEY=VALUE" in printed.err
