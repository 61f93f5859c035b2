"""The server's settings as frozen values, checked when they are built.

`cli.flags` reads them once from arguments and environment; `app` hands each part of the
server its own group. Nothing else reads the environment. Defaults are tritonserver's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from interlock import __version__
from interlock.domain.cloud_location import CloudLocation


class SettingsError(ValueError):
    """A setting that cannot be, or two that contradict each other."""


class GrpcTransport(Enum):
    """How ModelInfer and ModelStreamInfer are served."""

    AUTO = "auto"
    """On the completion queue if its self-test passes, else as PUBLIC."""
    QUEUE = "queue"
    PUBLIC = "public"


class CompressionLevel(Enum):
    """How hard the answers of the inference RPCs are compressed."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ProtocolCategory(Enum):
    """The groups of RPCs that `--grpc-restricted-protocol` can close."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"


class ControlMode(Enum):
    """Who says which models are served."""

    NONE = "none"
    """Everything that the repositories hold at start."""
    POLL = "poll"
    """What the repositories hold, now and later."""
    EXPLICIT = "explicit"
    """`--load-model` at start, then the repository RPCs."""


class LogFormat(Enum):
    """How a log line looks."""

    DEFAULT = "default"
    ISO8601 = "ISO8601"
    JSON = "json"


MAX_PORT: Final = 65535
MIN_INFER_THREADS: Final = 2
MAX_INFER_THREADS: Final = 128


def _at_least(minimum: float, **values: float) -> None:
    for name, value in values.items():
        if value < minimum:
            raise SettingsError(f"{name} must be at least {minimum}, got {value}")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Encryption of the port. The files are PEM; they are read again when they change."""

    use_ssl: bool = False
    use_ssl_mutual: bool = False
    """Ask every client for a certificate that `root_cert` vouches for; switches TLS on."""
    server_cert: Path | None = None
    server_key: Path | None = None
    root_cert: Path | None = None

    def __post_init__(self) -> None:
        if not self.enabled:
            return
        if self.server_cert is None or self.server_key is None:
            raise SettingsError(
                "--grpc-use-ssl needs --grpc-server-cert and --grpc-server-key as well"
            )
        if self.use_ssl_mutual and self.root_cert is None:
            raise SettingsError(
                "--grpc-use-ssl-mutual needs --grpc-root-cert as well: "
                "the certificates that vouch for clients"
            )

    @property
    def enabled(self) -> bool:
        return self.use_ssl or self.use_ssl_mutual


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """HTTP/2 pings, those that we send and those that we put up with."""

    time_ms: int = 7_200_000
    timeout_ms: int = 20_000
    permit_without_calls: bool = False
    max_pings_without_data: int = 2
    min_recv_ping_interval_without_data_ms: int = 300_000
    max_ping_strikes: int = 2
    max_connection_age_ms: int = 0
    """After so long a connection is asked to end, so that balancers see new ones; 0 is never."""
    max_connection_age_grace_ms: int = 0

    def __post_init__(self) -> None:
        _at_least(1, keepalive_time=self.time_ms, keepalive_timeout=self.timeout_ms)
        _at_least(
            0,
            http2_max_pings_without_data=self.max_pings_without_data,
            http2_min_recv_ping_interval_without_data=self.min_recv_ping_interval_without_data_ms,
            http2_max_ping_strikes=self.max_ping_strikes,
            max_connection_age=self.max_connection_age_ms,
            max_connection_age_grace=self.max_connection_age_grace_ms,
        )


@dataclass(frozen=True, slots=True)
class RestrictedProtocols:
    """RPCs that need the metadata `triton-grpc-protocol-<key>` with exactly `value`."""

    categories: tuple[ProtocolCategory, ...]
    key: str
    value: str = field(repr=False)


