import argparse
from pathlib import Path

import pytest

from interlock.cli.connection_flags import add_client_verb, connection_of
from interlock.cli.verb import DONE, UsageError
from interlock.client.connection import Connection

FROM_ENVIRONMENT = {
    "INTERLOCK_SERVER": "gpu-7:9",
    "INTERLOCK_TLS": "true",
    "INTERLOCK_TLS_CA": "ca.pem",
    "INTERLOCK_TLS_CERT": "c.pem",
    "INTERLOCK_TLS_KEY": "k.pem",
    "INTERLOCK_TLS_SERVER_NAME": "models",
    "INTERLOCK_HEADERS": "X-User=a, x-team=b=c",
    "INTERLOCK_TIMEOUT": "2.5",
}
AS_FLAGS = [
    "--server=gpu-7:9", "--tls", "--tls-ca=ca.pem", "--tls-cert=c.pem", "--tls-key=k.pem",
    "--tls-server-name=models", "--header=X-User=a", "--header=x-team=b=c", "--timeout=2.5",
]  # fmt: skip
DESCRIBED = Connection(
    server="gpu-7:9",
    tls=True,
    tls_ca=Path("ca.pem"),
    tls_cert=Path("c.pem"),
    tls_key=Path("k.pem"),
    tls_server_name="models",
    headers=(("x-user", "a"), ("x-team", "b=c")),
    timeout_s=2.5,
)


def connection(words: list[str], environment: dict[str, str]) -> Connection:
    subparsers = argparse.ArgumentParser().add_subparsers()
    parser = add_client_verb(
        subparsers, "verb", lambda *_: DONE, summary="do a thing", timeout_s=30
    )
    return connection_of(parser.parse_args(words), environment)


def test_flags_describe_a_connection() -> None:
    assert connection(AS_FLAGS, {}) == DESCRIBED


def test_variables_describe_a_connection() -> None:
    assert connection([], FROM_ENVIRONMENT) == DESCRIBED


def test_a_flag_goes_before_its_variable() -> None:
    words = ["--server=other", "--header=x=y", "--timeout=9"]
    made = connection(words, FROM_ENVIRONMENT)

    assert (made.server, made.headers, made.timeout_s) == ("other", (("x", "y"),), 9.0)


def test_nothing_said_is_this_machine_in_the_clear() -> None:
    assert connection([], {"INTERLOCK_SERVER": "", "INTERLOCK_TLS": "0"}) == Connection(
        server="localhost:8001", timeout_s=30
    )


def test_headers_on_lines_of_their_own_may_hold_commas() -> None:
    made = connection([], {"INTERLOCK_HEADERS": "a=1,2\nb=3\n"})

    assert made.headers == (("a", "1,2"), ("b", "3"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        pytest.param(["--header=x"], "'x' is no header: write KEY=VALUE", id="no value"),
        pytest.param(["--header=a b=c"], "'a b=c' is no header", id="key"),
        pytest.param(["--header=x-bin=c"], "'x-bin=c' is no header", id="binary"),
        pytest.param(["--header=x=é"], "the value of the header 'x' is not printable", id="value"),
        pytest.param(["--timeout=0"], "--timeout expects a number of seconds above 0", id="zero"),
        pytest.param(["--timeout=x"], "--timeout expects a number of seconds above 0", id="text"),
        pytest.param(["--tls-key=k"], "--tls-cert and --tls-key belong together", id="key alone"),
    ],
)
def test_refuses(words: list[str], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        connection(words, {})

    assert str(refused.value).startswith(text)
