"""The bounds of the cache: the operator's, and the disk's."""

from pathlib import Path

import pytest

from interlock.repository.cloud.budget import SPARE_BYTES, Budget, NoRoomError, free_bytes


def plenty(_: Path) -> int:
    return 1 << 40


def test_what_is_held_and_what_is_coming_count_against_the_limit(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 100, free=plenty)
    budget.hold(40)

    with budget.coming(60):
        assert budget.held_bytes == 100
        with pytest.raises(NoRoomError) as caught, budget.coming(1):
            pass

    assert str(caught.value) == (
        "needs 1 bytes more than the 100 that the cache holds, and --cloud-cache-bytes is 100"
    )
    assert budget.held_bytes == 40


def test_what_has_gone_makes_room(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 100, free=plenty)
    budget.hold(100)
    budget.hold(-60)

    with budget.coming(60):
        assert budget.held_bytes == 100


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    budget = Budget(tmp_path, free=lambda _: SPARE_BYTES + 4)

    with budget.coming(4), pytest.raises(NoRoomError) as caught, budget.coming(5):
        pass

    assert str(caught.value) == (
        f"needs 5 bytes, and 4 are free for it in {tmp_path} (see --scratch-directory)"
    )


def test_without_a_limit_the_disk_alone_counts(tmp_path: Path) -> None:
    budget = Budget(tmp_path)

    with budget.coming(1):
        assert free_bytes(tmp_path) > 0
