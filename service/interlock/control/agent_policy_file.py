"""Keep the policy of a file: read it, refuse one that others could have written, follow it.

The policy is swapped as a whole. A new one that is broken leaves the old one in force, and is
told of in the log and by `state`, until the file is right again.
"""

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from interlock.control.agent_policy import AgentPolicy
from interlock.control.agent_policy_text import PolicyError, parse_policy
from interlock.domain.yaml_text import MAX_BYTES
from interlock.repository.plain_file import opened
from interlock.runtime.threads import OnDeath, Thread, spawn

log = structlog.get_logger()

POLL_S: Final = 1.0
_MAX_LINKS: Final = 40
"""As many as the system follows."""
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

Identity = tuple[int, ...]
"""What changes when a file is written or replaced; empty for one that is not there."""


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy in force, and whether the file holds another that cannot be used."""

    policy: AgentPolicy
    digest: str
    """SHA-256 of the file that it was read from."""
    revision: int = 1
    """Counts the policies that were in force since the start."""
    trouble: str | None = None
    """Why what the file holds now is not in force; None where it is."""


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A file, and where it must not be. Any thread may call."""

    path: Path
    repositories: Sequence[Path] = ()
    known_agents: Callable[[], Collection[str]] | None = None
    user: int = field(default_factory=os.geteuid)
    """The server's own, whose files it trusts besides root's."""

    def identity(self) -> Identity:
        """Return what to compare to see a change; follows links, as Kubernetes needs."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def read(self) -> tuple[AgentPolicy, str]:
        """Return the policy and its digest. Raise PolicyError."""
        try:
            with opened(self.path) as descriptor:
                self._check(descriptor)
                content = _content(descriptor)
        except OSError as error:
            raise PolicyError(f"{self.path} cannot be read: {error.strerror}") from error
        known = None if self.known_agents is None else self.known_agents()
        policy = parse_policy(content, str(self.path), known_agents=known)
        return policy, sha256(content).hexdigest()

    def _check(self, descriptor: int) -> None:
        """Refuse what is no file of the server's own, by the file that is open."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PolicyError(f"{self.path} is not a regular file")
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        links = _links_on(self.path)
        _check_outside(self.path, [real, *links], self.repositories)
        for link in links:
            _check_link(link, self.user)
        if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
            return
        _check_rights(self.path, found, self.user)
        for directory in {real.parent, self.path.absolute().parent}:
            _check_way(directory, self.user)


class PolicyWatch:
    """Follows the file. `state` may be read by any thread; one calls `step`.

    `changed` is called with each new policy, after it is in force, by whoever calls `step`;
    `refused` with why another one is not.
    """

    def __init__(
        self,
        source: PolicySource,
        changed: Callable[[AgentPolicy], None],
        *,
        refused: Callable[[str], None] = lambda _trouble: None,
        poll_s: float = POLL_S,
    ) -> None:
        """Read the policy. Raise PolicyError: a server does not start without the one it has."""
        self._poll_s = poll_s
        self._source = source
        self._changed = changed
        self._refused = refused
        # Before reading: what is written in between is a change.
        self._taken = source.identity()
        self._last = self._taken
        policy, digest = source.read()
        self._state = PolicyState(policy, digest)
        self._closing = threading.Event()
        self._thread: Thread | None = None

    @property
    def state(self) -> PolicyState:
        return self._state

    def start(self, on_death: OnDeath | None = None) -> None:
        """Say which policy is in force, and begin to look at the file, in a thread of its own."""
        policy, digest = self._state.policy, self._state.digest
        log.info(
            "follows the agent policy", digest=digest, rules=len(policy.rules), file=policy.name
        )
        self._thread = spawn("agent-policy", self._run, on_death=on_death)

    def close(self) -> None:
        """End looking, and wait for the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> None:
        """Take what the file holds if it is news, and has been the same for two looks.

        So that a file which is being written is not read while the half of it is there. One
        that cannot be used is tried each time: what hinders it need not be in the file.
        """
        last, self._last = self._last, self._source.identity()
        is_news = self._last != self._taken or self._state.trouble is not None
        if self._last != last or not is_news:
            return
        self._taken = self._last
        try:
            policy, digest = self._source.read()
        except PolicyError as error:
            self._refuse(str(error))
        else:
            self._take(policy, digest)

    def _refuse(self, trouble: str) -> None:
        if trouble != self._state.trouble:
            log.error("kept the old agent policy", reason=trouble, in_force=self._state.digest)
            self._refused(trouble)
        self._state = replace(self._state, trouble=trouble)

    def _take(self, policy: AgentPolicy, digest: str) -> None:
        if digest == self._state.digest:
            if self._state.trouble is not None:
                log.info("the agent policy is the one in force again", digest=digest)
            self._state = replace(self._state, trouble=None)
            return
        self._state = PolicyState(policy, digest, self._state.revision + 1)
        log.info(
            "took a new agent policy", digest=digest, rules=len(policy.rules), file=policy.name
        )
        self._changed(policy)

    def _run(self) -> None:
        while not self._closing.wait(self._poll_s):
            self.step()


def _content(descriptor: int) -> bytes:
    """Return the file's content, or more than may be if there is more."""
    parts = []
    left = MAX_BYTES + 1
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _links_on(path: Path) -> Sequence[Path]:
    """Return the links on the way to a file, each by a path without links but itself."""
    links: list[Path] = []
    place = Path("/")
    left = [*reversed(path.absolute().parts[1:])]
    while left and len(links) < _MAX_LINKS:
        step = left.pop()
        place = place.parent if step == ".." else place / step
        if place.is_symlink():
            links.append(place)
            target = place.readlink()
            place = place.parent if not target.is_absolute() else Path("/")
            left += reversed(target.parts[target.is_absolute() :])
    return links


def _check_outside(path: Path, way: Iterable[Path], repositories: Sequence[Path]) -> None:
    """Refuse a policy that whoever publishes models could replace."""
    for repository in repositories:
        folders = {repository.absolute(), Path(os.path.realpath(repository))}
        if any(file.is_relative_to(one) for one in folders for file in (*way, path.absolute())):
            raise PolicyError(
                f"{path} lies in the model repository {repository}: keep it where nobody who "
                "publishes models can write"
            )


def _check_link(link: Path, user: int) -> None:
    """Refuse a link that others can let lead elsewhere."""
    if os.statvfs(link.parent).f_flag & os.ST_RDONLY:
        return
    _check_owner(link, link.lstat(), user)
    _check_way(link.parent, user)


def _check_way(directory: Path, user: int) -> None:
    """Refuse directories in which others can put another file, or folder, in this one's place."""
    for one in (directory, *directory.parents):
        found = one.stat()
        # With that bit one's files are one's own.
        if not found.st_mode & stat.S_ISVTX:
            _check_rights(one, found, user)


def _check_rights(path: Path, found: os.stat_result, user: int) -> None:
    _check_owner(path, found, user)
    if found.st_mode & _OTHERS:
        raise PolicyError(f"{path} can be written by others: chmod go-w {path}")


def _check_owner(path: Path, found: os.stat_result, user: int) -> None:
    if found.st_uid not in {0, user}:
        raise PolicyError(f"{path} belongs to another user: it must be the server's own, or root's")
