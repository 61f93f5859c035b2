"""What is asked for as a repository changes, tick by tick."""

import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pytest
from structlog.testing import capture_logs

from interlock.control.answers import LoadMovedError
from interlock.control.contents import Task
from interlock.control.first_loads import FirstLoads
from interlock.control.index import StagingBoard
from interlock.control.poller import ModelWish, Pace, Poller, at_low_priority
from interlock.control.polling import NoVersionError
from interlock.control.wishes import Candidate, LoadWish, Polled, Trouble, UnloadWish
from interlock.domain.cause import A_POLL, Actor, Cause, Deed
from interlock.domain.errors import InternalError, InvalidRequestError, UnavailableError
from interlock.domain.ids import ModelName, Version
from interlock.repository.digest import digest_files
from interlock.repository.fingerprint import fingerprint
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import FILE, list_model
from interlock.repository.manifest import manifest_of, write
from interlock.repository.scan import Scan, Scanner
from interlock.repository.stager import Stager
from interlock.repository.staging import Rules, Writing
from interlock.runtime.threads import spawn
from tests.support.control import MODEL, FakeRepository, HandClock, polled

SETTLE_S: Final = 2.0
INTERVAL_S: Final = 15.0
FUTURE_NS: Final = 1 << 62
"""A start before which everything has lain still."""


def nobody_writes(_paths: Iterable[Path]) -> Writing:
    return Writing.NO


class Ticking:
    """A real repository, a poller that is stepped by hand, and whoever hears its wishes."""

    def __init__(self, root: Path, *, started_ns: int = FUTURE_NS) -> None:
        self.root = root
        self.clock = HandClock()
        self.wishes: list[ModelWish] = []
        self.background: list[Task] = []
        self.urgent: list[Task] = []
        self.board = StagingBoard()
        self.first_loads = FirstLoads()
        self.repository = FakeRepository()
        self.repository.put((1, "a"))
        self.poller = Poller(
            scanner=Scanner([root]),
            stager=Stager(
                rules=Rules(SETTLE_S, started=self.clock.now, started_ns=started_ns),
                clock=self.clock,
                writers=lambda: nobody_writes,
            ),
            repository=self.repository,
            hand_over=self.wishes.append,
            first_loads=self.first_loads,
            board=self.board,
            pace=Pace(INTERVAL_S, patience_s=2 * SETTLE_S),
            clock=self.clock,
            background=self.background.append,
            urgent=self.urgent.append,
        )
        self.first_loads.all_named()

    def write(self, path: str, content: bytes = b"x", model: str = MODEL) -> Path:
        file = self.root / model / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def write_manifest(self) -> None:
        directory = self.root / MODEL
        files = [entry for entry in list_model(directory).entries if entry.kind == FILE]
        write(manifest_of(digest_files(directory, files), [1]), directory / MANIFEST_FILE)

    def tick(self, after: float = 0.0) -> list[ModelWish]:
        """Return what is asked for now."""
        self.clock.now += after
        self.wishes.clear()
        self.due = self.poller.tick()
        return list(self.wishes)

    def load(self) -> LoadWish:
        """Tick, and return the load that is asked for."""
        (wish,) = self.tick()
        assert isinstance(wish, LoadWish)
        return wish

    def serve(self) -> None:
        """Let what is there be loaded, and its contents be read."""
        self.load().outcome.set_result(None)
        assert self.tick() == []
        self.work()
        assert self.tick() == []

    def work(self) -> None:
        """Do all that waits for the other threads."""
        for tasks in (self.urgent, self.background):
            while tasks:
                tasks.pop(0)()

    def digest(self, wish: LoadWish, version: int = 1) -> str:
        (found,) = (one for one in wish.polled.candidates if one.version == version)
        return self.poller.digest_of(MODEL, Version(version), found.fingerprint)

    @property
    def staging(self) -> dict[int, str]:
        return {int(key): text for key, text in self.board.latest.get(MODEL, {}).items()}


@pytest.fixture
def world(tmp_path: Path) -> Ticking:
    root = tmp_path / "models"
    root.mkdir()
    return Ticking(root)


def versions(wish: LoadWish) -> list[int]:
    return [candidate.version for candidate in wish.polled.candidates]


def test_what_is_there_at_the_start_is_asked_for_once(world: Ticking) -> None:
    world.write("1/model.onnx")
    wish = world.load()

    assert (versions(wish), wish.alone) == ([1], True)
    assert world.tick() == []


