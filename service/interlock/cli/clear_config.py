"""The configuration that stays clear when a model's own is encrypted.

Its name, its agents, and which versions are to be loaded: all that is needed before the
agents run.
"""

from google.protobuf import text_format

from interlock.domain.config_text import parse
from interlock.pb import POOL, model_config_pb2 as pb

AGENT = "decrypt"


def stub_of(text: str, path: str, *, model: str) -> str:
    """Return what stands in for a configuration until it is decrypted.

    The decrypt agent is put before the others unless it is among them. Raise ConfigError for
    a text that is no configuration.
    """
    full = parse(text, path)
    agents = full.model_repository_agents.agents
    stub = pb.ModelConfig(name=full.name or model)
    if full.HasField("version_policy"):
        stub.version_policy.CopyFrom(full.version_policy)
    if AGENT not in {agent.name for agent in agents}:
        stub.model_repository_agents.agents.add(name=AGENT)
    stub.model_repository_agents.agents.extend(agents)
    return text_format.MessageToString(stub, descriptor_pool=POOL)


def with_agent(text: str, path: str) -> str | None:
    """Return a configuration that asks for the decrypt agent, comments and all.

    `None` where it has other agents: which comes first is for a person to say.
    """
    agents = parse(text, path).model_repository_agents.agents
    if AGENT in {agent.name for agent in agents}:
        return text
    if agents or "model_repository_agents" in text:
        return None
    end = "" if not text or text.endswith("\n") else "\n"
    return f'{text}{end}model_repository_agents {{ agents [ {{ name: "{AGENT}" }} ] }}\n'
