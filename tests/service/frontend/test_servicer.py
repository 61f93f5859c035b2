"""The RPCs off the hot path, called without a network."""

from collections.abc import Callable, Mapping

import pytest

from interlock.domain.cause import Actor
from interlock.domain.errors import (
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)
from interlock.domain.ids import ModelName, Version
from interlock.domain.readiness import IndexEntry, Readiness, ServerPhase
from interlock.frontend.auditing import Asked
from interlock.frontend.gate import Gate
from interlock.frontend.servicer import Servicer, _asked_to_load
from interlock.pb import grpc_service_pb2 as pb
from interlock.serving.table import ServingTable
from interlock.settings import LogSettings
from interlock.telemetry.logs import LogState
from tests.support.boundary import VERSION, FakeControl, FakeServerState, entry, loaded

WHO = Actor("ipv4:10.0.0.1:5", "CN=ops")


class World:
    """A servicer over a table of two models: `a` serves 1 and 3, `b` serves 2; 2 of `a` failed."""

    def __init__(self) -> None:
        self.table = ServingTable()
        self.state = FakeServerState()
        self.control = FakeControl()
        self.digests: dict[tuple[str, int], str] = {}
        self.servicer = Servicer(
            table=self.table,
            control=self.control,
            state=self.state,
            logs=LogState(LogSettings()),
            gate=Gate(state=self.state),
            version=VERSION,
            digest_of=lambda key: self.digests.get((key.model, key.version), ""),
        )
        self.table.show(
            {
                "b": entry(loaded("b", 2, max_batch_size=8)),
                "a": entry(loaded("a", 3), loaded("a", 1), known=[2]),
                "broken": entry(known=[1]),
            }
        )

    def metadata(self, model: str, version: str = "") -> pb.ModelMetadataResponse:
        request = pb.ModelMetadataRequest(name=model, version=version)
        return self.servicer.model_metadata(request).response


@pytest.fixture
def world() -> World:
    return World()


Call = Callable[[World], object]

NO_NUMBER = (
    "failed to get model version from specified version string 'abc' (details: stol), "
    "version should be an integral value > 0"
)

HEALTH_CALLS = [
    pytest.param(lambda w: w.servicer.server_live(pb.ServerLiveRequest()), id="ServerLive"),
    pytest.param(lambda w: w.servicer.server_ready(pb.ServerReadyRequest()), id="ServerReady"),
    pytest.param(lambda w: w.servicer.model_ready(pb.ModelReadyRequest(name="a")), id="ModelReady"),
]


def model_call(name: str, model: str, version: str = "") -> Call:
    """Call one of the RPCs that take a model and a version."""

    def call(world: World) -> object:
        servicer = world.servicer
        if name == "ModelReady":
            return servicer.model_ready(pb.ModelReadyRequest(name=model, version=version))
        if name == "ModelMetadata":
            return servicer.model_metadata(pb.ModelMetadataRequest(name=model, version=version))
        if name == "ModelConfig":
            return servicer.model_config(pb.ModelConfigRequest(name=model, version=version))
        return servicer.model_statistics(pb.ModelStatisticsRequest(name=model, version=version))

    return call


def refusal(call: Call, world: World) -> tuple[type[ServiceError], str]:
    with pytest.raises(ServiceError) as caught:
        call(world)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("call", HEALTH_CALLS)
def test_an_exiting_server_says_so_to_whoever_asks_for_its_health(call: Call, world: World) -> None:
    world.state.change(phase=ServerPhase.DRAINING, accepting=False)

    assert refusal(call, world) == (UnavailableError, "Server exiting")


def test_a_server_that_is_to_stop_is_alive_and_not_ready_while_it_still_serves(
    world: World,
) -> None:
    world.state.change(phase=ServerPhase.DRAINING)

    assert world.servicer.server_live(pb.ServerLiveRequest()).live
    assert not world.servicer.server_ready(pb.ServerReadyRequest()).ready


def test_a_starting_server_is_alive_and_not_ready(world: World) -> None:
    world.state.change(phase=ServerPhase.STARTING)

    assert world.servicer.server_live(pb.ServerLiveRequest()).live
    assert not world.servicer.server_ready(pb.ServerReadyRequest()).ready


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("a", "", True),
        ("a", "1", True),
        ("a", " 3x", True),
        ("a", "2", False),
        ("a", "0", False),
        ("a", "9", False),
        ("broken", "", False),
        ("nobody", "", False),
        ("nobody", "1", False),
        ("", "", False),
    ],
)
def test_what_is_not_ready_is_an_answer(
    model: str, version: str, ready: bool, world: World
) -> None:
    response = world.servicer.model_ready(pb.ModelReadyRequest(name=model, version=version))

    assert response.ready is ready


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("abc", NO_NUMBER),
        ("-2", "invalid model version specified '-2' , version should be an integral value > 0"),
    ],
)
def test_a_bad_version_string_is_refused(rpc: str, version: str, text: str, world: World) -> None:
    assert refusal(model_call(rpc, "a", version), world) == (InvalidRequestError, text)


