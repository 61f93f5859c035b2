"""Every flag of `interlock serve`, spelled as tritonserver spells it.

The table is the truth: parser, help, environment variables and the search for the flag
that was meant are all made from it. Defaults are those of the settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Generic, TypeVar

from interlock.cli import flag_values as read
from interlock.settings import (
    AgentSettings,
    CompressionLevel,
    GrpcSettings,
    GrpcTransport,
    LifetimeSettings,
    LogFormat,
    LogSettings,
    RepositorySettings,
    Settings,
    SettingsError,
)
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.key_sources import source_of

Value_co = TypeVar("Value_co", covariant=True)


class Group(Enum):
    """The headings of `--help`, in their order."""

    MODELS = "models"
    GRPC = "gRPC"
    TLS = "encryption"
    KEEPALIVE = "connections"
    LIFETIME = "start and stop"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Flag(Generic[Value_co]):
    """One flag: how it is read, and what holds where it is not given.

    `bare` is the text that the flag without a value stands for; "" where it needs one.
    A `many` flag may be repeated. In its environment variable the values stand on lines
    of their own; where no value can hold a comma, `commas` separate them as well.
    """

    name: str
    group: Group
    convert: Callable[[str], Value_co]
    default: Value_co | None
    metavar: str
    help: str
    bare: str = ""
    many: bool = False
    commas: bool = False

    @property
    def spelling(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return variable_of(self.name)


def variable_of(name: str) -> str:
    """Return the environment variable of a flag."""
    return f"INTERLOCK_{name.upper().replace('-', '_')}"


def _agent_directory(text: str) -> Path:
    if not text:
        raise SettingsError("--repoagent-directory can not be empty")
    return read.path(text)


def _key_source(text: str) -> str:
    try:
        source_of(text)
    except EncryptionError as error:
        raise SettingsError(f"--key-source: {error}") from error
    return text


def _switch(name: str, group: Group, default: bool, text: str) -> Flag[bool]:
    return Flag(name, group, read.boolean, default, "BOOL", text, bare="true")


def _number(name: str, group: Group, default: int, text: str) -> Flag[int]:
    return Flag(name, group, read.integer, default, "N", text)


def _file(name: str, group: Group, text: str) -> Flag[Path]:
    return Flag(name, group, read.path, None, "FILE", text)


_REPOSITORY: Final = RepositorySettings(roots=(Path(),))
_GRPC: Final = GrpcSettings()
_KEEPALIVE: Final = _GRPC.keepalive
_AGENTS: Final = AgentSettings()
_LIFETIME: Final = LifetimeSettings()
_LOGS: Final = LogSettings()
_SERVER: Final = Settings(repository=_REPOSITORY)

MODEL_REPOSITORY: Final = Flag(
    "model-repository", Group.MODELS, read.repository, None, "PATH",
    "a folder of models, or one in an object store: s3://BUCKET/PATH, gs://BUCKET/PATH,"
    " as://ACCOUNT/CONTAINER/PATH; may be repeated", many=True, commas=True,
)  # fmt: skip
CLOUD_CACHE_BYTES: Final = _number(
    "cloud-cache-bytes", Group.MODELS, _REPOSITORY.cloud.cache_bytes,
    "how much the copies of models in object stores may take in the scratch directory; 0: what"
    " is free there",
)  # fmt: skip
MODEL_CONTROL_MODE: Final = Flag(
    "model-control-mode", Group.MODELS, read.control_mode, _REPOSITORY.control_mode,
    "none|poll|explicit", "none: serve everything in the repositories; poll: and follow their"
    " changes; explicit: what --load-model names, then what clients load",
)  # fmt: skip
REPOSITORY_POLL_SECS: Final = Flag(
    "repository-poll-secs", Group.MODELS, read.seconds, _REPOSITORY.poll_s, "SECONDS",
    "how often to scan the repositories where no file event asks for it; poll mode only",
)  # fmt: skip
REPOSITORY_SETTLE_SECS: Final = Flag(
    "repository-settle-secs", Group.MODELS, read.seconds, _REPOSITORY.settle_s, "SECONDS",
    "how long a version without a manifest must lie still before it is touched; but for mode poll "
    "only at the start",
)  # fmt: skip
LOAD_MODEL: Final = Flag(
    "load-model", Group.MODELS, str, None, "NAME",
    "load this model at start, '*' for all; explicit mode only; may be repeated",
    many=True, commas=True,
)  # fmt: skip
MODEL_CONFIG_NAME: Final = Flag(
    "model-config-name", Group.MODELS, read.config_name, _REPOSITORY.config_name, "NAME",
    "prefer configs/NAME.pbtxt of a model over its config.pbtxt",
)  # fmt: skip
MODEL_NAMESPACING: Final = _switch(
    "model-namespacing", Group.MODELS, _REPOSITORY.namespacing,
    "serve models of one name in several repositories as FOLDER::NAME, instead of refusing them",
)  # fmt: skip
DISABLE_AUTO_COMPLETE: Final = _switch(
    "disable-auto-complete-config", Group.MODELS, _REPOSITORY.disable_auto_complete,
    "take configurations as written, complete nothing from the model file",
)  # fmt: skip
MODEL_LOAD_THREAD_COUNT: Final = _number(
    "model-load-thread-count", Group.MODELS, _REPOSITORY.load_thread_count,
    "how many versions are loaded at a time",
)  # fmt: skip
MODEL_LOAD_RETRY_COUNT: Final = _number(
    "model-load-retry-count", Group.MODELS, _REPOSITORY.load_retry_count,
    "how often a version that failed to load is tried again at once",
)  # fmt: skip
MODEL_LOAD_TIMEOUT: Final = Flag(
    "model-load-timeout-secs", Group.MODELS, read.seconds, _REPOSITORY.load_timeout_s, "SECONDS",
    "write off an attempt to load a version, warm it up and prove it that takes longer: the"
    " version fails, and another load takes the place; 0 waits for ever",
)  # fmt: skip
MODEL_LOAD_MEMORY_FACTOR: Final = Flag(
    "model-load-memory-factor", Group.MODELS, read.factor, _REPOSITORY.load_memory_factor,
    "FACTOR", "multiply by this what a version is taken to want of memory while it is loaded,"
    " the size of its files, twice for .onnx; one that does not fit into what is free is not"
    " loaded; 0 loads it all the same",
)  # fmt: skip
VERSION_FALLBACK: Final = _switch(
    "version-fallback", Group.MODELS, _REPOSITORY.version_fallback,
    "where the policy is 'latest', load the next newest version in the place of one that fails;"
    " at start and in poll mode",
)  # fmt: skip
ALLOW_EXPLICIT_CONTROL: Final = _switch(
    "allow-explicit-control", Group.MODELS, _REPOSITORY.allow_explicit_control,
    "let clients load and unload in the modes none and poll as well: a load looks again at once,"
    " an unload holds until a load names the model",
)  # fmt: skip
ROLLBACK_WINDOW_SECS: Final = Flag(
    "rollback-window-secs", Group.MODELS, read.seconds, _REPOSITORY.rollback_window_s, "SECONDS",
    "how long what was replaced stays loaded, so that a rollback is one step; it keeps its"
    " memory for that long",
)  # fmt: skip
DRAIN_TIMEOUT_SECS: Final = Flag(
    "drain-timeout-secs", Group.MODELS, read.seconds, _REPOSITORY.drain_timeout_s, "SECONDS",
    "refuse what still waits in a version after it has been taken down for so long; what runs"
    " is let finish; 0 waits for all",
)  # fmt: skip
SCRATCH_DIRECTORY: Final = Flag(
    "scratch-directory", Group.MODELS, read.path, None, "PATH",
    "where files that come with a load are kept [the system's folder for temporary files]",
)  # fmt: skip
BACKEND_CONFIG: Final = Flag(
    "backend-config", Group.MODELS, read.backend_option, None, "[BACKEND,]KEY=VALUE",
    "an option of one backend, or of all (default-max-batch-size); may be repeated", many=True,
)  # fmt: skip
REPOAGENT_DIRECTORY: Final = Flag(
    "repoagent-directory", Group.MODELS, _agent_directory, None, "PATH",
    "with a folder for every repository agent of your own: PATH/NAME/agent.py",
)  # fmt: skip
AGENT_TIMEOUT_SECS: Final = Flag(
    "agent-timeout-secs", Group.MODELS, read.seconds, _AGENTS.timeout_s, "SECONDS",
    "refuse a model whose repository agent takes longer; 0 waits for ever",
)  # fmt: skip
AGENT_POLICY: Final = Flag(
    "agent-policy", Group.MODELS, read.path, None, "PATH",
    "a file that says which repository agents models must pass and what they may not bring along;"
    " it is followed while the server runs",
)  # fmt: skip
AGENT_POLICY_GRACE_SECS: Final = Flag(
    "agent-policy-grace-secs", Group.MODELS, read.seconds, _AGENTS.policy_grace_s, "SECONDS",
    "serve on for so long what no longer passes after a change of the agent policy",
)  # fmt: skip
KEY_DIRECTORY: Final = Flag(
    "key-directory", Group.MODELS, read.path, None, "PATH",
    "with a file ID.key for every key that encrypted models need; nobody else may look into it",
)  # fmt: skip
KEY_SOURCE: Final = Flag(
    "key-source", Group.MODELS, _key_source, None, "SOURCE",
    "env:VARIABLE that holds keys, or exec:COMMAND that prints one, its name being the last"
    " argument or {id}; may be repeated", many=True,
)  # fmt: skip
SIGNER_DIRECTORY: Final = Flag(
    "signer-directory", Group.MODELS, read.path, None, "PATH",
    "with a file NAME.pem, a key or a certificate, for everybody whose signature of a model counts;"
    " nobody else may write there",
)  # fmt: skip

GRPC_ADDRESS: Final = Flag(
    "grpc-address", Group.GRPC, str, _GRPC.address, "ADDRESS", "the address to listen on"
)
GRPC_PORT: Final = _number(
    "grpc-port", Group.GRPC, _GRPC.port, "the port to listen on; 0 lets the system choose"
)
REUSE_GRPC_PORT: Final = _switch(
    "reuse-grpc-port", Group.GRPC, _GRPC.reuse_port, "let several processes share the port"
)
GRPC_TRANSPORT: Final = Flag(
    "grpc-transport", Group.GRPC, read.choice(GrpcTransport), _GRPC.transport,
    "auto|queue|public", "how inference calls are served: on gRPC's completion queue, by"
    " grpcio's own handlers, or on the first if it works here",
)  # fmt: skip
GRPC_INFER_THREAD_COUNT: Final = _number(
    "grpc-infer-thread-count", Group.GRPC, _GRPC.infer_thread_count,
    "threads that decode costly requests, 2 to 128",
)  # fmt: skip
MAX_PENDING_BYTES: Final = _number(
    "max-pending-bytes", Group.GRPC, _GRPC.max_pending_bytes,
    "receive no more while requests of so many bytes wait for their answers; 0 is a quarter of"
    " the memory limit",
)  # fmt: skip
GRPC_COMPRESSION: Final = Flag(
    "grpc-infer-response-compression-level", Group.GRPC, read.choice(CompressionLevel),
    _GRPC.infer_response_compression_level, "none|low|medium|high",
    "compress the answers of inference calls",
)  # fmt: skip
GRPC_HEADER_FORWARD_PATTERN: Final = Flag(
    "grpc-header-forward-pattern", Group.GRPC, read.pattern, _GRPC.header_forward_pattern,
    "REGEX", "hand metadata that matches to the model, as request parameters",
)  # fmt: skip
GRPC_RESTRICTED_PROTOCOL: Final = Flag(
    "grpc-restricted-protocol", Group.GRPC, read.restricted_protocols, None,
    "GROUP[,GROUP]:KEY=VALUE", "close groups of RPCs (health, metadata, inference,"
    " shared-memory, model-config, model-repository, statistics, trace, logging) to calls"
    " without the metadata triton-grpc-protocol-KEY: VALUE; may be repeated; better given in"
    " the environment, where other users cannot read it", many=True,
)  # fmt: skip

GRPC_USE_SSL: Final = _switch(
    "grpc-use-ssl", Group.TLS, _GRPC.tls.use_ssl, "encrypt; needs certificate and key"
)
GRPC_USE_SSL_MUTUAL: Final = _switch(
    "grpc-use-ssl-mutual", Group.TLS, _GRPC.tls.use_ssl_mutual,
    "ask clients for a certificate as well; implies --grpc-use-ssl",
)  # fmt: skip
GRPC_SERVER_CERT: Final = _file(
    "grpc-server-cert", Group.TLS, "the server's certificate chain, PEM; re-read when it changes"
)
GRPC_SERVER_KEY: Final = _file("grpc-server-key", Group.TLS, "the server's private key, PEM")
GRPC_ROOT_CERT: Final = _file(
    "grpc-root-cert", Group.TLS, "the certificates that vouch for clients, PEM"
)

GRPC_KEEPALIVE_TIME: Final = _number(
    "grpc-keepalive-time", Group.KEEPALIVE, _KEEPALIVE.time_ms, "ping a silent client, ms"
)
GRPC_KEEPALIVE_TIMEOUT: Final = _number(
    "grpc-keepalive-timeout", Group.KEEPALIVE, _KEEPALIVE.timeout_ms,
    "give up on a client that does not answer a ping, ms",
)  # fmt: skip
GRPC_KEEPALIVE_PERMIT: Final = _switch(
    "grpc-keepalive-permit-without-calls", Group.KEEPALIVE, _KEEPALIVE.permit_without_calls,
    "allow pings while no call is open",
)  # fmt: skip
GRPC_MAX_PINGS: Final = _number(
    "grpc-http2-max-pings-without-data", Group.KEEPALIVE, _KEEPALIVE.max_pings_without_data,
    "pings that we send before data must flow; 0 is no limit",
)  # fmt: skip
GRPC_MIN_PING_INTERVAL: Final = _number(
    "grpc-http2-min-recv-ping-interval-without-data", Group.KEEPALIVE,
    _KEEPALIVE.min_recv_ping_interval_without_data_ms,
    "a client that pings more often without data gets a strike, ms",
)  # fmt: skip
GRPC_MAX_PING_STRIKES: Final = _number(
    "grpc-http2-max-ping-strikes", Group.KEEPALIVE, _KEEPALIVE.max_ping_strikes,
    "strikes before a connection is closed; 0 is no limit",
)  # fmt: skip
GRPC_MAX_CONNECTION_AGE: Final = _number(
    "grpc-max-connection-age", Group.KEEPALIVE, _KEEPALIVE.max_connection_age_ms,
    "ask a connection to end after so long, ms; 0 is never",
)  # fmt: skip
GRPC_MAX_CONNECTION_AGE_GRACE: Final = _number(
    "grpc-max-connection-age-grace", Group.KEEPALIVE, _KEEPALIVE.max_connection_age_grace_ms,
    "and cut it so much later, ms; 0 is never",
)  # fmt: skip

EXIT_ON_ERROR: Final = _switch(
    "exit-on-error", Group.LIFETIME, _LIFETIME.exit_on_error,
    "end when a model fails to load at start",
)  # fmt: skip
STRICT_READINESS: Final = _switch(
    "strict-readiness", Group.LIFETIME, _LIFETIME.strict_readiness,
    "be ready only while every known model is",
)  # fmt: skip
REQUIRED_MODEL: Final = Flag(
    "required-model", Group.LIFETIME, str, None, "NAME",
    "be ready while this model serves, whatever the others do; may be repeated",
    many=True, commas=True,
)  # fmt: skip
EXIT_TIMEOUT: Final = Flag(
    "exit-timeout-secs", Group.LIFETIME, read.seconds, _LIFETIME.exit_timeout_s, "SECONDS",
    "how long requests in flight may take to finish when the server stops",
)  # fmt: skip
SHUTDOWN_DELAY: Final = Flag(
    "shutdown-delay-secs", Group.LIFETIME, read.seconds, _LIFETIME.shutdown_delay_s, "SECONDS",
    "serve on for so long after the signal, health saying NOT_SERVING, for load balancers"
    " that lag",
)  # fmt: skip
SERVER_ID: Final = Flag("id", Group.LIFETIME, str, _SERVER.id, "NAME", "a name for this server")
SERVER_VERSION: Final = Flag(
    "server-version", Group.LIFETIME, str, _SERVER.version, "TEXT",
    "the version that ServerMetadata answers",
)  # fmt: skip

LOG_VERBOSE: Final = Flag(
    "log-verbose", Group.LOGS, read.verbosity, _LOGS.verbose_level, "LEVEL",
    "details; 0 is none", bare="1",
)  # fmt: skip
LOG_INFO: Final = _switch("log-info", Group.LOGS, _LOGS.info, "log what happens")
LOG_WARNING: Final = _switch("log-warning", Group.LOGS, _LOGS.warning, "log warnings")
LOG_ERROR: Final = _switch("log-error", Group.LOGS, _LOGS.error, "log errors")
LOG_FORMAT: Final = Flag(
    "log-format", Group.LOGS, read.choice(LogFormat), _LOGS.format, "default|ISO8601|json",
    "how a line looks",
)  # fmt: skip
ACCESS_LOG: Final = Flag(
    "access-log", Group.LOGS, read.fraction, _LOGS.access_log, "FRACTION",
    "a line for each request, or for this fraction of them; 0 is off", bare="true",
)  # fmt: skip
AUDIT_LOG: Final = _file(
    "audit-log", Group.LOGS,
    "a file outside of every model repository to which a line of JSON is added for whatever"
    " changes what is served: who, what, which digest, what came of it",
)  # fmt: skip

FLAGS: Final[tuple[Flag[object], ...]] = (
    MODEL_REPOSITORY,
    CLOUD_CACHE_BYTES,
    MODEL_CONTROL_MODE,
    REPOSITORY_POLL_SECS,
    REPOSITORY_SETTLE_SECS,
    LOAD_MODEL,
    MODEL_CONFIG_NAME,
    MODEL_NAMESPACING,
    DISABLE_AUTO_COMPLETE,
    MODEL_LOAD_THREAD_COUNT,
    MODEL_LOAD_RETRY_COUNT,
    MODEL_LOAD_TIMEOUT,
    MODEL_LOAD_MEMORY_FACTOR,
    VERSION_FALLBACK,
    ALLOW_EXPLICIT_CONTROL,
    ROLLBACK_WINDOW_SECS,
    DRAIN_TIMEOUT_SECS,
    SCRATCH_DIRECTORY,
    BACKEND_CONFIG,
    REPOAGENT_DIRECTORY,
    AGENT_TIMEOUT_SECS,
    AGENT_POLICY,
    AGENT_POLICY_GRACE_SECS,
    KEY_DIRECTORY,
    KEY_SOURCE,
    SIGNER_DIRECTORY,
    GRPC_ADDRESS,
    GRPC_PORT,
    REUSE_GRPC_PORT,
    GRPC_TRANSPORT,
    GRPC_INFER_THREAD_COUNT,
    MAX_PENDING_BYTES,
    GRPC_COMPRESSION,
    GRPC_HEADER_FORWARD_PATTERN,
    GRPC_RESTRICTED_PROTOCOL,
    GRPC_USE_SSL,
    GRPC_USE_SSL_MUTUAL,
    GRPC_SERVER_CERT,
    GRPC_SERVER_KEY,
    GRPC_ROOT_CERT,
    GRPC_KEEPALIVE_TIME,
    GRPC_KEEPALIVE_TIMEOUT,
    GRPC_KEEPALIVE_PERMIT,
    GRPC_MAX_PINGS,
    GRPC_MIN_PING_INTERVAL,
    GRPC_MAX_PING_STRIKES,
    GRPC_MAX_CONNECTION_AGE,
    GRPC_MAX_CONNECTION_AGE_GRACE,
    EXIT_ON_ERROR,
    STRICT_READINESS,
    REQUIRED_MODEL,
    EXIT_TIMEOUT,
    SHUTDOWN_DELAY,
    SERVER_ID,
    SERVER_VERSION,
    LOG_VERBOSE,
    LOG_INFO,
    LOG_WARNING,
    LOG_ERROR,
    LOG_FORMAT,
    ACCESS_LOG,
    AUDIT_LOG,
)


def _grpc_allowed(text: str) -> bool:
    if not read.boolean(text):
        raise SettingsError(
            "--allow-grpc=false would leave nothing to serve: this server speaks gRPC only"
        )
    return True


# Hidden from `--help`: what old scripts still pass.
MODEL_STORE: Final = Flag(
    "model-store", Group.MODELS, read.repository, None, "PATH", "", many=True, commas=True
)
STRICT_MODEL_CONFIG: Final = Flag(
    "strict-model-config", Group.MODELS, read.boolean, None, "BOOL", "", bare="true"
)
ALLOW_GRPC: Final = Flag("allow-grpc", Group.GRPC, _grpc_allowed, True, "BOOL", "", bare="true")

HIDDEN: Final[tuple[Flag[object], ...]] = (MODEL_STORE, STRICT_MODEL_CONFIG, ALLOW_GRPC)

_GRPC_ONLY: Final = "this server speaks gRPC only"
_NOT_YET: Final = "not in this version"
_NO_SUCH_POOL: Final = "there is no such pool here"
_REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    _GRPC_ONLY: (
        "allow-http",
        "http-address",
        "http-port",
        "reuse-http-port",
        "http-header-forward-pattern",
        "http-thread-count",
        "http-restricted-api",
        "http-max-input-size",
        "allow-sagemaker",
        "sagemaker-port",
        "sagemaker-safe-port-range",
        "sagemaker-thread-count",
        "allow-vertex-ai",
        "vertex-ai-port",
        "vertex-ai-thread-count",
        "vertex-ai-default-model",
    ),
    _NOT_YET: (
        "allow-metrics",
        "allow-gpu-metrics",
        "allow-cpu-metrics",
        "metrics-address",
        "metrics-port",
        "metrics-interval-ms",
        "metrics-config",
        "trace-config",
        "trace-file",
        "trace-level",
        "trace-rate",
        "trace-count",
        "trace-log-frequency",
        "cache-config",
        "cache-directory",
        "response-cache-byte-size",
        "rate-limit",
        "rate-limit-resource",
        "model-load-gpu-limit",
        "allow-client-shm",
    ),
    _NO_SUCH_POOL: (
        "grpc-infer-allocation-pool-size",
        "grpc-max-response-pool-size",
        "pinned-memory-pool-byte-size",
        "cuda-memory-pool-byte-size",
        "cuda-virtual-address-size",
        "buffer-manager-thread-count",
    ),
    "backends are part of the server": ("backend-directory",),
    "no GPU is used": ("min-supported-compute-capability", "enable-peer-access", "host-policy"),
    "logs go to stderr": ("log-file",),
}

IGNORED: Final[Mapping[str, str]] = {
    name: reason for reason, names in _REASONS.items() for name in names
}
"""Flags of tritonserver that mean nothing here, with the reason that the warning gives."""
