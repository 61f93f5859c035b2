"""The picture of the life of a version."""

from pathlib import Path

import pytest

from interlock.control.lifecycle import TRANSITIONS
from tools.draw_lifecycle import drawn, main


def test_the_picture_in_the_documentation_is_fresh() -> None:
    assert main(["--check"]) == 0


def test_every_move_is_drawn() -> None:
    text = drawn()

    for (before, event), after in TRANSITIONS.items():
        assert f"{before.value} --> {after.value}: {event.value}\n" in text
    assert "unloaded --> [*]" in text
    assert text.count("--> [*]") == 1


def test_a_stale_picture_is_found_and_drawn_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "docs" / "lifecycle.md"
    output = f"--output={path}"

    assert main([output, "--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert main([output]) == 0
    assert main([output, "--check"]) == 0
    path.write_text("something else")
    assert main([output, "--check"]) == 1
