"""What is asked for when the repositories have changed."""

from pathlib import Path

from interlock.control.changes import Changes, IsSame, Look, Order, Remove
from interlock.domain.ids import ModelName
from interlock.repository.fingerprint import Fingerprint
from interlock.repository.listing import FILE, Entry
from interlock.repository.scan import FoundModel
from interlock.repository.stager import StagedVersion
from interlock.repository.staging import Complete, Leaving, Settling, Staging


def decide(
    changes: Changes,
    *,
    same: bool | None = False,
    body: str | None = "",
    duplicates: tuple[str, ...] = (),
    named: tuple[str, ...] = (),
    bare: FoundModel | None = None,
    now: float = 0.0,
    **versions: Staging,
) -> tuple[Order, ...]:
    """Versions are named `v1`, `v2`, and belong to the model `m`."""
    is_same: IsSame = lambda _version, _before, _after: same  # noqa: E731 - for this call only
    staging = {StagedVersion("m", int(name[1:])): one for name, one in versions.items()}
    return changes.decide(
        staging,
        duplicates=duplicates,
        named=named,
        versionless={} if bare is None else {"m": bare},
        is_same=is_same,
        body_of=lambda *_: body,
        now=now,
    )


def without_versions(*files: str) -> FoundModel:
    entries = tuple(Entry(file, FILE, 1, 1, 1, 1, 1) for file in files)
    return FoundModel("m", Path("m"), entries, Fingerprint({}, ""), {}, None)


def asked(orders: tuple[Order, ...]) -> dict[int, tuple[str, str]]:
    (order,) = orders
    assert isinstance(order, Look)
    return {version: (one.fingerprint, one.observed) for version, one in order.found.items()}


def test_what_is_complete_is_asked_for_once() -> None:
    changes = Changes()
    assert asked(decide(changes, v1=Complete("a"))) == {1: ("a", "a")}
    assert decide(changes, v1=Complete("a")) == ()


def test_what_is_not_complete_is_not_touched() -> None:
    assert decide(Changes(), v1=Settling(1.0)) == ()


def test_a_version_that_moves_counts_as_it_was() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert decide(changes, v1=Settling(1.0)) == ()
    assert asked(decide(changes, v1=Settling(1.0), v2=Complete("b"))) == {
        1: ("a", "a"),
        2: ("b", "b"),
    }


def test_the_last_that_has_gone_counts_until_its_successor_is_there() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert decide(changes, v1=Leaving(2.0)) == ()
    assert decide(changes, v2=Settling(3.0)) == ()
    assert asked(decide(changes, v2=Settling(3.0), named=("m",))) == {1: ("a", "a")}
    assert asked(decide(changes, v2=Complete("b"))) == {2: ("b", "b")}


def test_a_successor_that_goes_before_it_has_come_leaves_nothing() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert decide(changes, v2=Settling(3.0)) == ()
    assert decide(changes, v2=Leaving(4.0)) == (Remove(ModelName("m")),)


def test_a_touch_is_no_change_but_what_was_asked_for_is_as_it_is_now() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert decide(changes, v1=Complete("b"), same=None) == ()
    assert asked(decide(changes, v1=Complete("b"), same=True)) == {1: ("a", "b")}
    assert decide(changes, v1=Complete("b")) == ()


def test_other_content_is_a_change() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert asked(decide(changes, v1=Complete("b"))) == {1: ("b", "b")}


def test_what_has_gone_is_removed_after_it_was_leaving() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert decide(changes, v1=Leaving(1.0)) == ()
    assert decide(changes) == (Remove(ModelName("m")),)
    assert decide(changes) == ()


def test_a_duplicate_is_polled_once_and_takes_nothing_away() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    assert asked(decide(changes, duplicates=("m",))) == {1: ("a", "a")}
    assert decide(changes, duplicates=("m",)) == ()


def test_what_was_overtaken_is_asked_for_again_later_each_time() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))
    changes.ask_again("m", 10.0)
    assert changes.next_look() == 12.0
    assert decide(changes, v1=Complete("a"), now=11.0) == ()
    assert asked(decide(changes, v1=Complete("a"), now=12.0)) == {1: ("a", "a")}
    changes.ask_again("m", 20.0)
    assert changes.next_look() == 24.0


def test_what_is_named_is_asked_for_though_nothing_has_changed() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"))

    assert asked(decide(changes, v1=Complete("a"), named=("m",))) == {1: ("a", "a")}


def test_a_duplicate_that_is_named_is_polled_again() -> None:
    changes = Changes()
    decide(changes, duplicates=("m",))

    assert decide(changes, duplicates=("m",), named=("m",)) == (Look(ModelName("m"), {}),)


def test_a_model_without_versions_that_is_named_is_polled_again() -> None:
    changes, bare = Changes(), without_versions()
    decide(changes, bare=bare)

    assert decide(changes, bare=bare, named=("m",)) == (Look(ModelName("m"), {}),)
    assert decide(changes, bare=bare) == ()


def test_a_name_of_which_there_is_nothing_is_not_asked_for() -> None:
    assert decide(Changes(), v1=Settling(1.0), named=("m",)) == ()


def bodies(orders: tuple[Order, ...]) -> dict[int, str]:
    (order,) = orders
    assert isinstance(order, Look)
    return {version: one.body for version, one in order.found.items()}


def test_what_a_version_is_made_of_is_told_with_it() -> None:
    changes = Changes()
    assert bodies(decide(changes, v1=Complete("a"), body="files")) == {1: "files"}
    assert bodies(decide(changes, v1=Complete("b"), body="others")) == {1: "others"}


def test_a_touch_leaves_it_as_it_was() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"), body="files")
    decide(changes, v1=Complete("b"), body="touched files", same=True)

    assert bodies(decide(changes, v1=Complete("b"), v2=Complete("c"), body="c")) == {
        1: "files",
        2: "c",
    }


def test_nothing_is_asked_for_while_that_is_being_found_out() -> None:
    changes = Changes()
    decide(changes, v1=Complete("a"), body="files")

    assert decide(changes, v1=Complete("b"), body=None) == ()
    assert bodies(decide(changes, v1=Complete("b"), body="files")) == {1: "files"}


def test_a_model_without_versions_is_asked_for_once_for_what_it_is() -> None:
    changes = Changes()
    bare, other = without_versions("config.pbtxt"), without_versions("config.pbtxt", "readme")
    assert asked(decide(changes, bare=bare)) == {}
    assert decide(changes, bare=bare) == ()
    assert asked(decide(changes, bare=other)) == {}
    assert decide(changes) == (Remove(ModelName("m")),)
    assert decide(changes) == ()


def test_a_version_that_comes_ends_the_trouble_that_there_was_none() -> None:
    changes = Changes()
    decide(changes, bare=without_versions())
    assert decide(changes, v1=Settling(1.0)) == ()
    assert asked(decide(changes, v1=Complete("a"))) == {1: ("a", "a")}
    assert decide(changes) == (Remove(ModelName("m")),)


def test_a_model_without_versions_that_could_not_be_read_is_asked_for_again() -> None:
    changes, bare = Changes(), without_versions()
    decide(changes, bare=bare)
    changes.ask_again("m", 10.0)
    assert decide(changes, bare=bare, now=11.0) == ()
    assert asked(decide(changes, bare=bare, now=12.0)) == {}
    assert changes.next_look() is None
