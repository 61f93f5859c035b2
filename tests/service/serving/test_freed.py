"""What unloads gave back is counted once."""

import pytest

from interlock.serving.freed import Freed, FreedMeter


class Memory:
    def __init__(self, resident_bytes: int) -> None:
        self.bytes = resident_bytes

    def __call__(self) -> int:
        return self.bytes


def test_an_unload_gave_back_what_the_process_shrank_by() -> None:
    memory = Memory(5000)
    with FreedMeter(memory).measuring() as one:
        memory.bytes = 3000

    assert one.freed == Freed(2000, 3000)


def test_a_process_that_grew_meanwhile_gave_nothing_back() -> None:
    memory = Memory(3000)
    with FreedMeter(memory).measuring() as one:
        memory.bytes = 5000

    assert one.freed == Freed(0, 5000)


def test_what_went_while_two_were_unloaded_counts_for_one_of_them() -> None:
    memory = Memory(5000)
    meter = FreedMeter(memory)
    with meter.measuring() as long:
        with meter.measuring() as short:
            memory.bytes = 4000
        memory.bytes = 3500

    assert (short.freed.freed_bytes, long.freed.freed_bytes) == (1000, 500)


def test_an_unload_that_breaks_disturbs_no_other() -> None:
    memory = Memory(5000)
    meter = FreedMeter(memory)

    def stick() -> None:
        with meter.measuring():
            memory.bytes = 4000
            raise OSError("stuck")

    with pytest.raises(OSError, match="stuck"):
        stick()
    with meter.measuring() as next_one:
        memory.bytes = 1000

    assert next_one.freed.freed_bytes == 3000
