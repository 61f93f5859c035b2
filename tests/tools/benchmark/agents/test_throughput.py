"""How agents are held against the libraries alone."""

from pathlib import Path

from tools.benchmark.agents import models
from tools.benchmark.agents.throughput import checksum, decrypt, figures
from tools.benchmark.agents.turns import Turn, Turns

SIZE = 3_000_000


def alike(seconds: float) -> list[tuple[Turn, Turn]]:
    turn = Turn(seconds, seconds)
    return [(turn, turn)] * 3


def test_an_agent_is_held_against_the_quickest() -> None:
    turns = Turns({"slow": alike(2.0), "quick": alike(0.75), "agent": alike(1.0)})

    share, *others = figures("part", turns, "agent", ["slow", "quick"], size=SIZE)

    assert share.name == "3 MB: share of the bare speed, quick"
    assert share.value == 0.75
    assert share.reached is False
    assert [(one.name, one.value) for one in others] == [
        ("3 MB: slow", 1.5),
        ("3 MB: quick", 4.0),
        ("3 MB: agent", 3.0),
    ]


def test_four_fifths_of_the_bare_speed_are_enough() -> None:
    turns = Turns({"bare": alike(0.8), "agent": alike(1.0)})

    share, *_ = figures("part", turns, "agent", ["bare"], size=SIZE)

    assert share.name == "3 MB: share of the bare speed"
    assert share.reached


def test_a_real_model_is_read_and_decrypted(tmp_path: Path) -> None:
    model = models.write(tmp_path / "m", SIZE)

    measured = [*checksum(model, SIZE, rounds=1), *decrypt(model, SIZE, rounds=1)]

    assert [one.name for one in measured if one.limit is None] == [
        "3 MB: hashlib",
        "3 MB: checksum",
        "3 MB: mapped",
        "3 MB: written",
        "3 MB: decrypt",
    ]
    assert all(one.value > 0 for one in measured)
