import pytest
from google.protobuf import text_format
from hypothesis import given

from interlock.domain.config_text import ConfigError, parse
from interlock.domain.errors import InvalidRequestError
from interlock.pb import model_config_pb2 as pb
from tests.support.configs import RICH, mutated


def test_keeps_everything_that_the_text_says() -> None:
    message = parse(RICH, "p")

    assert [tensor.name for tensor in message.input] == ["x", "ids"]
    assert message.input[1].HasField("reshape")
    assert message.output[0].data_type == pb.TYPE_STRING
    assert message.dynamic_batching.priority_queue_policy[1].max_queue_size == 3
    assert message.optimization.graph.level == -1
    assert message.model_warmup[0].name == "two parts"
    assert parse(text_format.MessageToString(message), "p") == message


def test_an_error_shows_the_place_and_what_to_write() -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse("input [\n  {\n    dim: [ 64 ]\n  }\n]\n", "repo/m/config.pbtxt")

    assert str(error.value) == (
        "failed to read text proto from repo/m/config.pbtxt: "
        'Message type "inference.ModelInput" has no field named "dim".\n'
        "  repo/m/config.pbtxt:3:5\n"
        "        dim: [ 64 ]\n"
        "        ^\n"
        "Write: dims: [ 64 ]"
    )


def test_the_caret_stands_below_the_column_behind_tabs_and_wide_characters() -> None:
    with pytest.raises(ConfigError) as error:
        parse("\tname: '模型' foo: 1", "p")

    source, caret = error.value.excerpt.split("\n")
    assert source == "    \tname: '模型' foo: 1"
    assert caret == "    \t" + " " * len("name: '") + "    " + " " * len("' ") + "^"


def test_a_long_line_is_shown_around_the_column() -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"name: '{'a' * 500}' foo: 1 # {'b' * 500}", "p")

    source, caret = error.value.excerpt.split("\n")
    assert len(source) < 130
    assert source[caret.index("^") :].startswith("foo")


def test_a_carriage_return_is_not_part_of_the_line() -> None:
    with pytest.raises(ConfigError) as error:
        parse("name: 'x'\r\nfoo: 1\r\n", "p")

    assert error.value.source == "foo: 1"


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse("\ufeffname: 'x'", "p").name == "x"


def test_bytes_that_are_no_text_are_shown_with_their_place() -> None:
    with pytest.raises(ConfigError) as error:
        parse(b"backend: 'b'\nname: 'caf\xe9'".decode(errors="surrogateescape"), "p")

    assert str(error.value) == (
        "failed to read text proto from p: the file is not UTF-8 text (byte 0xE9)\n"
        "  p:2:11\n"
        "    name: 'caf\ufffd'\n"
        "              ^\n"
        "Save the file as UTF-8."
    )


def test_a_surrogate_that_is_no_byte_is_refused_as_well() -> None:
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(code point U\+D800\)"):
        parse("name: '\ud800'", "p")


@pytest.mark.parametrize("literal", ["\\n\\t\\\\", "\\'", '\\"', "\\101\\7", "\\x41\\x4", "\\\\q"])
def test_known_escapes_are_read(literal: str) -> None:
    assert parse(f"name: '{literal}'", "p").name


@pytest.mark.parametrize("literal", ["\\q", "\\777", "\\xg", "\\u4e2d", "\\?"])
def test_an_escape_that_is_none_is_refused_at_its_place(literal: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"backend: 'a\\\\{literal}'", "p")

    assert error.value.message == (
        "failed to read text proto from p: Invalid escape sequence in string literal."
    )
    assert error.value.column == 14


def test_an_error_without_a_place_is_two_sentences() -> None:
    assert str(ConfigError("it is wrong", hint="Write it right.")) == (
        "it is wrong. Write it right."
    )
    assert str(ConfigError("It is wrong.", hint="Write it.")) == "It is wrong. Write it."
    assert str(ConfigError("it is wrong")) == "it is wrong"


def test_an_error_finds_its_place_by_its_field() -> None:
    error = ConfigError("no", field=("input", 0, "dims", 1)).located(RICH, "p")

    assert (error.path, error.line, error.source) == ("p", 9, "    dims: [ 3, -1 ]")
    assert error.located("name: 'x'", "q") is error


@pytest.mark.parametrize("text", [None, "", "name: 'x'"])
def test_an_error_whose_field_is_not_there_stays_without_a_place(text: str | None) -> None:
    error = ConfigError("no", field=("input", 0, "dims"))

    assert error.located(text, "p") is error


def refusal(text: str) -> ConfigError | None:
    try:
        parse(text, "p")
    except ConfigError as error:
        return error
    return None


@given(mutated())
def test_a_broken_text_is_a_config_error_with_a_place_inside_it(text: str) -> None:
    error = refusal(text)

    if error is not None:
        lines = text.removeprefix("\ufeff").split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert str(error).encode()