def test_what_arrives_is_asked_for_when_it_has_lain_still(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.serve()
    world.write("2/model.onnx")
    assert world.tick(after=1) == []
    assert world.staging == {2: "staging: settling"}
    assert world.due == world.clock.now + SETTLE_S

    world.clock.now += SETTLE_S
    assert versions(world.load()) == [1, 2]
    assert world.staging == {}


def test_a_file_that_grows_is_waited_for(world: Ticking) -> None:
    file = world.write("1/model.onnx")
    world.serve()
    for size in range(1, 5):
        file.write_bytes(b"x" * size * 1000)
        assert world.tick(after=1.5) == []
    world.clock.now += SETTLE_S

    assert versions(world.load()) == [1]


def test_a_touch_is_no_new_content(world: Ticking) -> None:
    file = world.write("1/model.onnx")
    wish = world.load()
    wish.outcome.set_result(None)
    world.tick()
    world.work()
    file.touch()
    world.tick(after=1)
    assert world.tick(after=SETTLE_S) == []
    assert len(world.urgent) == 1
    world.work()
    touched = world.load()

    (before,), (after,) = wish.polled.candidates, touched.polled.candidates
    assert after.fingerprint == before.fingerprint
    assert after.observed != before.observed


def found_by_a_poll(world: Ticking, *numbers: int) -> Polled:
    """What a poll that looks at the files alone would find."""
    prints = fingerprint(world.root / MODEL)
    seen = (Candidate(Version(one), prints.of(one), prints.of(one)) for one in numbers)
    return replace(polled(), candidates=tuple(seen))


def test_foresees_that_a_touch_is_no_new_content(world: Ticking) -> None:
    file = world.write("1/model")
    wish = world.load()
    wish.outcome.set_result(None)
    world.tick()
    world.work()
    file.touch()
    world.tick(after=1)
    world.tick(after=SETTLE_S)
    world.work()
    world.load()

    (before,), (seen,) = wish.polled.candidates, found_by_a_poll(world, 1).candidates
    (foreseen,) = world.poller.foresee(found_by_a_poll(world, 1)).candidates

    assert before.fingerprint != seen.fingerprint
    assert foreseen == replace(before, observed=seen.observed)


def test_foresees_new_content_that_no_scan_has_met_yet(world: Ticking) -> None:
    world.write("1/model")
    world.serve()
    world.write("2/model")

    seen = world.poller.foresee(found_by_a_poll(world, 1, 2)).candidates

    assert [one.version for one in seen] == [1, 2]


def test_foresees_that_what_is_incomplete_is_not_loaded(world: Ticking) -> None:
    world.write("1/model")
    world.write_manifest()
    world.tick()
    world.work()
    world.load()
    world.write("2/model")
    world.tick(after=1)

    assert world.staging == {2: "staging: not in manifest.json"}
    seen = world.poller.foresee(found_by_a_poll(world, 1, 2)).candidates
    assert [one.version for one in seen] == [1]


def test_says_what_is_lacking_where_nothing_would_be_loaded(world: Ticking) -> None:
    world.write("1/model")
    world.write_manifest()
    world.write("1/more")
    (world.root / MODEL / "1" / "model").unlink()
    world.tick()

    with pytest.raises(UnavailableError, match="version 1 is incomplete: "):
        world.poller.foresee(found_by_a_poll(world, 1))


def test_other_content_is_a_change_whatever_its_clock_says(world: Ticking) -> None:
    file = world.write("1/model.onnx", b"old")
    world.serve()
    file.unlink()
    world.write("1/model.onnx", b"new")
    world.tick(after=1)
    world.tick(after=SETTLE_S)
    world.work()
    wish = world.load()

    assert versions(wish) == [1]


def test_a_version_that_has_gone_is_not_asked_for_any_more(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.write("2/model.onnx")
    world.serve()
    shutil.rmtree(world.root / MODEL / "2")
    assert world.tick(after=1) == []
    world.clock.now += SETTLE_S

    assert versions(world.load()) == [1]


@pytest.mark.parametrize("what", ["", "1"], ids=["the model", "its last version"])
def test_what_has_gone_is_unloaded_after_the_settle_time(world: Ticking, what: str) -> None:
    world.write("1/model.onnx")
    world.serve()
    shutil.rmtree(world.root / MODEL / what)
    assert world.tick(after=1) == []

    (wish,) = world.tick(after=SETTLE_S)
    assert isinstance(wish, UnloadWish)
    assert wish.cause == Cause(Deed.POLL_UNLOAD)
    assert wish.model == MODEL
    assert world.tick() == []


def test_what_comes_back_in_time_was_never_away(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.serve()
    aside = (world.root / MODEL).rename(world.root.with_name("aside"))
    world.tick(after=1)
    aside.rename(world.root / MODEL)
    world.tick(after=SETTLE_S)

    assert world.tick(after=SETTLE_S) == []


def test_a_model_without_a_version_is_in_trouble_and_the_server_is_not(world: Ticking) -> None:
    world.repository.models[MODEL] = NoVersionError("at least one version must be available")
    world.write("config.pbtxt")
    assert world.tick() == []
    (wish,) = world.tick(after=SETTLE_S)
    assert isinstance(wish, Trouble)
    assert isinstance(wish.error, NoVersionError)
    assert wish.unready is False
    assert world.tick(after=SETTLE_S) == []

    shutil.rmtree(world.root / MODEL)
    (wish,) = world.tick()
    assert isinstance(wish, UnloadWish)


def test_a_model_that_comes_back_is_asked_for_again(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.serve()
    shutil.rmtree(world.root / MODEL)
    world.tick(after=1)
    world.tick(after=SETTLE_S)
    world.write("1/model.onnx")
    world.tick(after=1)
    world.clock.now += SETTLE_S

    assert versions(world.load()) == [1]


def test_a_root_that_vanishes_takes_nothing_away(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.serve()
    aside = world.root.rename(world.root.with_name("aside"))
    with capture_logs() as logs:
        assert world.tick(after=1) == []
        assert world.tick(after=100) == []
        (aside / MODEL / "2").mkdir()
        (aside / MODEL / "2" / "model.onnx").write_bytes(b"y")
        aside.rename(world.root)
        world.tick(after=1)
    world.clock.now += SETTLE_S

    assert versions(world.load()) == [1, 2]
    # That a repository cannot be listed is for the listing to tell.
    assert logs == []


def test_a_dangling_link_costs_nothing_but_itself(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.serve()
    (world.root / "dangling").symlink_to(world.root / "nowhere")
    (world.root / MODEL / "2").symlink_to(world.root / "nowhere")
    world.tick(after=1)

    assert not any(isinstance(wish, UnloadWish) for wish in world.tick(after=SETTLE_S))


def test_a_version_with_a_manifest_waits_until_its_contents_have_been_compared(
    world: Ticking,
) -> None:
    world.write("1/model.onnx")
    world.write_manifest()
    assert world.tick() == []
    assert world.staging == {1: "staging: comparing digests"}
    assert (len(world.urgent), len(world.background)) == (1, 0)
    assert world.tick() == []
    assert len(world.urgent) == 1
    world.work()

    assert versions(world.load()) == [1]


def test_a_comparison_is_given_up_when_the_server_stops(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.write_manifest()
    world.tick()
    world.poller.close()
    world.work()

    assert world.tick() == []


def test_digests_are_made_once_the_load_has_ended(world: Ticking) -> None:
    world.write("1/model.onnx")
    wish = world.load()
    assert world.background == []
    assert world.digest(wish) == "pending"
    wish.outcome.set_result(None)
    world.tick()
    assert world.digest(wish) == "pending"
    world.work()
    world.tick()

    assert len(world.digest(wish)) == 64
    assert world.poller.digest_of(MODEL, Version(1), "another content") == ""
    assert world.poller.digest_of(ModelName("nobody"), Version(1), "a") == ""


def test_a_load_that_was_overtaken_is_asked_for_again_later(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.load().outcome.set_exception(LoadMovedError("moved"))
    assert world.tick() == []
    assert world.due == world.clock.now + 2.0
    world.clock.now += 2.0

    assert versions(world.load()) == [1]


def test_a_load_that_failed_is_not_asked_for_again(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.load().outcome.set_exception(InvalidRequestError("broken"))

    assert world.tick() == []
    assert world.tick(after=100) == []


def test_a_model_that_could_not_be_read_is_asked_for_again_later(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.repository.models[MODEL] = UnavailableError("Permission denied")
    (wish,) = world.tick()
    assert isinstance(wish, Trouble)
    wish.outcome.set_exception(wish.answer)
    world.repository.put((1, "a"))
    assert world.tick() == []
    world.clock.now += 2.0

    assert versions(world.load()) == [1]


def test_a_load_by_name_that_is_withdrawn_while_it_is_polled_ends_no_hold(world: Ticking) -> None:
    world.write("1/model")
    world.serve()
    asked = world.poller.ask(ModelName(MODEL), cause=Cause(Deed.LOAD, Actor("ann")))
    poll = world.repository.poll_staged

    def withdrawn(model: ModelName, found: Mapping[int, Candidate]) -> Polled:
        world.poller.withdraw(model)
        return poll(model, found)

    world.repository.poll_staged = withdrawn  # type: ignore[method-assign]

    wish = world.load()

    assert not wish.again
    assert wish.cause == A_POLL
    assert isinstance(asked.exception(0), UnavailableError)
    wish.outcome.set_result(None)


def test_what_is_asked_for_is_put_down_to_who_asks(world: Ticking) -> None:
    ann = Cause(Deed.LOAD, Actor("ann"))
    world.write("1/model")
    found = world.load()
    found.outcome.set_result(None)
    world.poller.ask(ModelName(MODEL), cause=ann)
    named = world.load()
    named.outcome.set_result(None)

    assert (found.cause, named.cause) == (A_POLL, ann)


def test_the_first_look_ends_when_all_lies_still(world: Ticking) -> None:
    world.write("1/model.onnx")
    wish = world.load()
    assert not world.first_loads.wait(0)
    wish.outcome.set_exception(InternalError("broken"))

    assert world.first_loads.wait(0)
    assert list(world.first_loads.failures) == [MODEL]


def test_the_first_look_does_not_wait_for_ever(tmp_path: Path) -> None:
    world = Ticking(tmp_path, started_ns=0)
    file = world.write("1/model.onnx")
    world.tick()
    assert not world.first_loads.wait(0)
    for size in range(2, 6):
        file.write_bytes(b"x" * size)
        world.tick(after=1.0)

    assert world.first_loads.wait(0)
    assert world.staging == {1: "staging: settling"}


def test_a_root_that_cannot_be_read_at_the_start_is_a_failure(tmp_path: Path) -> None:
    world = Ticking(tmp_path / "nowhere")
    assert world.tick() == []

    assert world.first_loads.done
    assert list(world.first_loads.failures) == [str(tmp_path / "nowhere")]


def test_nothing_is_asked_for_once_it_closes(world: Ticking) -> None:
    world.write("1/model.onnx")
    world.poller.close()

    assert world.tick() == []


def test_its_thread_ticks_on_hints_and_ends(world: Ticking) -> None:
    world.write("1/model.onnx")
    thread = spawn("poller under test", world.poller.run)
    world.poller.hint()
    world.poller.close()
    thread.join(30)

    assert not thread.is_alive()


def test_what_has_been_loaded_is_read_before_the_next_scan(world: Ticking) -> None:
    class Counting:
        def __init__(self) -> None:
            self.scans = 0
            self._scanner = Scanner([world.root])

        def scan(self) -> Scan:
            self.scans += 1
            return self._scanner.scan()

    world.write("1/model.onnx")
    scanner, asked, wished = Counting(), threading.Event(), SimpleQueue[ModelWish]()
    poller = Poller(
        scanner=scanner,
        stager=world.poller._stager,
        repository=world.repository,
        hand_over=wished.put,
        first_loads=FirstLoads(),
        board=world.board,
        pace=Pace(60.0, patience_s=60.0),
        clock=world.clock,
        background=lambda _task: asked.set(),
        urgent=world.urgent.append,
    )
    thread = spawn("poller under test", poller.run)
    wished.get(timeout=30).outcome.set_result(None)

    assert asked.wait(30)
    assert scanner.scans == 1
    poller.close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_scan_that_breaks_is_not_the_end(tmp_path: Path) -> None:
    class Breaking:
        scans = 0

        def scan(self) -> Scan:
            self.scans += 1
            raise RuntimeError("no scan")

    world, scanner = Ticking(tmp_path), Breaking()
    poller = Poller(
        scanner=scanner,
        stager=world.poller._stager,
        repository=world.repository,
        hand_over=world.wishes.append,
        first_loads=FirstLoads(),
        board=world.board,
        pace=Pace(0.001, patience_s=1.0),
        clock=world.clock,
        background=world.background.append,
        urgent=world.urgent.append,
        after_scan=lambda: poller.close() if scanner.scans > 1 else poller.hint(),
    )
    with capture_logs() as logs:
        poller.run()

    assert scanner.scans == 2
    assert [line["event"] for line in logs] == ["poll failed unexpectedly"] * 2


def test_what_reads_contents_never_raises() -> None:
    def broken() -> None:
        raise RuntimeError("no disk")

    with capture_logs() as logs:
        thread = spawn("low priority", at_low_priority(broken))
        thread.join(30)

    assert [line["event"] for line in logs] == ["reading contents failed unexpectedly"]