@pytest.mark.parametrize("rpc", ["ModelMetadata", "ModelConfig"])
@pytest.mark.parametrize(
    ("model", "version", "error", "text"),
    [
        ("x", "", NotFoundError, "Request for unknown model: 'x' is not found"),
        ("", "", NotFoundError, "Request for unknown model: '' is not found"),
        ("a", "9", NotFoundError, "Request for unknown model: 'a' version 9 is not found"),
        (
            "a",
            "2",
            UnavailableError,
            "Request for unknown model: 'a' version 2 is not at ready state",
        ),
        (
            "broken",
            "",
            NotFoundError,
            "Request for unknown model: 'broken' has no available versions",
        ),
    ],
)
def test_a_model_that_cannot_be_looked_up(
    rpc: str, model: str, version: str, error: type[ServiceError], text: str, world: World
) -> None:
    assert refusal(model_call(rpc, model, version), world) == (error, text)


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(("model", "version"), [("x", ""), ("a", "2"), ("broken", "")])
def test_what_is_missing_during_the_first_loads_may_only_not_be_there_yet(
    rpc: str, model: str, version: str, world: World
) -> None:
    world.state.change(phase=ServerPhase.STARTING)

    assert refusal(model_call(rpc, model, version), world) == (UnavailableError, "Server not ready")


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_what_is_ready_answers_during_the_first_loads(rpc: str, world: World) -> None:
    world.state.change(phase=ServerPhase.STARTING)

    assert model_call(rpc, "a")(world) is not None


def test_the_server_names_itself_and_what_it_implements(world: World) -> None:
    response = world.servicer.server_metadata(pb.ServerMetadataRequest())

    assert (response.name, response.version) == ("triton", VERSION)
    assert list(response.extensions) == [
        "classification",
        "model_repository",
        "model_configuration",
        "binary_tensor_data",
        "parameters",
        "statistics",
        "logging",
    ]


def test_metadata_lists_every_version_that_is_ready(world: World) -> None:
    response = world.metadata("a")

    assert (response.name, list(response.versions), response.platform) == (
        "a",
        ["1", "3"],
        "identity",
    )


def test_metadata_of_one_version_lists_that_one(world: World) -> None:
    response = world.metadata("a", "1")

    assert list(response.versions) == ["1"]


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        pytest.param("a", [-1, 4], [2], id="without batches the dims as they are"),
        pytest.param("b", [-1, -1, 4], [-1, 2], id="with batches one more in front"),
    ],
)
def test_metadata_shows_dims_and_never_the_reshape(
    model: str, inputs: list[int], outputs: list[int], world: World
) -> None:
    response = world.metadata(model)

    assert [(one.name, one.datatype, list(one.shape)) for one in response.inputs] == [
        ("x", "FP32", inputs)
    ]
    assert [(one.name, one.datatype, list(one.shape)) for one in response.outputs] == [
        ("y", "BYTES", outputs)
    ]


def test_the_configuration_is_the_whole_message(world: World) -> None:
    response = world.servicer.model_config(pb.ModelConfigRequest(name="a"))

    assert (response.config.name, response.config.backend) == ("a", "identity")


@pytest.mark.parametrize(
    ("model", "version", "listed"),
    [
        ("", "", [("a", "1"), ("a", "3"), ("b", "2")]),
        ("", "nonsense", [("a", "1"), ("a", "3"), ("b", "2")]),
        ("a", "", [("a", "1"), ("a", "3")]),
        ("a", "3", [("a", "3")]),
    ],
)
def test_statistics_of_what_is_ready(
    model: str, version: str, listed: list[tuple[str, str]], world: World
) -> None:
    request = pb.ModelStatisticsRequest(name=model, version=version)

    response = world.servicer.model_statistics(request)

    assert [(one.name, one.version) for one in response.model_stats] == listed


