from collections.abc import Callable
from pathlib import Path

import pytest

from interlock import __version__
from interlock.settings import (
    ControlMode,
    DebugSettings,
    GrpcSettings,
    KeepaliveSettings,
    LifetimeSettings,
    LogSettings,
    ProtocolCategory,
    RepositorySettings,
    RestrictedProtocols,
    Settings,
    SettingsError,
    TlsSettings,
)

ROOTS = (Path("models"),)
CERT = Path("server.pem")
LOAD_NEEDS_EXPLICIT = (
    "Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
)
WILDCARD_ALONE = "Wildcard model name '*' must be the ONLY startup model if specified at all."
DELAYS_NEED_HOLDS = "delays need INTERLOCK_DEBUG_HOLDS=1 as well"
DOUBLE_CATEGORY = "restricted protocol 'health' can not be specified in multiple config groups"


def restricted(*categories: ProtocolCategory) -> RestrictedProtocols:
    return RestrictedProtocols(categories, "key", "value")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(
            lambda: RepositorySettings(roots=()), "--model-repository is required", id="no root"
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, load_models=("a",)),
            LOAD_NEEDS_EXPLICIT,
            id="load-model without explicit",
        ),
        pytest.param(
            lambda: RepositorySettings(
                roots=ROOTS, control_mode=ControlMode.EXPLICIT, load_models=("*", "a")
            ),
            WILDCARD_ALONE,
            id="wildcard and a name",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, load_thread_count=0),
            "model_load_thread_count must be at least 1, got 0",
            id="no load thread",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, load_timeout_s=-1),
            "model_load_timeout_secs must be at least 0, got -1",
            id="negative load timeout",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, load_memory_factor=-0.5),
            "model_load_memory_factor must be at least 0, got -0.5",
            id="negative memory factor",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, rollback_window_s=-1),
            "rollback_window_secs must be at least 0, got -1",
            id="negative rollback window",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, drain_timeout_s=-1),
            "drain_timeout_secs must be at least 0, got -1",
            id="negative drain timeout",
        ),
        pytest.param(
            lambda: RepositorySettings(roots=ROOTS, default_max_batch_size=-1),
            "default_max_batch_size must be at least 0, got -1",
            id="negative batch size",
        ),
        pytest.param(
            lambda: GrpcSettings(port=65536),
            "--grpc-port must lie in 0..65535, got 65536",
            id="port",
        ),
        pytest.param(
            lambda: GrpcSettings(infer_thread_count=1),
            "--grpc-infer-thread-count must lie in 2..128, got 1",
            id="too few threads",
        ),
        pytest.param(
            lambda: GrpcSettings(infer_thread_count=129),
            "--grpc-infer-thread-count must lie in 2..128, got 129",
            id="too many threads",
        ),
        pytest.param(
            lambda: GrpcSettings(
                restricted=(
                    restricted(ProtocolCategory.HEALTH),
                    restricted(ProtocolCategory.TRACE, ProtocolCategory.HEALTH),
                )
            ),
            DOUBLE_CATEGORY,
            id="category twice",
        ),
        pytest.param(
            lambda: TlsSettings(use_ssl=True, server_cert=CERT),
            "--grpc-use-ssl needs --grpc-server-cert and --grpc-server-key as well",
            id="tls without a key",
        ),
        pytest.param(
            lambda: TlsSettings(use_ssl_mutual=True, server_cert=CERT, server_key=CERT),
            "--grpc-use-ssl-mutual needs --grpc-root-cert as well:"
            " the certificates that vouch for clients",
            id="mutual tls without roots",
        ),
        pytest.param(
            lambda: KeepaliveSettings(time_ms=0),
            "keepalive_time must be at least 1, got 0",
            id="keepalive",
        ),
        pytest.param(
            lambda: LifetimeSettings(exit_timeout_s=-1),
            "exit_timeout_secs must be at least 0, got -1",
            id="exit timeout",
        ),
        pytest.param(
            lambda: LogSettings(access_log=1.5),
            "--access-log must lie in 0..1, got 1.5",
            id="access log",
        ),
        pytest.param(
            lambda: LogSettings(verbose_level=-1),
            "log_verbose must be at least 0, got -1",
            id="verbosity",
        ),
        pytest.param(
            lambda: DebugSettings(delay_scheduler=3), DELAYS_NEED_HOLDS, id="delay without holds"
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make: Callable[[], object], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make()

    assert str(refused.value) == text


def test_the_defaults_are_those_of_tritonserver() -> None:
    settings = Settings(repository=RepositorySettings(roots=ROOTS))

    assert (settings.grpc.target, settings.grpc.reuse_port) == ("0.0.0.0:8001", False)
    assert settings.grpc.keepalive == KeepaliveSettings(
        7_200_000, 20_000, permit_without_calls=False, max_pings_without_data=2
    )
    assert settings.repository.control_mode is ControlMode.NONE
    assert settings.repository.load_thread_count == 4
    assert settings.lifetime == LifetimeSettings(
        exit_on_error=True, strict_readiness=True, exit_timeout_s=30
    )
    assert (settings.id, settings.version) == ("triton", __version__)


def test_mutual_tls_switches_tls_on() -> None:
    tls = TlsSettings(use_ssl_mutual=True, server_cert=CERT, server_key=CERT, root_cert=CERT)

    assert tls.enabled


def test_a_wildcard_may_be_named_twice() -> None:
    settings = RepositorySettings(
        roots=ROOTS, control_mode=ControlMode.EXPLICIT, load_models=("*", "*")
    )

    assert set(settings.load_models) == {"*"}


def test_backend_options_do_not_change_with_what_they_were_made_of() -> None:
    given = {"onnxruntime": {"threads": "2"}}
    settings = RepositorySettings(roots=ROOTS, backend_config=given)
    given["onnxruntime"]["threads"] = "3"

    assert settings.backend_config["onnxruntime"] == {"threads": "2"}


def test_a_restricted_value_is_not_shown() -> None:
    group = RestrictedProtocols((ProtocolCategory.HEALTH,), "key", "secret")

    assert "secret" not in repr(group)


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert GrpcSettings(address="::1", port=9).target == "[::1]:9"
