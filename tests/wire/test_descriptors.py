"""Our .proto files say the same as those that the clients carry.

The other side is `tritonclient` and `grpcio-health-checking`, as installed. Both
sides are flattened into facts, one for each thing that a client can depend on, so
that a difference names the message and the field.
"""

import copy
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format, text_format
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    ServiceDescriptor,
)

from interlock.pb import POOL, grpc_service_pb2, health_pb2, model_config_pb2

type_of = descriptor_pb2.FieldDescriptorProto.Type.Name
label_of = descriptor_pb2.FieldDescriptorProto.Label.Name

Facts = Mapping[str, str]

# Newer than what grpcio-health-checking has.
HEALTH_LIST = ("grpc.health.v1.HealthList", "grpc.health.v1.Health.List")


def facts(file: FileDescriptor) -> Facts:
    found = {"syntax": syntax(file), "package": file.package}
    for enum in file.enum_types_by_name.values():
        found.update(enum_facts(enum))
    for message in file.message_types_by_name.values():
        found.update(message_facts(message))
    for service in file.services_by_name.values():
        found.update(service_facts(service))
    return found


def syntax(file: FileDescriptor) -> str:
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto.syntax


def message_facts(message: Descriptor) -> Iterator[tuple[str, str]]:
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    yield message.full_name, f"message, options [{proto.options}]"
    for field, field_proto in zip(message.fields, proto.field, strict=True):
        yield f"{message.full_name}.{field.name}", field_fact(field, field_proto)
    for enum in message.enum_types:
        yield from enum_facts(enum)
    for nested in message.nested_types:
        yield from message_facts(nested)


def field_fact(field: FieldDescriptor, proto: descriptor_pb2.FieldDescriptorProto) -> str:
    oneof = field.containing_oneof.name if field.containing_oneof else "none"
    return (
        f"number {proto.number}, {label_of(proto.label)}, {type_of(proto.type)}"
        f" {proto.type_name}, oneof {oneof}, optional {proto.proto3_optional},"
        f" packed {field.is_packed}, presence {field.has_presence}, JSON {field.json_name},"
        f" default {field.default_value!r}, options [{proto.options}]"
    )


def enum_facts(enum: EnumDescriptor) -> Iterator[tuple[str, str]]:
    yield enum.full_name, "enum"
    for value in enum.values:
        yield f"{enum.full_name}.{value.name}", f"value {value.number}"


def service_facts(service: ServiceDescriptor) -> Iterator[tuple[str, str]]:
    yield service.full_name, "service"
    for method in service.methods:
        proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(proto)
        request = f"{proto.input_type} (stream {proto.client_streaming})"
        response = f"{proto.output_type} (stream {proto.server_streaming})"
        yield method.full_name, f"{request} to {response}"


