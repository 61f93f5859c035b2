"""From a configuration to the agents that it names, and from a location to its configuration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from interlock.control.agent_chain import Link
from interlock.control.agent_policy import ChosenAgent
from interlock.domain.config_agents import AgentConfig, preliminary
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import InvalidRequestError
from interlock_agents.api import AgentError, Location, MemoryFile, PathError, RepositoryAgent
from interlock_agents.catalog import AgentCatalog

MAX_CONFIG_BYTES: Final = 16 << 20
_CONFIG_FILE: Final = "config.pbtxt"


def links_of(
    agents: Sequence[ChosenAgent | AgentConfig], catalog: AgentCatalog
) -> tuple[Link, ...]:
    """Return agents that were chosen, or that a configuration names, none of them made yet.

    Raise InvalidRequestError for a name that nobody has, before any other agent is at work.
    One that only looks on refuses the model then.
    """
    return tuple(
        Link(agent.name, _maker(agent, catalog), agent.parameters, is_binding=_is_binding(agent))
        for agent in agents
    )


def _is_binding(agent: ChosenAgent | AgentConfig) -> bool:
    return isinstance(agent, AgentConfig) or agent.is_binding


def _maker(
    agent: ChosenAgent | AgentConfig, catalog: AgentCatalog
) -> Callable[[], RepositoryAgent]:
    try:
        return catalog.find(agent.name).make
    except AgentError as error:
        if _is_binding(agent):
            raise InvalidRequestError(str(error)) from error
        refusal = error

    def refuse() -> RepositoryAgent:
        raise refusal

    return refuse


@contextmanager
def unquoted(location: Location, path: str) -> Iterator[None]:
    """Let an error of a configuration that is in memory alone not tell what it says.

    Reasons end up in logs, and logs on disks.
    """
    try:
        yield
    except ConfigError as error:
        if not isinstance(location.files().get(path), MemoryFile):
            raise
        place = f":{error.line}:{error.column}" if error.line else ""
    else:
        return
    raise InvalidRequestError(
        f"{path}{place} cannot be used, and is not quoted, since repository agents keep it in "
        "memory alone"
    )


class ConfigReader:
    """Reads the configuration at a location, wherever its files lie. Any thread may call.

    With a `config_name` (`--model-config-name`), `configs/<name>.pbtxt` goes first.
    """

    def __init__(self, config_name: str = "") -> None:
        named = (f"configs/{config_name}.pbtxt",) if config_name else ()
        self._names = (*named, _CONFIG_FILE)

    def text_at(self, location: Location) -> tuple[str, str | None]:
        """Return the path of the configuration and its text, `None` where there is none.

        What is no text is kept as surrogates. Raise InvalidRequestError where it cannot be
        read.
        """
        for name in self._names:
            try:
                with location.file(name).open() as stream:
                    content = stream.read(MAX_CONFIG_BYTES + 1)
            except FileNotFoundError:
                continue
            except (OSError, PathError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise InvalidRequestError(
                    f"failed to open text file for read {name}: {reason}"
                ) from error
            if len(content) > MAX_CONFIG_BYTES:
                raise InvalidRequestError(f"{name} is longer than {MAX_CONFIG_BYTES >> 20} MiB")
            return name, content.decode("utf-8", errors="surrogateescape")
        return _CONFIG_FILE, None

    def fields_at(self, location: Location) -> Mapping[str, object]:
        """Return the configuration as agents see it, empty where there is none.

        Raise InvalidRequestError where it cannot be read.
        """
        name, text = self.text_at(location)
        with unquoted(location, name):
            return preliminary(text, name).fields
