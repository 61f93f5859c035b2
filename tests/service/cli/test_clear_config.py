"""What stays clear of a configuration: enough to find out who can read the rest."""

import pytest

from interlock.cli.clear_config import stub_of, with_agent
from interlock.domain.config_text import ConfigError, parse

OTHERS = """
name: "digits"
backend: "secret"
model_repository_agents {
  agents [
    { name: "checksum" parameters [ { key: "SHA256:1/model.onnx" value: "00" } ] },
    { name: "decrypt" parameters [ { key: "clear_files" value: "refuse" } ] }
  ]
}
parameters { key: "tuning" value: { string_value: "secret" } }
"""


def test_name_and_agents_stay_clear_and_nothing_else() -> None:
    text = stub_of(OTHERS, "config.pbtxt", model="other")

    stub, full = parse(text, "stub"), parse(OTHERS, "full")
    assert stub.name == "digits"
    assert stub.model_repository_agents == full.model_repository_agents
    assert [field.name for field, _ in stub.ListFields()] == ["name", "model_repository_agents"]
    assert "secret" not in text


def test_a_version_policy_stays_clear() -> None:
    text = f"{OTHERS} version_policy: {{ specific: {{ versions: [1, 3] }} }}"

    stub = parse(stub_of(text, "config.pbtxt", model="digits"), "stub")

    assert list(stub.version_policy.specific.versions) == [1, 3]


def test_decrypt_goes_before_agents_that_are_there() -> None:
    text = stub_of(OTHERS.replace("decrypt", "localize"), "config.pbtxt", model="digits")

    agents = parse(text, "stub").model_repository_agents.agents
    assert [agent.name for agent in agents] == ["decrypt", "checksum", "localize"]


@pytest.mark.parametrize("text", ["", 'backend: "onnxruntime"'])
def test_a_model_without_a_name_is_called_by_its_directory(text: str) -> None:
    stub = parse(stub_of(text, "config.pbtxt", model="digits"), "stub")

    assert stub.name == "digits"
    assert [agent.name for agent in stub.model_repository_agents.agents] == ["decrypt"]


def test_a_text_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config.pbtxt:1:"):
        stub_of("nmae: 'digits'", "config.pbtxt", model="digits")


@pytest.mark.parametrize("text", ["", 'name: "m"', 'name: "m"  # mine\n'])
def test_an_agent_is_added_to_a_clear_configuration(text: str) -> None:
    changed = with_agent(text, "config.pbtxt")

    assert changed is not None
    assert changed.startswith(text)
    agents = parse(changed, "changed").model_repository_agents.agents
    assert [agent.name for agent in agents] == ["decrypt"]


def test_an_agent_that_is_there_is_not_added() -> None:
    assert with_agent(OTHERS, "config.pbtxt") == OTHERS


@pytest.mark.parametrize(
    "text", [OTHERS.replace("decrypt", "localize"), "model_repository_agents { }"]
)
def test_where_others_are_a_person_must_say_the_order(text: str) -> None:
    assert with_agent(text, "config.pbtxt") is None
