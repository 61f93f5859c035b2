"""Turn a normalised configuration message into the frozen values that the server acts on."""

from interlock.domain import config as values
from interlock.domain.datatypes import BY_CONFIG
from interlock.pb import model_config_pb2 as pb


def datatype_name(number: int) -> str:
    """Return the configuration's name of a data type; TYPE_INVALID for a number without one."""
    value = pb.DataType.DESCRIPTOR.values_by_number.get(number)
    return value.name if value is not None else "TYPE_INVALID"


def project(config: pb.ModelConfig) -> values.ModelConfig:
    """Return the values; `message` holds all of `config`."""
    optimization = config.optimization
    return values.ModelConfig(
        name=config.name,
        backend=config.backend,
        platform=config.platform,
        default_model_filename=config.default_model_filename,
        max_batch_size=config.max_batch_size,
        inputs=tuple(_input(tensor) for tensor in config.input),
        outputs=tuple(_output(tensor) for tensor in config.output),
        version_policy=version_policy_of(config.version_policy),
        instance_groups=tuple(_instance_group(group) for group in config.instance_group),
        scheduling=values.Scheduling(config.WhichOneof("scheduling_choice") or "none"),
        decoupled=config.model_transaction_policy.decoupled,
        graph_level=optimization.graph.level if optimization.HasField("graph") else None,
        op_library_filenames=tuple(config.model_operations.op_library_filename),
        warmup_samples=tuple(map(_warmup_sample, config.model_warmup)),
        parameters={key: value.string_value for key, value in config.parameters.items()},
        message=config.SerializeToString(deterministic=True),
    )


def message_of(config: values.ModelConfig) -> pb.ModelConfig:
    """Return the whole configuration that the values were made from."""
    return pb.ModelConfig.FromString(config.message)


def _input(tensor: pb.ModelInput) -> values.TensorConfig:
    return values.TensorConfig(
        name=tensor.name,
        datatype=_wire_datatype(tensor.data_type),
        dims=tuple(tensor.dims),
        reshape=_reshape(tensor),
        optional=tensor.optional,
        allow_ragged_batch=tensor.allow_ragged_batch,
        is_shape_tensor=tensor.is_shape_tensor,
    )


def _output(tensor: pb.ModelOutput) -> values.TensorConfig:
    return values.TensorConfig(
        name=tensor.name,
        datatype=_wire_datatype(tensor.data_type),
        dims=tuple(tensor.dims),
        reshape=_reshape(tensor),
        is_shape_tensor=tensor.is_shape_tensor,
        label_filename=tensor.label_filename,
    )


def _wire_datatype(number: int) -> str:
    datatype = BY_CONFIG.get(datatype_name(number))
    return datatype.wire if datatype is not None else ""


def _reshape(tensor: pb.ModelInput | pb.ModelOutput) -> tuple[int, ...] | None:
    return tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None


def version_policy_of(policy: pb.ModelVersionPolicy) -> values.VersionPolicy:
    """An empty policy means all versions, unlike one that is left out."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest":
        return values.VersionPolicy(
            values.VersionPolicyKind.LATEST, num_versions=policy.latest.num_versions
        )
    if choice == "specific":
        return values.VersionPolicy(
            values.VersionPolicyKind.SPECIFIC, versions=tuple(policy.specific.versions)
        )
    return values.VersionPolicy(values.VersionPolicyKind.ALL)


def _instance_group(group: pb.ModelInstanceGroup) -> values.InstanceGroup:
    return values.InstanceGroup(
        name=group.name,
        kind=pb.ModelInstanceGroup.Kind.Name(group.kind),
        count=group.count,
        gpus=tuple(group.gpus),
        passive=group.passive,
        rest=_rest_of(group),
    )


def _rest_of(group: pb.ModelInstanceGroup) -> bytes:
    rest = pb.ModelInstanceGroup()
    rest.CopyFrom(group)
    for name in ("name", "count", "gpus"):
        rest.ClearField(name)
    return rest.SerializeToString(deterministic=True)


def _warmup_sample(sample: pb.ModelWarmup) -> values.WarmupSample:
    return values.WarmupSample(
        name=sample.name,
        batch_size=sample.batch_size,
        count=sample.count,
        # A map has no order of its own: the same sample shall be the same request each time.
        inputs=tuple(_warmup_input(name, sample.inputs[name]) for name in sorted(sample.inputs)),
    )


def _warmup_input(name: str, tensor: pb.ModelWarmup.Input) -> values.WarmupInput:
    return values.WarmupInput(
        name=name,
        datatype=_wire_datatype(tensor.data_type),
        dims=tuple(tensor.dims),
        data=values.WarmupData(tensor.WhichOneof("input_data_type") or ""),
        file=tensor.input_data_file,
    )
