import pytest

from interlock.cli.flag_table import FLAGS, HIDDEN, IGNORED, Flag, variable_of

NAMES = [flag.name for flag in (*FLAGS, *HIDDEN)]


def test_no_flag_stands_in_the_table_twice() -> None:
    assert len({*NAMES, *IGNORED}) == len(NAMES) + len(IGNORED)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_says_what_it_is(flag: Flag[object]) -> None:
    assert flag.help
    assert flag.metavar


def test_a_variable_is_the_flag_in_capitals() -> None:
    assert variable_of("grpc-http2-max-ping-strikes") == "INTERLOCK_GRPC_HTTP2_MAX_PING_STRIKES"


def test_where_a_value_may_hold_a_comma_commas_do_not_separate() -> None:
    separated = {flag.name for flag in (*FLAGS, *HIDDEN) if flag.commas}

    assert separated == {"model-repository", "model-store", "load-model", "required-model"}
