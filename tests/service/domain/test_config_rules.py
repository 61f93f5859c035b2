import pytest
from google.protobuf import text_format
from hypothesis import given, strategies as st

from interlock.domain.config_text import ConfigError
from interlock.domain.config_values import message_of
from interlock.domain.errors import ServiceError
from tests.support.configs import PATH, RICH, complaint, configured, mutated


def test_a_model_without_a_configuration_gets_the_defaults() -> None:
    config = configured(None, first_entries=["model.onnx"])

    assert (config.name, config.backend) == ("m", "onnxruntime")


def test_strictly_a_configuration_must_be_there() -> None:
    error = complaint(None, auto_complete=False)

    assert error.message == (f"failed to open text file for read {PATH}: No such file or directory")
    assert error.path == PATH


def test_the_name_may_be_left_out() -> None:
    assert configured("max_batch_size: 1").name == "m"


def test_another_name_than_the_directorys_is_refused() -> None:
    error = complaint('\nname: "n"')

    assert str(error) == (
        "unexpected directory name 'm' for model 'n', directory name must equal model name\n"
        f"  {PATH}:2:7\n"
        '    name: "n"\n'
        "          ^\n"
        "Write: name: \"m\" (or leave the name out), or rename the directory to 'n'."
    )


def test_a_broken_text_is_refused() -> None:
    assert complaint("nmae: 'x'").hint == "Write: name: 'x'"


def test_inputs_and_outputs_are_checked_at_once_without_auto_complete() -> None:
    text = "input { name: 'x' }"

    assert configured(text, auto_complete=True).inputs[0].datatype == ""
    assert "must specify 'data_type'" in complaint(text, auto_complete=False).message


def test_a_place_is_right_behind_a_byte_order_mark() -> None:
    error = complaint("\ufeffmax_batch_size: -1")

    assert (error.line, error.column) == (1, 17)


def test_what_comes_out_is_the_same_when_it_goes_in() -> None:
    once = configured(RICH, auto_complete=False)

    twice = configured(text_format.MessageToString(message_of(once)), auto_complete=False)

    assert twice == once


@given(
    st.sampled_from(["onnxruntime", "python", "identity", ""]),
    st.integers(0, 9),
    st.sampled_from(["", "dynamic_batching { }", "sequence_batching { oldest { } }"]),
    st.lists(
        st.sampled_from(["{ }", "{ name: 'g' }", "{ kind: KIND_MODEL count: 3 }"]), max_size=3
    ),
    st.sampled_from(["", "version_policy { }", "version_policy { specific { versions: 2 } }"]),
)
def test_normalising_twice_changes_nothing(
    backend: str, max_batch_size: int, batching: str, groups: list[str], policy: str
) -> None:
    once = configured(
        f"backend: '{backend}' max_batch_size: {max_batch_size} {batching} {policy} "
        f"instance_group [ {', '.join(groups)} ]"
    )

    assert configured(text_format.MessageToString(message_of(once))) == once


def refusal(text: str, *, auto_complete: bool) -> ServiceError | None:
    try:
        configured(text, auto_complete=auto_complete)
    except ServiceError as error:
        return error
    return None


@given(mutated(), st.booleans())
def test_a_configuration_is_taken_or_refused_with_a_place(text: str, auto_complete: bool) -> None:
    error = refusal(text, auto_complete=auto_complete)

    if isinstance(error, ConfigError):
        assert error.line <= text.count("\n") + 1
    else:
        assert error is None or "is outside model directory" in str(error)


def test_an_error_of_the_reader_is_its_cause() -> None:
    with pytest.raises(ConfigError) as error:
        configured("name: 3")

    assert isinstance(error.value.__cause__, text_format.ParseError)
