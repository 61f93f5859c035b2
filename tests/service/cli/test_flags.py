"""The flags of `interlock serve`: each one by itself, its variable, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.flag_table import FLAGS, HIDDEN, IGNORED, variable_of
from interlock.cli.flags import FlagError, HelpAskedError, make_parser, read_settings
from interlock.settings import (
    CompressionLevel,
    ControlMode,
    DebugSettings,
    GrpcTransport,
    LogFormat,
    ProtocolCategory,
    RestrictedProtocols,
    Settings,
)

ROOT = "--model-repository=models"
TLS = ["--grpc-server-cert=cert.pem", "--grpc-server-key=key.pem", "--grpc-root-cert=root.pem"]
STRICT_DEPRECATED = (
    "Warning: '--strict-model-config' has been deprecated! "
    "Please use '--disable-auto-complete-config' instead."
)
STRICT_OVERRIDDEN = (
    "Warning: Overriding deprecated '--strict-model-config' from False to True "
    "in favor of '--disable-auto-complete-config'!"
)
LOAD_NEEDS_EXPLICIT = (
    "Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
)
GROUP = RestrictedProtocols((ProtocolCategory.HEALTH, ProtocolCategory.TRACE), "key", "v=1,2")

# Flag, text, what else it needs, where it ends up, as what.
CASES: list[tuple[str, str, list[str], Callable[[Settings], Any], Any]] = [
    ("model-repository", "a", [], lambda s: s.repository.roots, (Path("a"),)),
    ("model-store", "a", [], lambda s: s.repository.roots, (Path("a"),)),
    ("cloud-cache-bytes", "1000", [ROOT], lambda s: s.repository.cloud.cache_bytes, 1000),
    (
        "model-control-mode",
        "Explicit",
        [ROOT],
        lambda s: s.repository.control_mode,
        ControlMode.EXPLICIT,
    ),
    (
        "load-model",
        "m",
        [ROOT, "--model-control-mode=explicit"],
        lambda s: s.repository.load_models,
        ("m",),
    ),
    ("model-namespacing", "true", [ROOT], lambda s: s.repository.namespacing, True),
    ("model-config-name", "v2", [ROOT], lambda s: s.repository.config_name, "v2"),
    (
        "disable-auto-complete-config",
        "true",
        [ROOT],
        lambda s: s.repository.disable_auto_complete,
        True,
    ),
    ("strict-model-config", "on", [ROOT], lambda s: s.repository.disable_auto_complete, True),
    ("repository-poll-secs", "3", [ROOT], lambda s: s.repository.poll_s, 3.0),
    ("version-fallback", "false", [ROOT], lambda s: s.repository.version_fallback, False),
    ("repository-settle-secs", "0.5", [ROOT], lambda s: s.repository.settle_s, 0.5),
    ("model-load-thread-count", "7", [ROOT], lambda s: s.repository.load_thread_count, 7),
    ("model-load-retry-count", "2", [ROOT], lambda s: s.repository.load_retry_count, 2),
    ("model-load-timeout-secs", "1.5", [ROOT], lambda s: s.repository.load_timeout_s, 1.5),
    ("model-load-memory-factor", "2.5", [ROOT], lambda s: s.repository.load_memory_factor, 2.5),
    ("allow-explicit-control", "on", [ROOT], lambda s: s.repository.allow_explicit_control, True),
    ("rollback-window-secs", "60", [ROOT], lambda s: s.repository.rollback_window_s, 60.0),
    ("drain-timeout-secs", "1.5", [ROOT], lambda s: s.repository.drain_timeout_s, 1.5),
    (
        "scratch-directory",
        "/var/tmp",
        [ROOT],
        lambda s: s.repository.scratch_directory,
        Path("/var/tmp"),
    ),
    (
        "backend-config",
        "onnxruntime,a=b,c",
        [ROOT],
        lambda s: s.repository.backend_config["onnxruntime"],
        {"a": "b,c"},
    ),
    ("repoagent-directory", "/agents", [ROOT], lambda s: s.agents.directory, Path("/agents")),
    ("agent-timeout-secs", "2.5", [ROOT], lambda s: s.agents.timeout_s, 2.5),
    ("agent-policy", "/policy.yaml", [ROOT], lambda s: s.agents.policy, Path("/policy.yaml")),
    ("agent-policy-grace-secs", "60", [ROOT], lambda s: s.agents.policy_grace_s, 60.0),
    ("key-directory", "/keys", [ROOT], lambda s: s.agents.key_directory, Path("/keys")),
    ("key-source", "env:KEYS", [ROOT], lambda s: s.agents.key_sources, ("env:KEYS",)),
    (
        "signer-directory",
        "/signers",
        [ROOT],
        lambda s: s.agents.signer_directory,
        Path("/signers"),
    ),
    ("grpc-address", "127.0.0.1", [ROOT], lambda s: s.grpc.address, "127.0.0.1"),
    ("grpc-port", "9", [ROOT], lambda s: s.grpc.port, 9),
    ("reuse-grpc-port", "1", [ROOT], lambda s: s.grpc.reuse_port, True),
    ("allow-grpc", "true", [ROOT], lambda s: s.grpc.port, 8001),
    ("grpc-transport", "public", [ROOT], lambda s: s.grpc.transport, GrpcTransport.PUBLIC),
    ("max-pending-bytes", "1000", [ROOT], lambda s: s.grpc.max_pending_bytes, 1000),
    ("grpc-infer-thread-count", "128", [ROOT], lambda s: s.grpc.infer_thread_count, 128),
    (
        "grpc-infer-response-compression-level",
        "HIGH",
        [ROOT],
        lambda s: s.grpc.infer_response_compression_level,
        CompressionLevel.HIGH,
    ),
    (
        "grpc-header-forward-pattern",
        "x-.*",
        [ROOT],
        lambda s: s.grpc.header_forward_pattern,
        "x-.*",
    ),
    (
        "grpc-restricted-protocol",
        "health,trace:key=v=1,2",
        [ROOT],
        lambda s: s.grpc.restricted,
        (GROUP,),
    ),
    ("grpc-use-ssl", "true", [ROOT, *TLS], lambda s: s.grpc.tls.use_ssl, True),
    ("grpc-use-ssl-mutual", "true", [ROOT, *TLS], lambda s: s.grpc.tls.use_ssl_mutual, True),
    ("grpc-server-cert", "c", [ROOT], lambda s: s.grpc.tls.server_cert, Path("c")),
    ("grpc-server-key", "k", [ROOT], lambda s: s.grpc.tls.server_key, Path("k")),
    ("grpc-root-cert", "r", [ROOT], lambda s: s.grpc.tls.root_cert, Path("r")),
    ("grpc-keepalive-time", "10", [ROOT], lambda s: s.grpc.keepalive.time_ms, 10),
    ("grpc-keepalive-timeout", "11", [ROOT], lambda s: s.grpc.keepalive.timeout_ms, 11),
    (
        "grpc-keepalive-permit-without-calls",
        "true",
        [ROOT],
        lambda s: s.grpc.keepalive.permit_without_calls,
        True,
    ),
    (
        "grpc-http2-max-pings-without-data",
        "12",
        [ROOT],
        lambda s: s.grpc.keepalive.max_pings_without_data,
        12,
    ),
    (
        "grpc-http2-min-recv-ping-interval-without-data",
        "13",
        [ROOT],
        lambda s: s.grpc.keepalive.min_recv_ping_interval_without_data_ms,
        13,
    ),
    (
        "grpc-http2-max-ping-strikes",
        "14",
        [ROOT],
        lambda s: s.grpc.keepalive.max_ping_strikes,
        14,
    ),
    (
        "grpc-max-connection-age",
        "15",
        [ROOT],
        lambda s: s.grpc.keepalive.max_connection_age_ms,
        15,
    ),
    (
        "grpc-max-connection-age-grace",
        "16",
        [ROOT],
        lambda s: s.grpc.keepalive.max_connection_age_grace_ms,
        16,
    ),
    ("exit-on-error", "false", [ROOT], lambda s: s.lifetime.exit_on_error, False),
    ("strict-readiness", "off", [ROOT], lambda s: s.lifetime.strict_readiness, False),
    ("required-model", "m", [ROOT], lambda s: s.lifetime.required_models, ("m",)),
    ("exit-timeout-secs", "5", [ROOT], lambda s: s.lifetime.exit_timeout_s, 5.0),
    ("shutdown-delay-secs", "2.5", [ROOT], lambda s: s.lifetime.shutdown_delay_s, 2.5),
    ("id", "mine", [ROOT], lambda s: s.id, "mine"),
    ("server-version", "2.51.0", [ROOT], lambda s: s.version, "2.51.0"),
    ("log-verbose", "2", [ROOT], lambda s: s.logs.verbose_level, 2),
    ("log-info", "false", [ROOT], lambda s: s.logs.info, False),
    ("log-warning", "false", [ROOT], lambda s: s.logs.warning, False),
    ("log-error", "false", [ROOT], lambda s: s.logs.error, False),
    ("log-format", "iso8601", [ROOT], lambda s: s.logs.format, LogFormat.ISO8601),
    (
        "audit-log",
        "/var/log/audit.jsonl",
        [ROOT],
        lambda s: s.logs.audit_log,
        Path("/var/log/audit.jsonl"),
    ),
    ("access-log", "0.1", [ROOT], lambda s: s.logs.access_log, 0.1),
]
by_name = pytest.mark.parametrize(
    ("name", "text", "others", "look", "expected"), CASES, ids=[case[0] for case in CASES]
)


@by_name
def test_a_flag_with_an_equal_sign(
    name: str, text: str, others: list[str], look: Callable[[Settings], Any], expected: Any
) -> None:
    assert look(read_settings([*others, f"--{name}={text}"], {})) == expected


@by_name
def test_a_flag_with_its_value_behind_it(
    name: str, text: str, others: list[str], look: Callable[[Settings], Any], expected: Any
) -> None:
    assert look(read_settings([f"--{name}", text, *others], {})) == expected


@by_name
def test_a_flag_as_an_environment_variable(
    name: str, text: str, others: list[str], look: Callable[[Settings], Any], expected: Any
) -> None:
    assert look(read_settings(others, {variable_of(name): text})) == expected


def test_every_flag_of_the_table_is_tested() -> None:
    assert {case[0] for case in CASES} == {flag.name for flag in (*FLAGS, *HIDDEN)}


def test_a_flag_goes_before_its_variable() -> None:
    settings = read_settings([ROOT, "--grpc-port=1"], {"INTERLOCK_GRPC_PORT": "2"})

    assert settings.grpc.port == 1


def test_the_last_of_two_flags_counts() -> None:
    assert read_settings([ROOT, "--grpc-port=1", "--grpc-port=2"], {}).grpc.port == 2


def test_an_empty_variable_is_not_there() -> None:
    assert read_settings([ROOT], {"INTERLOCK_GRPC_PORT": ""}).grpc.port == 8001


def test_a_bare_switch_is_true_and_what_follows_is_a_flag() -> None:
    settings = read_settings(["--reuse-grpc-port", ROOT, "--access-log", "--log-verbose"], {})

    assert settings.grpc.reuse_port
    assert (settings.logs.access_log, settings.logs.verbose_level) == (1.0, 1)


@pytest.mark.parametrize(
    "text",
    [pytest.param("a,b", id="commas"), pytest.param("a\nb\n", id="lines")],
)
def test_a_variable_may_hold_several_repositories(text: str) -> None:
    settings = read_settings([], {"INTERLOCK_MODEL_REPOSITORY": text})

    assert settings.repository.roots == (Path("a"), Path("b"))


def test_where_lines_separate_commas_belong_to_the_value() -> None:
    settings = read_settings([], {"INTERLOCK_MODEL_REPOSITORY": "a,1\nb"})

    assert settings.repository.roots == (Path("a,1"), Path("b"))


def test_a_variable_may_hold_several_restricted_groups_on_lines_of_their_own() -> None:
    text = "health,trace:key=v=1,2\nlogging:key=other"
    settings = read_settings([ROOT], {"INTERLOCK_GRPC_RESTRICTED_PROTOCOL": text})

    assert settings.grpc.restricted == (
        GROUP,
        RestrictedProtocols((ProtocolCategory.LOGGING,), "key", "other"),
    )


def test_a_repository_that_is_named_twice_is_one() -> None:
    settings = read_settings([ROOT, ROOT, "--model-store=models"], {})

    assert settings.repository.roots == (Path("models"),)


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        pytest.param([], {}, "--model-repository is required", id="no repository"),
        pytest.param(
            ["--modle-repository", "m"],
            {},
            "unknown flag --modle-repository; did you mean --model-repository?",
            id="near miss",
        ),
        pytest.param(
            [ROOT, "--exit-timeout=3"],
            {},
            "unknown flag --exit-timeout; did you mean --exit-timeout-secs?",
            id="an abbreviation is not taken",
        ),
        pytest.param([ROOT, "--qqqq"], {}, "unknown flag --qqqq", id="nothing near"),
        pytest.param([ROOT, "models"], {}, "unexpected argument 'models'", id="no flag at all"),
        pytest.param(
            [ROOT, "--grpc-port"], {}, "argument --grpc-port: expected one argument", id="no value"
        ),
        pytest.param(
            [ROOT, "--grpc-port=x"], {}, "--grpc-port expects an integer, got 'x'", id="no number"
        ),
        pytest.param(
            [ROOT],
            {"INTERLOCK_GRPC_PORT": "x"},
            "INTERLOCK_GRPC_PORT expects an integer, got 'x'",
            id="no number in the variable",
        ),
        pytest.param(
            [ROOT, "--exit-on-error=maybe"],
            {},
            "--exit-on-error expects true or false, got 'maybe'",
            id="no boolean",
        ),
        pytest.param(
            [ROOT, "--grpc-restricted-protocol=x:k=v"],
            {},
            "unknown restricted protocol 'x'",
            id="restricted protocol",
        ),
        pytest.param(
            [
                ROOT,
                "--grpc-restricted-protocol=health:k=v",
                "--grpc-restricted-protocol=health:k=w",
            ],
            {},
            "restricted protocol 'health' can not be specified in multiple config groups",
            id="restricted twice",
        ),
        pytest.param([ROOT, "--load-model=m"], {}, LOAD_NEEDS_EXPLICIT, id="load-model"),
        pytest.param(
            [ROOT, "--allow-grpc=false"],
            {},
            "--allow-grpc=false would leave nothing to serve: this server speaks gRPC only",
            id="no grpc",
        ),
        pytest.param(
            [ROOT, "--backend-config=default-max-batch-size=many"],
            {},
            "--backend-config default-max-batch-size expects an integer, got 'many'",
            id="default batch size",
        ),
        pytest.param(
            [ROOT],
            {"INTERLOCK_DEBUG_HOLDS": "1", "TRITONSERVER_DELAY_SCHEDULER": "x"},
            "TRITONSERVER_DELAY_SCHEDULER expects a number, got 'x'",
            id="debug delay",
        ),
        pytest.param(
            [ROOT, "--repoagent-directory="],
            {},
            "--repoagent-directory can not be empty",
            id="no agent directory",
        ),
        pytest.param(
            [ROOT, "--key-source=file:/keys"],
            {},
            "--key-source: 'file:/keys' is no source of keys: it is env:VARIABLE or exec:COMMAND",
            id="no source of keys",
        ),
    ],
)
def test_refuses(arguments: list[str], environment: dict[str, str], text: str) -> None:
    with pytest.raises(FlagError) as refused:
        read_settings(arguments, environment)

    assert str(refused.value) == text


@pytest.mark.parametrize("name", IGNORED)
def test_a_flag_that_means_nothing_here_is_taken_with_one_warning(name: str) -> None:
    settings = read_settings([ROOT, f"--{name}", "1", f"--{name}=2"], {})

    assert settings.remarks == (f"--{name} has no effect: {IGNORED[name]}",)


def test_the_variable_of_such_a_flag_warns_as_well() -> None:
    settings = read_settings([ROOT], {"INTERLOCK_ALLOW_HTTP": "false"})

    assert settings.remarks == ("--allow-http has no effect: this server speaks gRPC only",)


def test_a_strict_model_config_is_deprecated() -> None:
    settings = read_settings([ROOT, "--strict-model-config=false"], {})

    assert settings.remarks == (STRICT_DEPRECATED,)
    assert not settings.repository.disable_auto_complete


def test_disabling_auto_complete_overrides_a_strict_model_config_of_false() -> None:
    arguments = [ROOT, "--strict-model-config=false", "--disable-auto-complete-config"]
    settings = read_settings(arguments, {})

    assert settings.remarks == (STRICT_DEPRECATED, STRICT_OVERRIDDEN)
    assert settings.repository.disable_auto_complete


def test_a_model_store_is_deprecated() -> None:
    settings = read_settings(["--model-store=a"], {})

    assert settings.remarks == (
        "'--model-store' has been deprecated! Please use '--model-repository' instead.",
    )


def test_the_default_batch_size_is_the_option_of_every_backend() -> None:
    settings = read_settings([ROOT, "--backend-config=default-max-batch-size=9"], {})

    assert settings.repository.default_max_batch_size == 9


def test_a_variable_that_is_nearly_ours_is_remarked() -> None:
    settings = read_settings([ROOT], {"INTERLOCK_GPRC_PORT": "1", "INTERLOCK_SERVER": "x:1"})

    assert settings.remarks == (
        "INTERLOCK_GPRC_PORT is not a setting; did you mean INTERLOCK_GRPC_PORT?",
    )


def test_a_service_link_of_kubernetes_is_not_a_port() -> None:
    settings = read_settings([ROOT], {"INTERLOCK_GRPC_PORT": "tcp://10.0.0.1:8001"})

    assert settings.grpc.port == 8001
    assert "service link of Kubernetes" in settings.remarks[0]


def test_delays_count_only_with_the_holds() -> None:
    delays = {
        "TRITONSERVER_DELAY_SCHEDULER": "4",
        "TRITONSERVER_SERVER_DELAY_GRPC_RESPONSE_SEC": "1",
        "TRITONSERVER_DELAY_GRPC_RESPONSE": "30",
    }

    assert read_settings([ROOT], delays).debug == DebugSettings()
    assert read_settings([ROOT], {**delays, "INTERLOCK_DEBUG_HOLDS": "1"}).debug == DebugSettings(
        holds=True,
        delay_scheduler=4,
        delay_grpc_response_s=1.0,
        delay_stream_response_ms=30.0,
    )


def test_help_is_asked_for_whatever_else_is_wrong() -> None:
    with pytest.raises(HelpAskedError):
        read_settings(["--help", "--qqqq"], {})


def test_the_help_names_every_flag_with_default_and_variable() -> None:
    text = make_parser().format_help()

    for flag in FLAGS:
        assert f"\n  {flag.spelling} " in text
        assert flag.variable in text
    assert "default 8001, INTERLOCK_GRPC_PORT" in text
    assert "--model-store" not in text
    assert "--allow-http" not in text


def test_object_stores_and_folders_stand_beside_each_other() -> None:
    settings = read_settings(
        [ROOT, "--model-repository=s3://bucket/models", "--model-store=gs://other"],
        {"AWS_PROFILE": "work", "SECRET": "hush"},
    )

    repository = settings.repository
    assert repository.roots == (Path("models"),)
    assert [one.url for one in repository.cloud.locations] == ["s3://bucket/models", "gs://other"]
    assert repository.cloud.environment == {"AWS_PROFILE": "work"}


def test_an_object_store_alone_will_do() -> None:
    settings = read_settings([], {"INTERLOCK_MODEL_REPOSITORY": "s3://a/b,as://c/d"})

    assert settings.repository.roots == ()
    assert len(settings.repository.cloud.locations) == 2


def test_a_url_that_names_no_bucket_is_refused() -> None:
    with pytest.raises(FlagError, match=r"--model-repository expects s3://BUCKET/PATH, .* got"):
        read_settings(["--model-repository=s3://"], {})


def test_no_credential_is_shown() -> None:
    settings = read_settings([ROOT], {"AWS_SECRET_ACCESS_KEY": "hush"})

    assert "hush" not in repr(settings)
