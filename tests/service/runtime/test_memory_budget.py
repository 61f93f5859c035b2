from functools import partial

from hypothesis import given, strategies as st

from interlock.runtime.memory_budget import MemoryBudget


class Waiters:
    """Who asked to receive, and whose turn came."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.received: list[str] = []

    def ask(self, *names: str) -> None:
        for name in names:
            self.budget.when_free(partial(self.received.append, name))


def test_below_the_limit_nobody_waits() -> None:
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(99)
    waiters.ask("a")

    assert waiters.received == ["a"]


def test_at_the_limit_everybody_waits_until_something_is_answered() -> None:
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(100)
    waiters.ask("a", "b")
    assert waiters.received == []

    waiters.budget.give_back(10)

    assert waiters.received == ["a"]


def test_a_message_that_left_room_lets_the_next_one_come() -> None:
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(100)
    waiters.ask("a", "b", "c")
    waiters.budget.give_back(20)
    waiters.budget.take(10)

    assert waiters.received == ["a", "b"]


def test_a_message_that_filled_the_rest_lets_nobody_come() -> None:
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(100)
    waiters.ask("a", "b")
    waiters.budget.give_back(20)
    waiters.budget.take(30)

    assert waiters.received == ["a"]


def test_one_that_was_cancelled_while_it_waited_holds_up_nobody() -> None:
    """It never takes: what was answered meanwhile must have let the others go."""
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(100)
    waiters.ask("cancelled", "b", "c")
    waiters.budget.give_back(100)

    assert waiters.received == ["cancelled", "b", "c"]


def test_who_gave_up_waits_no_longer() -> None:
    waiters = Waiters(MemoryBudget(100))
    gone = partial(waiters.received.append, "gone")
    waiters.budget.take(100)
    waiters.budget.when_free(gone)
    waiters.ask("b")

    waiters.budget.withdraw(gone)
    assert waiters.budget.waiting == 1
    waiters.budget.give_back(10)

    assert waiters.received == ["b"]


def test_who_gave_up_once_it_was_let_in_gives_its_turn_to_the_next() -> None:
    waiters = Waiters(MemoryBudget(100))
    gone = partial(waiters.received.append, "gone")
    waiters.budget.take(100)
    waiters.budget.when_free(gone)
    waiters.ask("b")
    waiters.budget.give_back(10)
    assert waiters.received == ["gone"]

    waiters.budget.withdraw(gone)

    assert waiters.received == ["gone", "b"]


def test_while_there_is_room_each_one_that_comes_moves_the_others_on() -> None:
    """Those in front may be streams that have nothing to send, and never will take."""
    waiters = Waiters(MemoryBudget(100))
    waiters.budget.take(100)
    waiters.ask("idle", "idle too", "c")
    waiters.budget.give_back(40)
    assert waiters.received == ["idle"]

    waiters.ask("d", "e")

    assert waiters.received == ["idle", "idle too", "c"]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_everybody_comes_in_order_once_all_is_answered(sizes: list[int]) -> None:
    waiters = Waiters(MemoryBudget(50))
    for index, size in enumerate(sizes):
        waiters.budget.take(size)
        waiters.ask(str(index))
    for size in sizes:
        waiters.budget.give_back(size)

    assert waiters.received == [str(index) for index in range(len(sizes))]
    assert waiters.budget.used_bytes == 0
    assert waiters.budget.waiting == 0
