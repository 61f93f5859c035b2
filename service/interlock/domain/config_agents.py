"""Read what counts of a configuration before repository agents have seen the model.

Only the parts that say which agents there are, and which versions they are asked about. The
rest is neither checked nor filled in: the configuration that the model runs with is the one
that its agents leave behind, and the one that names them may hold nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from interlock.domain.config import VersionPolicy, VersionPolicyKind
from interlock.domain.config_json import parse_json
from interlock.domain.config_text import ConfigError, parse
from interlock.domain.config_values import version_policy_of
from interlock.pb import model_config_pb2 as pb

Fields = Mapping[str, object]
"""A configuration as JSON values, with the names of config.pbtxt; what is not set is left out."""

_FIELD: Final = "model_repository_agents"
_NEWEST: Final = VersionPolicy(VersionPolicyKind.LATEST, num_versions=1)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent, as the configuration names it."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preliminary:
    """A configuration that was read and not checked. `agents` are in their order."""

    agents: tuple[AgentConfig, ...] = ()
    version_policy: VersionPolicy = _NEWEST
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is to be done with a model before it is loaded: its own agents, in their order.

    `override` is a configuration as JSON that came with the request, and takes the place of
    the one that the agents leave behind; `overriding` are the agents that it names. With
    `brings_files` the files came with the request too.
    """

    agents: tuple[AgentConfig, ...]
    override: str | None = None
    overriding: tuple[AgentConfig, ...] = ()
    brings_files: bool = False


def names_agents(text: str | None) -> bool:
    """Whether the text of a file may name agents; a look that costs next to nothing."""
    return text is not None and _FIELD in text


def preliminary(text: str | None, path: str) -> Preliminary:
    """Read the text of a file, `None` for none. Raise ConfigError where it is broken."""
    try:
        return _preliminary(parse(text or "", path))
    except ConfigError as error:
        raise error.located(text, path) from error.__cause__


def preliminary_override(text: str) -> Preliminary:
    """Read a configuration that came as JSON with a request. Raise ConfigError."""
    return _preliminary(parse_json(text))


def _preliminary(config: pb.ModelConfig) -> Preliminary:
    agents = config.model_repository_agents.agents
    for number, agent in enumerate(agents):
        if not agent.name:
            raise ConfigError(
                f"model_repository_agents: agent {number + 1} has no name",
                hint='Write: name: "checksum" ("interlock agents" lists them).',
                field=(_FIELD, "agents", number),
            )
    policy = config.version_policy
    return Preliminary(
        agents=tuple(AgentConfig(agent.name, dict(agent.parameters)) for agent in agents),
        version_policy=version_policy_of(policy) if config.HasField("version_policy") else _NEWEST,
        fields=_fields(config),
    )


def _fields(message: Message) -> dict[str, object]:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, Mapping) and field.message_type is not None:
        inner = field.message_type.fields_by_name["value"]
        return {key: _single(inner, value[key]) for key in sorted(value)}
    if field.is_repeated and isinstance(value, Sequence):
        return [_single(field, one) for one in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, Message):
        return _fields(value)
    if field.enum_type is not None and isinstance(value, int):
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value