@pytest.mark.parametrize(
    ("model", "version", "text"),
    [
        ("x", "", "requested model 'x' is not available"),
        ("broken", "", "requested model 'broken' is not available"),
        ("broken", "1", "requested model 'broken' is not available"),
        ("a", "2", "requested model version is not available for model 'a'"),
        ("a", "9", "requested model version is not available for model 'a'"),
    ],
)
def test_statistics_miss_with_a_status_of_their_own(
    model: str, version: str, text: str, world: World
) -> None:
    call = model_call("ModelStatistics", model, version)

    assert refusal(call, world) == (InvalidRequestError, text)


def test_the_index_has_a_line_for_each_version(world: World) -> None:
    world.control.entries = (
        IndexEntry(ModelName("a"), Version(1), Readiness.READY),
        IndexEntry(ModelName("a"), Version(2), Readiness.UNAVAILABLE, "unloaded"),
        IndexEntry(ModelName("never")),
    )

    response = world.servicer.repository_index(pb.RepositoryIndexRequest())
    ready = world.servicer.repository_index(pb.RepositoryIndexRequest(ready=True))

    assert [(one.name, one.version, one.state, one.reason) for one in response.models] == [
        ("a", "1", "READY", ""),
        ("a", "2", "UNAVAILABLE", "unloaded"),
        ("never", "", "", ""),
    ]
    assert [(one.name, one.version) for one in ready.models] == [("a", "1")]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            lambda w: w.servicer.repository_index(pb.RepositoryIndexRequest(repository_name="r")),
            id="Index",
        ),
        pytest.param(
            lambda w: w.servicer.load(pb.RepositoryModelLoadRequest(repository_name="r"), WHO),
            id="Load",
        ),
        pytest.param(
            lambda w: w.servicer.unload(pb.RepositoryModelUnloadRequest(repository_name="r"), WHO),
            id="Unload",
        ),
    ],
)
def test_there_is_one_repository_only(call: Call, world: World) -> None:
    assert refusal(call, world) == (
        UnsupportedError,
        "'repository_name' specification is not supported",
    )


def test_loads_and_unloads_hand_their_parameters_on_as_plain_values(world: World) -> None:
    parameters = {
        "text": pb.ModelRepositoryParameter(string_param="{}"),
        "bytes": pb.ModelRepositoryParameter(bytes_param=b"\x00"),
        "number": pb.ModelRepositoryParameter(int64_param=-1),
        "nothing": pb.ModelRepositoryParameter(),
        "truth": pb.ModelRepositoryParameter(bool_param=True),
    }
    plain = {"text": "{}", "bytes": b"\x00", "number": -1, "nothing": None, "truth": True}

    world.servicer.load(pb.RepositoryModelLoadRequest(model_name="m", parameters=parameters), WHO)
    world.servicer.unload(
        pb.RepositoryModelUnloadRequest(model_name="m", parameters=parameters), WHO
    )

    assert world.control.asked == [("load", "m", plain), ("unload", "m", plain)]


def test_nothing_is_loaded_or_unloaded_during_the_first_loads(world: World) -> None:
    world.state.change(phase=ServerPhase.STARTING)
    not_ready = (UnavailableError, "Server not ready")

    def load(w: World) -> object:
        return w.servicer.load(pb.RepositoryModelLoadRequest(model_name="m"), WHO)

    def unload(w: World) -> object:
        return w.servicer.unload(pb.RepositoryModelUnloadRequest(model_name="m"), WHO)

    assert refusal(load, world) == not_ready
    assert refusal(unload, world) == not_ready
    assert world.control.asked == []


def test_log_settings_are_shown_with_their_types(world: World) -> None:
    response = world.servicer.log_settings(pb.LogSettingsRequest())

    setting = pb.LogSettingsResponse.SettingValue
    assert dict(response.settings) == {
        "log_file": setting(string_param=""),
        "log_info": setting(bool_param=True),
        "log_warning": setting(bool_param=True),
        "log_error": setting(bool_param=True),
        "log_verbose_level": setting(uint32_param=0),
        "log_format": setting(string_param="default"),
    }