def differences(ours: Facts, theirs: Facts) -> list[str]:
    return [
        f"{name}: ours is {ours.get(name, 'missing')}; theirs is {theirs.get(name, 'missing')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def without_health_list(found: Facts) -> Facts:
    return {name: fact for name, fact in found.items() if not name.startswith(HEALTH_LIST)}


@pytest.mark.parametrize(
    ("ours", "their_module"),
    [
        pytest.param(grpc_service_pb2, "tritonclient.grpc.service_pb2", id="inference service"),
        pytest.param(model_config_pb2, "tritonclient.grpc.model_config_pb2", id="configuration"),
    ],
)
def test_triton_s_clients_carry_the_same_messages(ours: ModuleType, their_module: str) -> None:
    theirs: Any = importlib.import_module(their_module)

    assert differences(facts(ours.DESCRIPTOR), facts(theirs.DESCRIPTOR)) == []


def test_grpc_s_health_checking_carries_the_same_messages() -> None:
    theirs: Any = importlib.import_module("grpc_health.v1.health_pb2")

    ours = facts(health_pb2.DESCRIPTOR)
    assert (
        differences(without_health_list(ours), without_health_list(facts(theirs.DESCRIPTOR))) == []
    )


def test_health_can_be_listed_as_the_current_protocol_says() -> None:
    found = facts(health_pb2.DESCRIPTOR)

    assert (
        found["grpc.health.v1.Health.List"] == ".grpc.health.v1.HealthListRequest (stream False) to"
        " .grpc.health.v1.HealthListResponse (stream False)"
    )
    assert found["grpc.health.v1.HealthListResponse.statuses"].startswith(
        "number 1, LABEL_REPEATED, TYPE_MESSAGE"
        " .grpc.health.v1.HealthListResponse.StatusesEntry, oneof none"
    )
    assert (
        "number 2, LABEL_OPTIONAL, TYPE_MESSAGE .grpc.health.v1.HealthCheckResponse"
        in (found["grpc.health.v1.HealthListResponse.StatusesEntry.value"])
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(
            lambda request: request.field[0].__setattr__("number", 99),
            "inference.ModelInferRequest.model_name",
            id="another number",
        ),
        pytest.param(
            lambda request: request.field[6].__setattr__("label", 1),
            "inference.ModelInferRequest.raw_input_contents",
            id="no longer repeated",
        ),
        pytest.param(
            lambda request: request.nested_type[0].field.pop(),
            "inference.ModelInferRequest.InferInputTensor.contents",
            id="a field left out",
        ),
    ],
)
def test_a_difference_names_the_field(change: Any, name: str) -> None:
    proto = descriptor_pb2.FileDescriptorProto()
    grpc_service_pb2.DESCRIPTOR.CopyToProto(proto)
    change(next(message for message in proto.message_type if message.name == "ModelInferRequest"))
    pool = type(POOL)()
    pool.AddSerializedFile(model_config_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(proto.SerializeToString())
    changed = facts(pool.FindFileByName("grpc_service.proto"))

    found = differences(changed, facts(grpc_service_pb2.DESCRIPTOR))

    assert [difference.split(":")[0] for difference in found] == [name]


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(("tritonclient.grpc", "interlock.pb.grpc_service_pb2"), id="theirs first"),
        pytest.param(("interlock.pb.grpc_service_pb2", "tritonclient.grpc"), id="ours first"),
    ],
)
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_one_process_can_hold_our_messages_and_the_client_s(
    modules: tuple[str, str], implementation: str
) -> None:
    program = f"""
import {modules[0]}
import {modules[1]}
from interlock.pb import grpc_service_pb2 as ours
from tritonclient.grpc import service_pb2 as theirs

sent = theirs.ModelInferRequest(model_name="m", raw_input_contents=[b"x"])
sent.parameters["priority"].uint64_param = 3
got = ours.ModelInferRequest.FromString(sent.SerializeToString())
assert got.parameters["priority"].uint64_param == 3
assert type(got) is not type(sent)
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stderr) == (0, "")


def test_the_pool_is_not_the_one_that_others_share() -> None:
    default = importlib.import_module("google.protobuf.descriptor_pool").Default()

    assert POOL is not default
    assert POOL.FindMessageTypeByName("inference.ModelConfig").file.pool is POOL


def test_enums_work_as_in_generated_code() -> None:
    config = model_config_pb2

    assert config.TYPE_STRING == config.DataType.Value("TYPE_STRING") == 13
    assert config.DataType.TYPE_BF16 == 14
    assert config.DataType.Name(11) == "TYPE_FP32"
    assert config.ModelInstanceGroup.KIND_CPU == config.ModelInstanceGroup.Kind.KIND_CPU == 2
    assert config.ModelInstanceGroup.Kind.items()[0] == ("KIND_AUTO", 0)


def test_messages_work_as_in_generated_code() -> None:
    request = grpc_service_pb2.ModelInferRequest(model_name="m", id="7")
    tensor = grpc_service_pb2.ModelInferRequest.InferInputTensor(name="x", shape=[1, 2])
    request.inputs.append(tensor)
    request.parameters["a"].string_param = "b"

    assert type(request.inputs[0]) is type(tensor)
    assert request.parameters["a"].WhichOneof("parameter_choice") == "string_param"
    assert copy.deepcopy(request) == request
    assert pickle.loads(pickle.dumps(tensor)) == tensor
    assert type(request).RAW_INPUT_CONTENTS_FIELD_NUMBER == 7
    assert f"{type(tensor).__module__}.{type(tensor).__qualname__}" == (
        "interlock.pb.grpc_service_pb2.ModelInferRequest.InferInputTensor"
    )


def test_a_configuration_is_read_as_text_and_as_json() -> None:
    text = """
        name: "m"  max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
        dynamic_batching { priority_queue_policy { key: 1 value { timeout_action: DELAY } } }
        instance_group [ { kind: KIND_CPU count: 2 } ]
        parameters { key: "k" value { string_value: "v" } }
    """
    config = text_format.Parse(text, model_config_pb2.ModelConfig())

    policy = config.dynamic_batching.priority_queue_policy[1]
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.DELAY
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    as_json = json_format.MessageToJson(config)
    assert json_format.Parse(as_json, model_config_pb2.ModelConfig()) == config


@pytest.mark.parametrize("rule", ["lint", "format"])
def test_buf_finds_nothing_to_say_about_our_files(rule: str) -> None:
    # What the rest of its rules ask for (directories, suffixes) the protocol has decided otherwise.
    rules = (
        '{"version":"v2","lint":{"use":["COMMENT_RPC","FIELD_LOWER_SNAKE_CASE","FIELD_NOT_REQUIRED",'
        '"IMPORT_USED","IMPORT_NO_PUBLIC","MESSAGE_PASCAL_CASE","ONEOF_LOWER_SNAKE_CASE",'
        '"PACKAGE_DEFINED","RPC_PASCAL_CASE","SYNTAX_SPECIFIED"]}}'
    )
    arguments = {"lint": ["lint", "--config", rules], "format": ["format", "--diff", "--exit-code"]}
    command = [str(Path(sys.executable).with_name("buf")), *arguments[rule]]
    run = subprocess.run(command, cwd="protos", capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
