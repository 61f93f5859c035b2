"""What is read of a configuration before its repository agents are at work."""

import pytest

from interlock.domain.config import VersionPolicy, VersionPolicyKind
from interlock.domain.config_agents import (
    AgentConfig,
    Preliminary,
    preliminary,
    preliminary_override,
)
from interlock.domain.config_text import ConfigError

AGENTS = """
model_repository_agents {
  agents [
    { name: "checksum" parameters [ { key: "MD5:1/x" value: "ab" }, { key: "k" value: "v" } ] },
    { name: "decrypt" },
    { name: "checksum" }
  ]
}
"""


def test_agents_stand_in_their_order_and_may_come_twice() -> None:
    agents = preliminary(AGENTS, "config.pbtxt").agents

    assert agents == (
        AgentConfig("checksum", {"MD5:1/x": "ab", "k": "v"}),
        AgentConfig("decrypt"),
        AgentConfig("checksum"),
    )


@pytest.mark.parametrize("text", [None, "", "name: 'm'"])
def test_a_configuration_need_not_name_any(text: str | None) -> None:
    assert preliminary(text, "config.pbtxt").agents == ()


def test_nothing_is_checked_that_the_agents_may_bring() -> None:
    read = preliminary(f"backend: 'no such backend' max_batch_size: -3 {AGENTS}", "config.pbtxt")

    assert len(read.agents) == 3
    assert read.fields["max_batch_size"] == -3


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy(VersionPolicyKind.LATEST, num_versions=1)),
        (
            "version_policy { latest { num_versions: 2 } }",
            VersionPolicy(VersionPolicyKind.LATEST, num_versions=2),
        ),
        ("version_policy { all {} }", VersionPolicy(VersionPolicyKind.ALL)),
        (
            "version_policy { specific { versions: [1, 3] } }",
            VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 3)),
        ),
    ],
)
def test_the_version_policy_is_that_of_the_file(text: str, policy: VersionPolicy) -> None:
    assert preliminary(text, "config.pbtxt").version_policy == policy


def test_agents_see_the_fields_as_json_values() -> None:
    text = """
    name: "m"
    input { name: "x" data_type: TYPE_FP32 dims: [ -1, 9007199254740993 ] optional: true }
    instance_group { kind: KIND_CPU }
    parameters { key: "b" value { string_value: "2" } }
    parameters { key: "a" value { string_value: "1" } }
    """

    assert preliminary(text, "config.pbtxt").fields == {
        "name": "m",
        "input": [
            {
                "name": "x",
                "data_type": "TYPE_FP32",
                "dims": [-1, 9007199254740993],
                "optional": True,
            }
        ],
        "instance_group": [{"kind": "KIND_CPU"}],
        "parameters": {"a": {"string_value": "1"}, "b": {"string_value": "2"}},
    }


def test_an_enum_that_nobody_knows_keeps_its_number() -> None:
    read = preliminary_override('{"input": [{"data_type": 77}]}')

    assert read.fields == {"input": [{"data_type": 77}]}


def test_a_file_that_cannot_be_read_says_where() -> None:
    with pytest.raises(ConfigError, match=r"config\.pbtxt:2:3"):
        preliminary("name: 'm'\n  what: 3", "config.pbtxt")


def test_an_agent_without_a_name_is_refused_where_it_stands() -> None:
    text = 'model_repository_agents {\n  agents { name: "a" }\n  agents { }\n}'

    with pytest.raises(ConfigError) as refused:
        preliminary(text, "config.pbtxt")

    assert str(refused.value).startswith("model_repository_agents: agent 2 has no name\n")
    assert "config.pbtxt:3:" in str(refused.value)


def test_an_override_names_agents_too() -> None:
    text = '{"modelRepositoryAgents": {"agents": [{"name": "a", "parameters": {"k": "v"}}]}}'

    assert preliminary_override(text).agents == (AgentConfig("a", {"k": "v"}),)
    assert preliminary_override("{}") == Preliminary()
    with pytest.raises(ConfigError):
        preliminary_override("[")
