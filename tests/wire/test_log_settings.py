"""LogSettings: spec/protocol.md 15."""

from collections.abc import Iterator

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support.models import Repository
from tests.support.wire import Client, Message, Refusal, WireServer, invalid, serving

Setting = bool | int | str

DEFAULTS: dict[str, Setting] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer]:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("model")
    with serving(repository) as server:
        yield server


@pytest.fixture(autouse=True)
def as_before(client: Client) -> Iterator[None]:
    yield
    change(client, **{key: value for key, value in DEFAULTS.items() if key != "log_file"})


def request(**settings: Setting) -> Message:
    message = pb.LogSettingsRequest()
    for key, value in settings.items():
        match value:
            case bool():
                message.settings[key].bool_param = value
            case int():
                message.settings[key].uint32_param = value
            case str():
                message.settings[key].string_param = value
    return message


def change(client: Client, **settings: Setting) -> dict[str, object]:
    answer = client.call("LogSettings", request(**settings))
    return {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in answer.settings.items()
    }


def test_all_six_settings_are_answered(client: Client) -> None:
    assert change(client) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("log_info", False),
        ("log_warning", False),
        ("log_error", False),
        ("log_verbose_level", 2),
        ("log_format", "ISO8601"),
        ("log_format", "json"),
    ],
)
def test_a_setting_can_be_changed_and_stays(client: Client, key: str, value: Setting) -> None:
    assert change(client, **{key: value}) == {**DEFAULTS, key: value}
    assert change(client) == {**DEFAULTS, key: value}


def test_unknown_settings_are_ignored(client: Client) -> None:
    assert change(client, log_everything=True, log_info=False) == {**DEFAULTS, "log_info": False}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        *(
            pytest.param({key: value}, f"expect boolean for '{key}'", id=f"{key} {value!r}")
            for key in ("log_info", "log_warning", "log_error")
            for value in (1, "true")
        ),
        *(
            pytest.param(
                {"log_verbose_level": value},
                "expect int32 for 'log_verbose_level'",
                id=f"level {value!r}",
            )
            for value in (True, "1")
        ),
        *(
            pytest.param(
                {"log_format": value}, "expect string for 'log_format'", id=f"format {value!r}"
            )
            for value in (True, 1)
        ),
        pytest.param(
            {"log_format": "zzz"}, "invalid argument for log_format, got: zzz", id="no such format"
        ),
        pytest.param(
            {"log_format": "iso8601"},
            "invalid argument for log_format, got: iso8601",
            id="format in another case",
        ),
    ],
)
def test_a_bad_setting_is_refused(client: Client, settings: dict[str, Setting], text: str) -> None:
    assert client.refusal("LogSettings", request(**settings)) == invalid(text)


@pytest.mark.parametrize("value", ["somewhere.log", ""])
def test_the_log_file_cannot_be_changed_and_nothing_with_it(client: Client, value: str) -> None:
    refusal = client.refusal("LogSettings", request(log_info=False, log_file=value))

    assert refusal == Refusal(
        "UNIMPLEMENTED", "log file location can not be updated through network protocol"
    )
    assert change(client) == DEFAULTS


def test_what_is_switched_off_is_not_logged(server: WireServer, client: Client) -> None:
    change(client, log_info=False)
    client.unload("model")
    client.load("model")
    silent = len(server.process.lines)
    change(client, log_info=True, log_format="json")
    client.unload("model")
    server.process.wait_for_log(r"(?m)^\{.*unloaded")

    loud = server.process.lines[silent:]

    assert loud
    assert all(line.startswith("{") for line in loud)
    client.load("model")
