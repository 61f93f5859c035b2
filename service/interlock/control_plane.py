"""Builds the control plane: the manager, what it loads with, and what follows the repositories.

The composition root's own part: `app` starts and stops what is made here.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from interlock.backends.catalog import LOAD_COPIES, built_in
from interlock.control.agent_chain import Surroundings
from interlock.control.agent_links import ConfigReader
from interlock.control.agent_policy import AgentPolicy, is_heard
from interlock.control.agent_policy_file import PolicySource, PolicyWatch
from interlock.control.agent_pool import AgentPool
from interlock.control.agent_review import Review
from interlock.control.chronicle import AuditChronicle
from interlock.control.cloud_repository import CloudRepository, WithoutMirrors
from interlock.control.digest_book import DigestBook
from interlock.control.digests import DigestingLoader
from interlock.control.executor import Loader, ThreadExecutor
from interlock.control.first_loads import FirstLoads
from interlock.control.first_look import FirstLook
from interlock.control.fitting import PATIENCE_S, FittingLoader, Reservations
from interlock.control.inbox import Inbox
from interlock.control.index import StagingBoard
from interlock.control.inspection import Inspection
from interlock.control.listing import MIN_AGE_S, Remote, RepositoryListing
from interlock.control.load_watch import LoadWatch
from interlock.control.manager import Manager, Message
from interlock.control.modes import ExplicitMode, Mode, NoneMode, PollMode
from interlock.control.poller import Pace, Poller, at_low_priority
from interlock.control.polling import DiskRepository, Repository
from interlock.control.preparing import Preparations, Workshop
from interlock.control.published import Places
from interlock.control.verifying import VerifyingLoader, staged_already
from interlock.control.wishes import Polled
from interlock.control.workers import Workers
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.repository.cloud.follower import CloudScanner, Follower
from interlock.repository.cloud.root import CloudRoot
from interlock.repository.cloud.roots import open_roots
from interlock.repository.namespaces import OtherNames, namespaces_of, qualified
from interlock.repository.scan import Scanner
from interlock.repository.scratch import Scratch
from interlock.repository.stager import StagedVersion, Stager
from interlock.repository.staging import Rules
from interlock.repository.watcher import Watcher
from interlock.runtime import allocator
from interlock.runtime.clock import monotonic
from interlock.runtime.threads import OnDeath
from interlock.serving.load_job import LoadJob
from interlock.serving.loader import ModelLoader
from interlock.serving.table import ServingTable
from interlock.settings import AgentSettings, ControlMode, RepositorySettings, Settings
from interlock.telemetry.audit import AuditEvent
from interlock.telemetry.free_memory import read_free_memory
from interlock_agents.built_in import built_in_offers
from interlock_agents.catalog import AgentCatalog
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.decrypt import Decryption
from interlock_agents.encryption.key_sources import ring_of
from interlock_agents.locked_memory import LockedMemory
from interlock_agents.signing.signers import NoSigners, SignerDirectory

log = structlog.get_logger()

_PATIENCE: Final = 2.0
"""How many settle times the first versions are given before the server has started."""


OnContent = Callable[[ModelName, Version, str, str], None]
"""Told of a version with a fingerprint what its digest is."""


class ControlPlane:
    """The manager and all that belongs to it, for one server.

    `record` takes in lines of the audit log, where there is one.

    Raise OSError where object stores cannot be mirrored in the scratch directory,
    MissingPackageError where what speaks to them is not installed, and PolicyError where the
    policy for repository agents cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        table: ServingTable,
        record: Callable[[AuditEvent], None] | None = None,
    ) -> None:
        self._settings = settings.repository
        self._watching: Watching | None = None
        self._audit = None if record is None else self._chronicle(record)
        self._scratch = Scratch(self._settings.scratch_directory)
        self._inbox: Inbox[Message] = Inbox()
        self._staging = StagingBoard()
        self._closing = threading.Event()
        self._cloud = self._open_cloud()
        self._roots = (*self._settings.roots, *(root.directory for root in self._cloud))
        namespaces = namespaces_of(self._roots) if self._settings.namespacing else {}
        self._other_names = OtherNames(namespaces)
        self._catalog = catalog_of(settings.agents)
        self._policy = self._open_policy(settings.agents)
        self.listing = RepositoryListing(
            self._roots,
            clock=monotonic,
            remote={root.directory: self._remote(root) for root in self._cloud},
            namespacing=self._settings.namespacing,
            once=self._settings.control_mode is ControlMode.NONE,
        )
        self._disk = self._build_disk()
        self._repository = self._build_repository()
        self._reservations = reservations_for(self._settings)
        polls = self._settings.control_mode is ControlMode.POLL
        loader = self._build_loader(settings)
        self._digesting = None if polls else self._digest(loader)
        self._executor = self._build_executor(self._digesting or loader)
        self._agents = self._build_agents(settings.agents, loader.check)
        self.manager = self._build_manager(table)
        if self._digesting is not None:
            self.manager.subscribe(self._digesting.begin)
        self._review = self._build_review(settings.agents)
        if polls:
            self._watching = Watching(
                self._settings,
                roots=self._roots,
                cloud=self._cloud,
                repository=self._repository,
                first_loads=self.manager.first_loads,
                inbox=self._inbox,
                board=self._staging,
                book=DigestBook(self.manager.view),
                on_digest=None if self._audit is None else self._audit.content_digested,
            )
            self.manager.follow(self._watching)
        self.inspection = self._build_inspection()

    def open(self) -> None:
        """Clear up after servers that were killed, and make room. Raise OSError."""
        self._scratch.sweep()
        if self._settings.scratch_directory is not None:  # else it is made when it is needed
            self._scratch.open()

    def start(self, on_death: OnDeath) -> None:
        """Begin to load."""
        self._tell_policy()
        self.listing.begin(self.manager.first_loads)
        self.listing.start(on_death)
        self.manager.start(on_death)
        if self._policy is not None:
            self._policy.start(on_death)
        if self._review is not None:
            self._review.start(on_death)
        if self._watching is not None:
            self._watching.start(on_death)

    def stop(self) -> None:
        """Start nothing more."""
        self._closing.set()
        for root in self._cloud:
            root.close()
        if self._policy is not None:
            self._policy.close()
        if self._review is not None:
            self._review.close()
        if self._watching is not None:
            self._watching.close()
        self.listing.close()
        self._reservations.close()
        self.manager.stop()

    def wait_for_agents(self, deadline: float) -> None:
        """Wait until repository agents have heard that all is unloaded, at most to `deadline`."""
        if self._agents.wait_over(deadline):
            return
        log.warning("repository agents have not come to an end")
        for model, agent, action in self._agents.at_work:
            log.warning("an agent is still at work", model=model, agent=agent, action=action)

    def close(self) -> None:
        """End, once everything is unloaded."""
        self.manager.close()
        self._scratch.close()

    def _open_policy(self, settings: AgentSettings) -> PolicyWatch | None:
        """Read the policy. Raise PolicyError."""
        if settings.policy is None:
            return None
        repositories = (*self._settings.roots, *self._roots)
        source = PolicySource(settings.policy, repositories, self._catalog.names)
        return PolicyWatch(source, self._policy_changed, refused=self._policy_refused)

    def _tell_policy(self) -> None:
        """Have the audit log tell which policy is in force."""
        if self._audit is not None and self._policy is not None:
            self._audit.policy(self._policy.state.digest)

    def _policy_refused(self, trouble: str) -> None:
        if self._audit is not None:
            self._audit.policy("", trouble=trouble)

    def _policy_now(self) -> AgentPolicy | None:
        return None if self._policy is None else self._policy.state.policy

    def _policy_changed(self, _policy: AgentPolicy) -> None:
        self._tell_policy()
        if self._review is not None:
            self._review.hint()

    def _build_review(self, settings: AgentSettings) -> Review | None:
        watch = self._policy
        if watch is None:
            return None
        review = Review(
            policy=lambda: watch.state.policy,
            book=self._agents.book,
            view=self.manager.view,
            hand_over=self._inbox.put,
            grace_s=settings.policy_grace_s,
            clock=monotonic,
            told=None if self._audit is None else self._audit.judged,
        )
        self.manager.subscribe(review.hint)
        return review

    def _is_heard(self, model: str, is_overridden: bool) -> bool:
        policy = self._policy_now()
        return any(
            is_heard(policy, model, *names, is_overridden=is_overridden)
            for names in self._other_names.any_of(model)
        )

    def _open_cloud(self) -> tuple[CloudRoot, ...]:
        if self._settings.cloud.locations:
            self._scratch.sweep()  # what is swept makes room
        return open_roots(
            self._settings.cloud,
            self._scratch,
            clock=monotonic,
            settle_s=self._settings.settle_s,
            is_used=self._is_used,
        )

    def _is_used(self, model: str) -> bool:
        names = [model]
        if self._settings.namespacing:
            names += [qualified(one, model) for one in namespaces_of(self._roots).values()]
        views = (self.manager.view(name) for name in names)
        return any(view is not None and view.is_alive for view in views)

    def _remote(self, root: CloudRoot) -> Remote:
        return Remote(root.url, root.names, max(MIN_AGE_S, self._settings.poll_s))

    def _build_disk(self) -> DiskRepository:
        settings = self._settings
        return DiskRepository(
            self._roots,
            config_name=settings.config_name,
            auto_complete=not settings.disable_auto_complete,
            version_fallback=settings.version_fallback,
            scratch=self._scratch,
            namespacing=settings.namespacing,
            is_heard=self._is_heard,
        )

    def _build_repository(self) -> Repository:
        settings = self._settings
        if not self._cloud or settings.control_mode is ControlMode.POLL:
            return self._disk
        return CloudRepository(
            self._disk,
            self._cloud,
            patience_s=_PATIENCE * settings.settle_s,
            clock=monotonic,
            pause=self._closing.wait,
            namespacing=settings.namespacing,
        )

    @property
    def lost_threads(self) -> int:
        """How many threads are still inside a load that was written off."""
        return self._executor.lost_threads

    def _build_loader(self, settings: Settings) -> VerifyingLoader:
        repository = self._settings
        loader: Loader = ModelLoader(
            built_in(repository.backend_config),
            trim=allocator.trim,
            auto_complete=not repository.disable_auto_complete,
            default_max_batch_size=repository.default_max_batch_size,
            hold=settings.debug.delay_scheduler,
        )
        if repository.load_memory_factor:
            loader = FittingLoader(
                loader,
                self._reservations,
                copies=LOAD_COPIES,
                factor=repository.load_memory_factor,
            )
        if repository.control_mode is ControlMode.POLL:
            return VerifyingLoader(loader, obey=staged_already)
        return VerifyingLoader(loader)

    def _build_executor(self, loader: Loader) -> ThreadExecutor:
        repository = self._settings
        return ThreadExecutor(
            loader,
            self._inbox.put,
            load_threads=repository.load_thread_count,
            watch=LoadWatch(monotonic, timeout_s=repository.load_timeout_s),
            retries=repository.load_retry_count,
            drain_timeout_s=repository.drain_timeout_s,
        )

    def _build_agents(
        self, settings: AgentSettings, check: Callable[[LoadJob, str], None]
    ) -> Preparations:
        reader = ConfigReader(self._settings.config_name)
        workshop = Workshop(
            catalog=self._catalog,
            surroundings=Surroundings(
                AgentPool(timeout_s=settings.timeout_s), self._scratch, reader.fields_at
            ),
            reader=reader,
            places=Places(self._scratch),
            check=check,
            auto_complete=not self._settings.disable_auto_complete,
            policy=self._policy_now,
            other_names=lambda job: self._other_names.of(job.key.model, job.model_directory),
        )
        return Preparations(workshop, loads=self._executor, report=self._inbox.put)

    def _chronicle(self, record: Callable[[AuditEvent], None]) -> AuditChronicle:
        return AuditChronicle(
            record,
            digest_of=self._digest_of,
            verdict_of=lambda key: self._agents.verdict_of(key),  # noqa: PLW0108 - it is made later
        )

    def _digest(self, loader: Loader) -> DigestingLoader:
        digests = Workers("contents", 1)
        return DigestingLoader(
            loader,
            lambda task: digests.submit(at_low_priority(task), dropped=_nothing),
            is_cancelled=self._closing.is_set,
            on_digest=None if self._audit is None else self._audit.digested,
        )

    def _build_manager(self, table: ServingTable) -> Manager:
        return Manager(
            repository=self._repository,
            mode=mode_of(self._settings),
            executor=self._executor,
            inbox=self._inbox,
            table=table,
            clock=monotonic,
            names=self.listing,
            staging=self._staging,
            rollback_window_s=self._settings.rollback_window_s,
            agents=self._agents,
            chronicle=self._audit,
            settle=FirstLook(
                scanner=WithoutMirrors(
                    Scanner(self._roots, namespacing=self._settings.namespacing),
                    frozenset(root.directory for root in self._cloud),
                ),
                stager=stager_for(self._settings),
                patience_s=_PATIENCE * self._settings.settle_s,
                clock=monotonic,
                pause=self._closing.wait,
            ).as_they_settle,
        )

    def _build_inspection(self) -> Inspection:
        repository = self._settings
        return Inspection(
            self.manager,
            read_model=self._disk.read,
            poll=self._peek,
            clock=monotonic,
            digest_of=self._digest_of,
            verdict_of=self._agents.verdict_of,
            auto_complete=not repository.disable_auto_complete,
        )

    def _peek(self, model: ModelName) -> Polled:
        """Return what a load by name would find now. Raise ServiceError."""
        polled = self.manager.peek(model)
        return polled if self._watching is None else self._watching.foresee(polled)

    def _digest_of(self, key: GenerationKey, fingerprint: str) -> str:
        if self._watching is not None:
            return self._watching.digest_of(key, fingerprint)
        return "" if self._digesting is None else self._digesting.digest_of(key)


