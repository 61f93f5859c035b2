"""Have a model's repository agents at work as a load would, without a server.

They hear LOAD, and LOAD_FAIL once what they leave behind has been looked at: nothing serves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from interlock.control.agent_chain import AgentChain, Link, Pool, Surroundings
from interlock.control.agent_links import ConfigReader, unquoted
from interlock.control.agent_model import Found, Subject
from interlock.control.published import Place, Places
from interlock.domain.config_agents import AgentConfig
from interlock.domain.config_text import ConfigError
from interlock.domain.errors import ServiceError
from interlock.repository.scratch import Scratch
from interlock.repository.snapshot import ModelSource
from interlock_agents.api import (
    Action,
    AgentError,
    AgentModel,
    DirectoryLocation,
    Fault,
    Location,
    MemoryFile,
    RepositoryAgent,
)
from interlock_agents.catalog import AgentCatalog
from interlock_agents.encryption.names import clear_path
from interlock_agents.file_list import version_of

DECRYPT: Final = "decrypt"
SIGNATURE: Final = "signature"

_FIELD: Final = "model_repository_agents"


@dataclass(frozen=True, slots=True)
class Gap:
    """What could not be looked at, for want of what a server has; `files` by their paths."""

    message: str
    hint: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """What a model is made of once its agents have been at work.

    `source` has the directory to read, which is gone afterwards; `None` where the agents could
    not do their work. `versions` are those that would be loaded, `None` for what the
    configuration selects. With `is_linked` the directory holds links alone. With `is_secret`
    its configuration is in memory alone, and `guard` keeps errors from quoting it.
    """

    source: ModelSource | None
    versions: tuple[int, ...] | None = None
    gaps: tuple[Gap, ...] = ()
    is_linked: bool = False
    is_secret: bool = False
    guard: Callable[[], AbstractContextManager[None]] = nullcontext


class Agents(Protocol):
    """Whoever has repository agents at work."""

    def at_work(
        self, source: ModelSource, agents: Sequence[AgentConfig], versions: Sequence[int]
    ) -> AbstractContextManager[Left]:
        """Let agents see these versions; what they leave behind is there until the end.

        Raise ServiceError with the reason of the one that refuses the model.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Agents as a server with this catalog has them.

    `lacking` are those that were not given what they need, `DECRYPT` or `SIGNATURE`: what
    they would need it for is a gap, and no reason against the model. `searched` says that the
    catalog has a directory of the operator's.
    """

    catalog: AgentCatalog
    pool: Pool
    scratch: Scratch
    lacking: frozenset[str] = frozenset()
    config_name: str = ""
    searched: bool = False

    @contextmanager
    def at_work(
        self, source: ModelSource, agents: Sequence[AgentConfig], versions: Sequence[int]
    ) -> Iterator[Left]:
        links = [self._link(number, agent) for number, agent in enumerate(agents)]
        reader = ConfigReader(self.config_name)
        location = DirectoryLocation(source.directory.absolute())
        missed: list[str] = []
        chain = AgentChain(
            Subject(source.name, tuple(versions)),
            [self._forgiving(link, missed) for link in links],
            Found(location, reader.fields_at(location)),
            Surroundings(self.pool, self.scratch, reader.fields_at),
        )
        place = None
        try:
            left, place = self._left(chain, source, versions, reader, missed)
            yield replace(left, gaps=_gaps(missed, agents, location, versions))
        finally:
            if place is not None:
                place.remove()
            chain.close()

    def _left(
        self,
        chain: AgentChain,
        source: ModelSource,
        versions: Sequence[int],
        reader: ConfigReader,
        missed: Sequence[str],
    ) -> tuple[Left, Place | None]:
        try:
            location = chain.load()
        except ServiceError:
            if DECRYPT in missed:
                return Left(None), None
            raise
        place = Places(self.scratch).of(location, source.directory.absolute())
        path, text = reader.text_at(location)
        left = replace(
            source,
            directory=place.directory,
            config_path=None if text is None else place.directory / path,
            config_text=text,
            first_entries=tuple(place.first_entries(source.name)),
        )
        return Left(
            left,
            tuple(versions),
            is_linked=place.scratch_root is not None,
            is_secret=isinstance(location.files().get(path), MemoryFile),
            guard=partial(unquoted, location, path),
        ), place

    def _link(self, number: int, agent: AgentConfig) -> Link:
        try:
            known = self.catalog.find(agent.name)
        except AgentError as error:
            hint = "" if self.searched else "Agents of your own: see --repoagent-directory."
            place = (_FIELD, "agents", number, "name")
            raise ConfigError(str(error), hint=hint, field=place) from error
        return Link(agent.name, known.make, agent.parameters)

    def _forgiving(self, link: Link, missed: list[str]) -> Link:
        if link.name not in self.lacking:
            return link
        return replace(link, make=lambda: _Forgiving(link.name, link.make(), missed))


class _Forgiving(RepositoryAgent):
    """An agent that lacks what it needs, and says so instead of refusing the model.

    Without a signature a model is what it is; without decryption there is nothing to go on with.
    """

    def __init__(self, name: str, agent: RepositoryAgent, missed: list[str]) -> None:
        self._name = name
        self._agent = agent
        self._missed = missed

    def act(self, action: Action, model: AgentModel) -> None:
        try:
            self._agent.act(action, model)
        except AgentError as error:
            if error.fault is not Fault.UNAVAILABLE:
                raise
            self._missed.append(self._name)
            if self._name == DECRYPT:
                raise


def _gaps(
    missed: Sequence[str],
    agents: Sequence[AgentConfig],
    location: Location,
    versions: Sequence[int],
) -> tuple[Gap, ...]:
    makers: Mapping[str, Callable[[], Gap]] = {
        SIGNATURE: _unverified,
        DECRYPT: lambda: _unread(agents, location, versions),
    }
    return tuple(makers[name]() for name in dict.fromkeys(missed))


def _unverified() -> Gap:
    return Gap(
        "not examined, since nobody is said to be trusted: who has signed it",
        "See --signer-directory.",
    )


def _unread(agents: Sequence[AgentConfig], location: Location, versions: Sequence[int]) -> Gap:
    paths = tuple(
        path
        for path in location.files()
        if clear_path(path) is not None and version_of(path) in {None, *versions}
    )
    names = [agent.name for agent in agents]
    after = names[names.index(DECRYPT) + 1 :]
    text = f"not examined, since there is no key: {', '.join(paths)}"
    if after:
        text += f"; nor what {', '.join(after)} would say of the clear files"
    return Gap(text, "See --key-directory and --key-source.", paths)
