"""When a change in an object store is taken: listed twice, the settle time apart."""

from interlock.repository.cloud.objects import Files, RemoteFile, Unit
from interlock.repository.cloud.stillness import Stillness
from tests.support.object_stores import remote

UNIT = Unit("m", 1)


def files(content: bytes) -> Files:
    return (RemoteFile("x", remote("m/1/x", content)),)


def test_a_change_is_taken_when_it_has_been_listed_for_the_settle_time() -> None:
    stillness = Stillness(settle_s=2.0)

    assert not stillness.look({UNIT: files(b"a")}, 10.0)
    assert stillness.next_look() == 12.0
    assert stillness.models == {"m"}
    assert not stillness.look({UNIT: files(b"a")}, 11.9)
    assert stillness.look({UNIT: files(b"a")}, 12.0) == {UNIT}
    assert stillness.next_look() is None
    assert not stillness.models


def test_what_changes_again_waits_again() -> None:
    stillness = Stillness(settle_s=2.0)
    stillness.look({UNIT: files(b"a")}, 10.0)

    assert not stillness.look({UNIT: files(b"b")}, 12.0)
    assert stillness.look({UNIT: files(b"b")}, 14.0) == {UNIT}


def test_what_goes_waits_as_well() -> None:
    stillness = Stillness(settle_s=2.0)

    assert not stillness.look({UNIT: None}, 10.0)
    assert stillness.look({UNIT: None}, 12.0) == {UNIT}


def test_what_was_in_order_again_is_forgotten() -> None:
    stillness = Stillness(settle_s=2.0)
    stillness.look({UNIT: files(b"a")}, 10.0)
    stillness.look({}, 11.0)

    assert not stillness.look({UNIT: files(b"a")}, 12.0)


def test_what_could_not_be_fetched_need_not_wait_again() -> None:
    stillness = Stillness(settle_s=2.0)
    stillness.look({UNIT: files(b"a")}, 10.0)
    stillness.look({UNIT: files(b"a")}, 12.0)

    assert stillness.look({UNIT: files(b"a")}, 12.1) == {UNIT}


def test_what_has_lain_there_for_long_is_taken_at_once() -> None:
    old, young = Unit("m", 1), Unit("m", 2)
    stillness = Stillness(settle_s=2.0)
    seen = {old: files(b"a"), young: files(b"b")}

    assert stillness.look(seen, 10.0, ages_s={old: 60.0, young: 0.5}) == {old}
    assert stillness.next_look() == 11.5


def test_what_comes_from_the_future_waits_no_longer_than_anything_else() -> None:
    stillness = Stillness(settle_s=2.0)

    assert not stillness.look({UNIT: files(b"a")}, 10.0, ages_s={UNIT: -3600.0})
    assert stillness.look({UNIT: files(b"a")}, 12.0) == {UNIT}


def test_without_a_settle_time_everything_is_taken() -> None:
    assert Stillness(0.0).look({UNIT: files(b"a")}, 10.0) == {UNIT}