class Watching:
    """What follows the repositories in poll mode: the poller, and the watcher that hints."""

    def __init__(
        self,
        settings: RepositorySettings,
        *,
        roots: Sequence[Path],
        cloud: Sequence[CloudRoot],
        repository: Repository,
        first_loads: FirstLoads,
        inbox: Inbox[Message],
        board: StagingBoard,
        book: DigestBook,
        on_digest: OnContent | None,
    ) -> None:
        settle_s = settings.settle_s
        contents = Workers("contents", 1)
        verifying = Workers("verifying", 1)
        patience_s = _PATIENCE * settle_s
        self._followers = [
            Follower(
                root,
                interval_s=settings.poll_s,
                patience_s=patience_s,
                clock=monotonic,
                hint=lambda: self._poller.hint(),  # noqa: PLW0108 - it is made below
            )
            for root in cloud
        ]
        scanner = Scanner(roots, namespacing=settings.namespacing)
        self._poller = Poller(
            scanner=CloudScanner(scanner, self._followers) if cloud else scanner,
            stager=stager_for(settings),
            repository=repository,
            hand_over=inbox.put,
            first_loads=first_loads,
            board=board,
            pace=Pace(settings.poll_s, patience_s=patience_s),
            clock=monotonic,
            background=lambda task: contents.submit(at_low_priority(task), dropped=_nothing),
            urgent=lambda task: verifying.submit(at_low_priority(task), dropped=_nothing),
            after_scan=self._rearm,
            on_digest=self._take_digest,
        )
        self._book = book
        self._on_digest = on_digest
        self.ask = self._poller.ask
        self.withdraw = self._poller.withdraw
        self.foresee = self._poller.foresee
        self._watcher = Watcher(
            settings.roots, self._poller.hint, scan_every_s=settings.poll_s, clock=monotonic
        )

    def digest_of(self, key: GenerationKey, fingerprint: str) -> str:
        """Return the digest of a generation, whether or not the repository has it still."""
        known = self._book.digest_of(key.model, key.version, fingerprint)
        return known or self._poller.digest_of(key.model, key.version, fingerprint)

    def start(self, on_death: OnDeath) -> None:
        """Begin to follow."""
        for follower in self._followers:
            follower.start(on_death)
        self._watcher.start()
        self._poller.start(on_death)

    def close(self) -> None:
        """Ask for nothing more. The watcher holds nothing, and ends with the process."""
        self._poller.close()
        for follower in self._followers:
            follower.close()

    def _take_digest(self, staged: StagedVersion, fingerprint: str, digest: str) -> None:
        model, version = ModelName(staged.model), Version(staged.version)
        self._book.write(model, version, fingerprint, digest)
        if self._on_digest is not None:
            self._on_digest(model, version, fingerprint, digest)

    def _rearm(self) -> None:
        self._watcher.rearm()


