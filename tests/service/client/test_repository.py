from interlock.client.calls import Client
from interlock.client.connection import Connection
from interlock.client.repository import IndexEntry, LogValue, index, load, log_settings, unload
from interlock.pb import grpc_service_pb2 as pb
from tests.support.scripted_server import scripted_server


def test_lists_the_repository() -> None:
    answer = pb.RepositoryIndexResponse()
    answer.models.add(name="m", version="1", state="UNAVAILABLE", reason="unloaded")
    with (
        scripted_server({"RepositoryIndex": answer}) as server,
        Client(Connection(server=server.address)) as client,
    ):
        assert index(client, ready=True) == [IndexEntry("m", "1", "UNAVAILABLE", "unloaded")]
        assert server.seen == [pb.RepositoryIndexRequest(ready=True)]


def test_loads_and_unloads() -> None:
    answers = {
        "RepositoryModelLoad": pb.RepositoryModelLoadResponse(),
        "RepositoryModelUnload": pb.RepositoryModelUnloadResponse(),
    }
    with (
        scripted_server(answers) as server,
        Client(Connection(server=server.address)) as client,
    ):
        load(client, "m")
        unload(client, "m")

        assert server.seen == [
            pb.RepositoryModelLoadRequest(model_name="m"),
            pb.RepositoryModelUnloadRequest(model_name="m"),
        ]


def test_sends_each_log_setting_as_what_it_is() -> None:
    answer = pb.LogSettingsResponse()
    answer.settings["log_verbose_level"].uint32_param = 2
    answer.settings["log_info"].bool_param = False
    answer.settings["log_format"].string_param = "json"
    with (
        scripted_server({"LogSettings": answer}) as server,
        Client(Connection(server=server.address)) as client,
    ):
        changes: dict[str, LogValue] = {
            "log_info": False,
            "log_verbose_level": 2,
            "log_format": "json",
        }

        assert log_settings(client, changes) == changes
        (seen,) = server.seen
        assert seen.settings["log_info"].WhichOneof("parameter_choice") == "bool_param"
        assert seen.settings["log_verbose_level"].uint32_param == 2
        assert seen.settings["log_format"].string_param == "json"
