import pytest

from interlock.cli.serve import serve


def test_shows_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--help"], {}) == 0
    assert "  --model-repository PATH\n" in capsys.readouterr().out


def test_a_wrong_flag_is_code_1_with_the_usage_as_tritonserver_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert serve(["--model-repository=m", "--load-model=m"], {}) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as well.",
        "usage: interlock serve --model-repository PATH [--flag value | --flag=value]...",
        "Try 'interlock serve --help', or 'interlock --help' for the other verbs.",
    ]