def _check_categories(groups: Iterable[RestrictedProtocols]) -> None:
    seen: set[ProtocolCategory] = set()
    for group in groups:
        for category in group.categories:
            if category in seen:
                raise SettingsError(
                    f"restricted protocol '{category.value}' can not be specified in"
                    " multiple config groups"
                )
            seen.add(category)


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The port and what happens on it. Messages have no size limit."""

    address: str = "0.0.0.0"  # noqa: S104 - tritonserver's default
    port: int = 8001
    """0 lets the system choose; the log line `Listening on` says which one it was."""
    reuse_port: bool = False
    transport: GrpcTransport = GrpcTransport.AUTO
    tls: TlsSettings = field(default_factory=TlsSettings)
    keepalive: KeepaliveSettings = field(default_factory=KeepaliveSettings)
    infer_thread_count: int = 2
    max_pending_bytes: int = 0
    """Past so many bytes of unanswered requests nothing is received; 0: a quarter of the memory."""
    infer_response_compression_level: CompressionLevel = CompressionLevel.NONE
    header_forward_pattern: str = ""
    """RE2, partial match, case-insensitive; "" forwards nothing."""
    restricted: tuple[RestrictedProtocols, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= MAX_PORT:
            raise SettingsError(f"--grpc-port must lie in 0..{MAX_PORT}, got {self.port}")
        if not MIN_INFER_THREADS <= self.infer_thread_count <= MAX_INFER_THREADS:
            raise SettingsError(
                f"--grpc-infer-thread-count must lie in {MIN_INFER_THREADS}..{MAX_INFER_THREADS},"
                f" got {self.infer_thread_count}"
            )
        _at_least(0, max_pending_bytes=self.max_pending_bytes)
        _check_categories(self.restricted)

    @property
    def target(self) -> str:
        """Address and port as log lines and error texts write them."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


EVERY_MODEL: Final = "*"
DEFAULT_MAX_BATCH_SIZE: Final = 4
MIN_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """Model repositories in object stores."""

    locations: tuple[CloudLocation, ...] = ()
    cache_bytes: int = 0
    """How much their copies on this machine may take; 0: what is free on the disk."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables that say how to get at the stores, credentials among them."""

    def __post_init__(self) -> None:
        _at_least(0, cloud_cache_bytes=self.cache_bytes)
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Where models come from, and which of them."""

    roots: tuple[Path, ...]
    cloud: CloudSettings = field(default_factory=CloudSettings)
    control_mode: ControlMode = ControlMode.NONE
    poll_s: float = 15.0
    """How often to scan where no file event asks for it; POLL only."""
    settle_s: float = 2.0
    """For how long a version must lie still before it is touched; POLL only."""
    load_models: tuple[str, ...] = ()
    """Names, or `EVERY_MODEL` alone; EXPLICIT only."""
    config_name: str = ""
    """Prefer `configs/<config_name>.pbtxt` of a model over its config.pbtxt."""
    namespacing: bool = False
    """Tell models of one name in several roots apart instead of refusing them."""
    disable_auto_complete: bool = False
    load_thread_count: int = 4
    load_retry_count: int = 0
    """How often a version that failed to load is tried again at once."""
    load_timeout_s: float = 0.0
    """How long one attempt to load a version may take before it is written off; 0 is for ever."""
    load_memory_factor: float = 1.0
    """Multiplies what a version is taken to want of memory while it is loaded; 0: do not ask."""
    version_fallback: bool = True
    """Load the next newest in the place of a version that fails, where the policy is `latest`."""
    backend_config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Options by backend name; those of every backend under ""."""
    default_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    """What auto-complete gives to a model that can batch and does not say how much."""
    rollback_window_s: float = 0.0
    """For how long what was replaced stays loaded, so that a rollback is one step."""
    drain_timeout_s: float = 0.0
    """After so long what waits in a version that is taken down is refused; 0 is never."""
    allow_explicit_control: bool = False
    """Let clients load and unload in NONE and POLL as well."""
    scratch_directory: Path | None = None
    """Where files that come with a load are kept; the system's temporary folder by default."""

    def __post_init__(self) -> None:
        if not self.roots and not self.cloud.locations:
            raise SettingsError("--model-repository is required")
        _at_least(1, model_load_thread_count=self.load_thread_count)
        _at_least(0, default_max_batch_size=self.default_max_batch_size)
        _at_least(
            0,
            model_load_retry_count=self.load_retry_count,
            model_load_timeout_secs=self.load_timeout_s,
            model_load_memory_factor=self.load_memory_factor,
        )
        _at_least(MIN_POLL_S, repository_poll_secs=self.poll_s)
        _at_least(0, repository_settle_secs=self.settle_s)
        _at_least(
            0, rollback_window_secs=self.rollback_window_s, drain_timeout_secs=self.drain_timeout_s
        )
        if self.load_models and self.control_mode is not ControlMode.EXPLICIT:
            raise SettingsError(
                "Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
            )
        if EVERY_MODEL in self.load_models and len(set(self.load_models)) > 1:
            raise SettingsError(
                "Wildcard model name '*' must be the ONLY startup model if specified at all."
            )
        # A copy of both levels, so that nothing can be changed behind our back.
        frozen = {
            name: MappingProxyType(dict(options)) for name, options in self.backend_config.items()
        }
        object.__setattr__(self, "backend_config", MappingProxyType(frozen))


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Repository agents, the keys that `decrypt` uses, and whom `signature` trusts."""

    directory: Path | None = None
    """`<directory>/<name>/agent.py` is the agent `name`."""
    timeout_s: float = 0.0
    """How long an agent may take over one thing; 0 is for ever."""
    key_directory: Path | None = None
    key_sources: tuple[str, ...] = ()
    """`env:VARIABLE` or `exec:COMMAND`, asked in this order after the directory."""
    signer_directory: Path | None = None
    """`<directory>/<name>.pem` is whom `signature` trusts by that name; without it nobody."""
    policy: Path | None = None
    """Which agents models must pass, and what they may not bring along; without it anything."""
    policy_grace_s: float = 300.0
    """How long what the policy is against after a change goes on serving."""

    def __post_init__(self) -> None:
        _at_least(0, agent_timeout_secs=self.timeout_s, agent_policy_grace_secs=self.policy_grace_s)


@dataclass(frozen=True, slots=True)
class LifetimeSettings:
    """How the server starts and how it ends."""

    exit_on_error: bool = True
    """End with exit code 1 when a model fails to load at start."""
    strict_readiness: bool = True
    """Be ready only while every known model is; without effect where models are required."""
    required_models: tuple[str, ...] = ()
    """Ready means that these serve, and the others do not count."""
    exit_timeout_s: float = 30.0
    """Budget of the whole shutdown, the shutdown delay not counted."""
    shutdown_delay_s: float = 0.0
    """How long to serve on as usual, while health already says NOT_SERVING."""

    def __post_init__(self) -> None:
        _at_least(
            0, exit_timeout_secs=self.exit_timeout_s, shutdown_delay_secs=self.shutdown_delay_s
        )
        if any(not name.strip() for name in self.required_models):
            raise SettingsError("--required-model needs the name of a model")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged at start; the LogSettings RPC may change all but the last two."""

    format: LogFormat = LogFormat.DEFAULT
    verbose_level: int = 0
    info: bool = True
    warning: bool = True
    error: bool = True
    access_log: float = 0.0
    """Fraction of requests that get a line of their own; 0 is none."""
    audit_log: Path | None = None
    """A file to which a line is added for whatever changes what is served."""

    def __post_init__(self) -> None:
        _at_least(0, log_verbose=self.verbose_level)
        if not 0.0 <= self.access_log <= 1.0:
            raise SettingsError(f"--access-log must lie in 0..1, got {self.access_log}")