def catalog_of(settings: AgentSettings) -> AgentCatalog:
    """Return the repository agents of a server, with the keys and the signers that they use."""
    decryption = Decryption(
        ring_of(settings.key_directory, settings.key_sources),
        CoreDumps(),
        log.warning,
        LockedMemory(),
    )
    _warn_of_absent(settings)
    if settings.key_directory is not None or settings.key_sources:
        decryption.warn()
    trusted = settings.signer_directory
    signers = NoSigners() if trusted is None else SignerDirectory(trusted)
    offers = built_in_offers(decryption, signers, _free_bytes)
    return AgentCatalog(offers, directory=settings.directory)


def _warn_of_absent(settings: AgentSettings) -> None:
    """Say at the start what would be found out at the first load; it may be mounted until then."""
    directories = {
        "--key-directory": settings.key_directory,
        "--signer-directory": settings.signer_directory,
        "--repoagent-directory": settings.directory,
    }
    for flag, directory in directories.items():
        if directory is not None and not directory.is_dir():
            log.warning("there is no such directory", flag=flag, directory=str(directory))


def _free_bytes() -> int | None:
    free = read_free_memory()
    return None if free is None else free.free_bytes


def reservations_for(repository: RepositorySettings) -> Reservations:
    """Return what keeps memory for loads; nobody waits there until he is written off for it."""
    patience_s = PATIENCE_S
    if repository.load_timeout_s:
        patience_s = min(patience_s, repository.load_timeout_s / 2)
    return Reservations(
        read_free_memory, trim=allocator.trim, clock=monotonic, patience_s=patience_s
    )


def stager_for(repository: RepositorySettings) -> Stager:
    """Return what judges how far files are that arrive from now on."""
    rules = Rules(repository.settle_s, started=monotonic(), started_ns=time.time_ns())
    return Stager(rules=rules, clock=monotonic)


def mode_of(repository: RepositorySettings) -> Mode:
    """Return the model control mode that is asked for."""
    match repository.control_mode:
        case ControlMode.POLL:
            return PollMode(repository.allow_explicit_control)
        case ControlMode.EXPLICIT:
            return ExplicitMode(repository.load_models)
        case ControlMode.NONE:
            return NoneMode(repository.allow_explicit_control)


def _nothing() -> None:
    """Nobody waits for what is given up."""
