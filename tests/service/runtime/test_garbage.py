"""What the collector looks at again, and what not."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from interlock.runtime.garbage import spare_what_stays


class Node:
    """Something that may refer to itself."""

    def __init__(self) -> None:
        self.other: object = None


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_is_not_looked_at_again() -> None:
    node = Node()

    spared = spare_what_stays()

    assert spared == gc.get_freeze_count() > 0
    assert not any(one is node for one in gc.get_objects())


def test_what_is_spared_still_goes_with_its_last_reference() -> None:
    node = Node()
    gone = weakref.ref(node)
    spare_what_stays()

    del node

    assert gone() is None


def test_what_was_garbage_already_is_not_kept() -> None:
    node = Node()
    node.other = node
    gone = weakref.ref(node)
    del node

    spare_what_stays()

    assert gone() is None


def test_what_comes_later_is_collected() -> None:
    spare_what_stays()
    node = Node()
    node.other = node
    gone = weakref.ref(node)
    del node

    gc.collect()

    assert gone() is None