@dataclass(frozen=True, slots=True)
class DebugSettings:
    """Delays and holds for tests and operators' trials; all off unless `holds` is set.

    They carry the values of Triton's variables, named in each field.
    """

    holds: bool = False
    """INTERLOCK_DEBUG_HOLDS=1: without it the others are 0, whatever the environment says."""
    delay_scheduler: int = 0
    """TRITONSERVER_DELAY_SCHEDULER: run nothing until so many requests wait, once."""
    delay_grpc_response_s: float = 0.0
    """TRITONSERVER_SERVER_DELAY_GRPC_RESPONSE_SEC: every RPC but the inference ones waits."""
    delay_stream_response_ms: float = 0.0
    """TRITONSERVER_DELAY_GRPC_RESPONSE: each response of a stream waits before it is sent."""

    def __post_init__(self) -> None:
        delays = {
            "delay_scheduler": self.delay_scheduler,
            "delay_grpc_response_s": self.delay_grpc_response_s,
            "delay_stream_response_ms": self.delay_stream_response_ms,
        }
        _at_least(0, **delays)
        if not self.holds and any(delays.values()):
            raise SettingsError("delays need INTERLOCK_DEBUG_HOLDS=1 as well")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the server was told at its start."""

    repository: RepositorySettings
    agents: AgentSettings = field(default_factory=AgentSettings)
    grpc: GrpcSettings = field(default_factory=GrpcSettings)
    lifetime: LifetimeSettings = field(default_factory=LifetimeSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    debug: DebugSettings = field(default_factory=DebugSettings)
    id: str = "triton"
    """The value of `--id`. ServerMetadata answers "triton" whatever it is, as Triton does."""
    version: str = __version__
    """What ServerMetadata calls the version of the server."""
    remarks: tuple[str, ...] = ()
    """What reading the settings found worth a warning; `app` logs each of them once at start."""
