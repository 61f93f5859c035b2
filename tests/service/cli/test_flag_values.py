import re
from collections.abc import Callable

import pytest

from interlock.cli import flag_values as read
from interlock.settings import GrpcTransport, ProtocolCategory, RestrictedProtocols, SettingsError

FORMAT = "--grpc-restricted-protocol option format is '<config name>:<setting>=<value>'. Got "
INVALID_MODE = "invalid argument for --model-control-mode"


@pytest.mark.parametrize("text", ["true", "TRUE", "on", "On", "1"])
def test_reads_true(text: str) -> None:
    assert read.boolean(text) is True


@pytest.mark.parametrize("text", ["false", "False", "off", "OFF", "0"])
def test_reads_false(text: str) -> None:
    assert read.boolean(text) is False


@pytest.mark.parametrize(
    ("convert", "text", "expected"),
    [
        pytest.param(read.verbosity, "3", 3, id="level"),
        pytest.param(read.verbosity, "true", 1, id="verbose is level 1"),
        pytest.param(read.fraction, "on", 1.0, id="all requests"),
        pytest.param(read.fraction, "0.25", 0.25, id="some requests"),
        pytest.param(read.fraction, "off", 0.0, id="no request"),
        pytest.param(read.factor, "2", 2.0, id="twice"),
        pytest.param(read.factor, "off", 0.0, id="never"),
        pytest.param(read.seconds, "0.5", 0.5, id="half a second"),
        pytest.param(read.choice(GrpcTransport), "QUEUE", GrpcTransport.QUEUE, id="any case"),
        pytest.param(read.backend_option, "onnx,a=b=c", ("onnx", "a", "b=c"), id="one backend"),
        pytest.param(read.backend_option, "a=", ("", "a", ""), id="every backend, empty value"),
        pytest.param(read.pattern, "x-.*", "x-.*", id="pattern"),
    ],
)
def test_reads_a_value(convert: Callable[[str], object], text: str, expected: object) -> None:
    assert convert(text) == expected


@pytest.mark.parametrize(
    ("convert", "text", "message"),
    [
        pytest.param(read.boolean, "yes", "expects true or false, got 'yes'", id="boolean"),
        pytest.param(read.integer, "1.5", "expects an integer, got '1.5'", id="integer"),
        pytest.param(read.seconds, "s", "expects a number of seconds, got 's'", id="seconds"),
        pytest.param(read.fraction, "x", "expects off or a fraction in 0..1, got 'x'", id="share"),
        pytest.param(read.factor, "x", "expects a number or false, got 'x'", id="factor"),
        pytest.param(read.factor, "nan", "expects a number or false, got 'nan'", id="not a number"),
        pytest.param(read.factor, "inf", "expects a number or false, got 'inf'", id="infinity"),
        pytest.param(read.path, "", "expects a path", id="path"),
        pytest.param(
            read.choice(GrpcTransport),
            "fast",
            "expects one of auto, queue, public, got 'fast'",
            id="choice",
        ),
        pytest.param(
            read.pattern,
            "(",
            "expects a regular expression (RE2), got '(': missing ): (?i)(",
            id="pattern",
        ),
    ],
)
def test_refuses_a_value(convert: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        convert(text)


def test_a_restricted_value_may_hold_colons_and_equal_signs() -> None:
    group = read.restricted_protocols("health,model-config:key=a:b=c")

    assert group == RestrictedProtocols(
        (ProtocolCategory.HEALTH, ProtocolCategory.MODEL_CONFIG), "key", "a:b=c"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("x:key=v", "unknown restricted protocol 'x'", id="unknown"),
        pytest.param("health,:key=v", "unknown restricted protocol ''", id="empty"),
        pytest.param("health", f"{FORMAT}health", id="no setting"),
        pytest.param("health:key", f"{FORMAT}health:key", id="no value"),
        pytest.param(":key=v", f"{FORMAT}:key=v", id="no protocol"),
        pytest.param("health:=v", f"{FORMAT}health:=v", id="no key"),
    ],
)
def test_refuses_a_restricted_protocol(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read.restricted_protocols(text)

    assert str(refused.value) == message


@pytest.mark.parametrize("text", ["onnx", "onnx,threads", "=1", ",a=1"])
def test_refuses_a_backend_option(text: str) -> None:
    with pytest.raises(SettingsError, match="--backend-config option format is"):
        read.backend_option(text)


def test_refuses_an_unknown_control_mode() -> None:
    with pytest.raises(SettingsError) as refused:
        read.control_mode("auto")

    assert str(refused.value).startswith(INVALID_MODE)


def test_the_name_of_a_configuration_must_be_one() -> None:
    assert read.config_name("v2.small") == "v2.small"
    with pytest.raises(SettingsError, match="empty argument for --model-config-name"):
        read.config_name("")
    for text in ("a b", " ", "a\n", "../m", "a/b", "a\0"):
        with pytest.raises(ValueError, match="expects a name without blanks and slashes, got"):
            read.config_name(text)