def test_log_settings_are_changed_and_shown(world: World) -> None:
    setting = pb.LogSettingsRequest.SettingValue
    request = pb.LogSettingsRequest(
        settings={
            "log_info": setting(bool_param=False),
            "log_verbose_level": setting(uint32_param=3),
            "log_format": setting(string_param="ISO8601"),
            "unknown": setting(bool_param=True),
        }
    )

    settings = world.servicer.log_settings(request).settings

    assert settings["log_info"].bool_param is False
    assert settings["log_verbose_level"].uint32_param == 3
    assert settings["log_format"].string_param == "ISO8601"
    assert "unknown" not in settings


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("log_info", {"uint32_param": 1}, InvalidRequestError, "expect boolean for 'log_info'"),
        ("log_warning", {}, InvalidRequestError, "expect boolean for 'log_warning'"),
        ("log_error", {"string_param": "x"}, InvalidRequestError, "expect boolean for 'log_error'"),
        (
            "log_verbose_level",
            {"bool_param": True},
            InvalidRequestError,
            "expect int32 for 'log_verbose_level'",
        ),
        ("log_format", {"uint32_param": 1}, InvalidRequestError, "expect string for 'log_format'"),
        (
            "log_format",
            {"string_param": "zzz"},
            InvalidRequestError,
            "invalid argument for log_format, got: zzz",
        ),
        (
            "log_file",
            {"string_param": "f"},
            UnsupportedError,
            "log file location can not be updated through network protocol",
        ),
    ],
)
def test_a_log_setting_that_cannot_be(
    key: str, value: dict[str, object], error: type[ServiceError], text: str, world: World
) -> None:
    setting = pb.LogSettingsRequest.SettingValue(**value)  # type: ignore[arg-type]  # a table of them

    def call(w: World) -> object:
        return w.servicer.log_settings(pb.LogSettingsRequest(settings={key: setting}))

    assert refusal(call, world) == (error, text)


@pytest.mark.parametrize(
    ("freed_bytes", "trailers"), [(None, {}), (4096, {"interlock-bytes-freed": "4096"})]
)
def test_an_unload_says_behind_its_answer_what_it_gave_back(
    world: World, freed_bytes: int | None, trailers: Mapping[str, str]
) -> None:
    world.control.freed_bytes = freed_bytes

    answered = world.servicer.unload(pb.RepositoryModelUnloadRequest(model_name="m"), WHO)

    assert answered.trailers == trailers


@pytest.mark.parametrize(
    ("remarks", "trailers"),
    [
        ((), {}),
        (("policy: a", "policy: b"), {"interlock-policy-warning": "policy: a; policy: b"}),
        (("100 % Größe\n",), {"interlock-policy-warning": "100 %25 Gr%C3%B6%C3%9Fe%0A"}),
        (("x" * 5000,), {"interlock-policy-warning": "x" * 600}),
    ],
    ids=["nothing", "two", "not plain", "long"],
)
def test_a_load_says_behind_its_answer_what_is_held_against_the_model(
    world: World, remarks: tuple[str, ...], trailers: Mapping[str, str]
) -> None:
    world.control.held_against = remarks

    answered = world.servicer.load(pb.RepositoryModelLoadRequest(model_name="m"), WHO)

    assert answered.trailers == trailers


@pytest.mark.parametrize(
    ("version", "trailers"),
    [
        ("", {"x-interlock-version": "3", "x-interlock-digest": "of three"}),
        ("3", {"x-interlock-version": "3", "x-interlock-digest": "of three"}),
        ("1", {"x-interlock-version": "1"}),
    ],
    ids=["the latest", "by number", "without a digest"],
)
def test_metadata_says_behind_its_answer_what_the_version_is_made_of(
    world: World, version: str, trailers: dict[str, str]
) -> None:
    world.digests["a", 3] = "of three"

    request = pb.ModelMetadataRequest(name="a", version=version)

    assert world.servicer.model_metadata(request).trailers == trailers


def test_who_asks_is_passed_on(world: World) -> None:
    world.servicer.load(pb.RepositoryModelLoadRequest(model_name="m"), WHO)
    world.servicer.unload(pb.RepositoryModelUnloadRequest(model_name="m"), WHO)

    assert world.control.actors == [WHO, WHO]


def _with(parameters: dict[str, str | bool | bytes]) -> pb.RepositoryModelLoadRequest:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    for name, value in parameters.items():
        match value:
            case bool():
                request.parameters[name].bool_param = value
            case str():
                request.parameters[name].string_param = value
            case bytes():
                request.parameters[name].bytes_param = value
    return request


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({}, Asked("load", "m")),
        ({"config": "{}"}, Asked("config-override", "m")),
        ({"config": "{}", "file:1/model": b""}, Asked("file-override", "m")),
        ({"wait": False}, Asked("load", "m", waits=False)),
        ({"wait": True}, Asked("load", "m")),
        ({"wait": "no"}, Asked("load", "m")),
    ],
)
def test_the_audit_log_is_told_what_kind_of_load_it_is(
    parameters: dict[str, str | bool | bytes], asked: Asked
) -> None:
    assert _asked_to_load(_with(parameters)) == asked
