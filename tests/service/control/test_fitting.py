"""What does not fit is refused, and who may fit once others have ended waits for them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.fitting import (
    SPARE_BYTES,
    DoesNotFitError,
    FittingLoader,
    Need,
    Reservations,
)
from interlock.domain.config import ModelConfig
from interlock.domain.errors import InternalError
from interlock.domain.ids import GenerationKey
from interlock.runtime.clock import monotonic
from interlock.serving.load_job import LoadJob, LoadPhase
from interlock.telemetry.free_memory import FreeMemory
from tests.support.control import FakeLoader, key

MIB = 1 << 20


class Memory:
    """So much is free, of a limit of 1 GiB; giving back changes that, and readings are counted."""

    def __init__(self, free_mib: int, *, in_heap_mib: int = 0) -> None:
        self.free_mib = free_mib
        self.in_heap_mib = in_heap_mib
        self.on_read: Callable[[], None] = lambda: None

    def read(self) -> FreeMemory:
        free = FreeMemory(self.free_mib * MIB, 1024 * MIB)
        self.on_read()
        return free

    def trim(self) -> int:
        given_back, self.in_heap_mib = self.in_heap_mib, 0
        self.free_mib += given_back
        return given_back * MIB


def reservations(memory: Memory, *, patience_s: float = 0.0) -> Reservations:
    return Reservations(memory.read, trim=memory.trim, clock=monotonic, patience_s=patience_s)


def need(mib: int) -> Need:
    return Need(mib * MIB, mib * MIB)


def ignore(_phase: LoadPhase) -> None:
    """Nobody listens."""


def job(root: Path, mib: int, *, of: GenerationKey | None = None) -> LoadJob:
    of = of or key(1)
    folder = root / of.model / str(of.version)
    folder.mkdir(parents=True)
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(mib * MIB)
    return LoadJob(of, ModelConfig(of.model), root / of.model)


def test_what_fits_is_loaded(tmp_path: Path) -> None:
    inside = FakeLoader()
    loader = FittingLoader(inside, reservations(Memory(100 + (SPARE_BYTES // MIB))))

    served = loader.load(job(tmp_path, 100), ignore)
    assert inside.alive == {served.key}

    loader.unload(served)
    assert inside.alive == set()


def test_what_does_not_fit_is_refused_with_figures_and_what_to_do(tmp_path: Path) -> None:
    inside = FakeLoader()
    loader = FittingLoader(inside, reservations(Memory(99 + SPARE_BYTES // MIB)))

    with pytest.raises(DoesNotFitError) as caught:
        loader.load(job(tmp_path, 100), ignore)

    assert inside.loaded == []
    assert caught.value.reason == (
        "Resource exhausted: the version does not fit into memory: it needs 132 MiB (its files "
        "are 100 MiB, 32 are to spare), and 131 MiB are free of the 1024 MiB of the memory limit. "
        "Give the server more memory or unload another model; if an older version of this one "
        "serves, swap_policy 'resource_preserving' in its configuration unloads that first"
    )


def test_the_factor_says_what_a_byte_of_a_file_takes(tmp_path: Path) -> None:
    loader = FittingLoader(FakeLoader(), reservations(Memory(200)), factor=2.5)

    with pytest.raises(
        DoesNotFitError,
        match=r"needs 282 MiB \(its files are 100 MiB and take 250 while they are loaded, 32",
    ):
        loader.load(job(tmp_path, 100), ignore)


def test_some_files_are_in_memory_twice_while_they_are_loaded(tmp_path: Path) -> None:
    one = job(tmp_path, 100)
    with (one.model_directory / "1" / "weights.bin").open("wb") as file:
        file.truncate(50 * MIB)
    loader = FittingLoader(FakeLoader(), reservations(Memory(281)), copies={".onnx": 2})

    with pytest.raises(DoesNotFitError, match=r"files are 150 MiB and take 250 while"):
        loader.load(one, ignore)


def test_what_has_no_files_needs_nothing(tmp_path: Path) -> None:
    loader = FittingLoader(FakeLoader(), reservations(Memory(0)))

    assert loader.load(job(tmp_path, 0), ignore).key == key(1)


def test_where_nothing_is_known_of_memory_everything_is_loaded(tmp_path: Path) -> None:
    knows_nothing = Reservations(lambda: None, trim=lambda: 0, clock=monotonic)

    FittingLoader(inside := FakeLoader(), knows_nothing).load(job(tmp_path, 500), ignore)

    assert inside.loaded == [key(1)]


def test_what_the_allocator_keeps_is_given_back_before_anything_is_refused(tmp_path: Path) -> None:
    memory = Memory(100, in_heap_mib=50)

    FittingLoader(inside := FakeLoader(), reservations(memory)).load(job(tmp_path, 100), ignore)

    assert inside.loaded == [key(1)]
    assert memory.in_heap_mib == 0


def test_a_load_that_goes_on_has_its_memory_for_itself() -> None:
    books = reservations(Memory(250))
    with books.hold(key(1, model="a"), need(150)):
        with (
            pytest.raises(
                DoesNotFitError,
                match=r"250 MiB are free of .*, 150 of them reserved for loads of a/1\.",
            ),
            books.hold(key(1, model="b"), need(100)),
        ):
            pass
        with books.hold(key(1, model="c"), need(60)):
            pass

    with books.hold(key(1, model="b"), need(100)):
        pass


def test_a_load_that_fails_gives_back_what_it_had_reserved(tmp_path: Path) -> None:
    books = reservations(Memory(150))
    loader = FittingLoader(FakeLoader(failing={1: InternalError("broken")}), books)

    with pytest.raises(InternalError):
        loader.load(job(tmp_path, 100), ignore)

    with books.hold(key(2), need(100)):
        pass


def test_what_fits_but_for_another_load_waits_for_its_end() -> None:
    memory = Memory(150)
    books = reservations(memory, patience_s=30)
    second_is_in = threading.Event()

    def second() -> None:
        with books.hold(key(1, model="b"), need(100)):
            second_is_in.set()

    thread = threading.Thread(target=second)
    with capture_logs() as lines:
        with books.hold(key(1, model="a"), need(100)):
            waits = threading.Event()
            memory.on_read = waits.set
            thread.start()
            assert waits.wait(30)
            assert not second_is_in.is_set()
        assert second_is_in.wait(30)
        thread.join(30)

    assert [line["event"] for line in lines] == ["load waits for memory"]
    assert lines[0]["there_is"].endswith("100 of them reserved for loads of a/1")


def test_a_reading_from_before_the_end_of_a_load_is_taken_again() -> None:
    memory = Memory(150)
    books = reservations(memory)
    first = books.hold(key(1, model="a"), need(100))
    first.__enter__()

    def first_ends() -> None:
        memory.on_read = lambda: None
        first.__exit__(None, None, None)
        memory.free_mib = 50  # what it took

    memory.on_read = first_ends

    with pytest.raises(DoesNotFitError, match="50 MiB are free"), books.hold(key(2), need(100)):
        pass


def test_nobody_waits_once_the_server_stops() -> None:
    books = reservations(Memory(150), patience_s=300)
    books.close()
    with (
        books.hold(key(1, model="a"), need(100)),
        pytest.raises(DoesNotFitError),
        books.hold(key(1, model="b"), need(100)),
    ):
        pass


def test_of_many_loads_at_once_no_more_go_on_than_fit() -> None:
    """Each takes what it needs; never is less free than is to be spared."""
    memory = Memory(432)
    lock = threading.Lock()
    books = Reservations(memory.read, trim=lambda: 0, clock=monotonic, patience_s=30)
    least: list[int] = []

    def load(number: int) -> None:
        with books.hold(key(number), need(100)):
            with lock:
                memory.free_mib -= 100
                least.append(memory.free_mib)
            with lock:
                memory.free_mib += 100

    threads = [threading.Thread(target=load, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(least) == 24
    assert min(least) >= 32


def test_counts_the_files_of_a_version_once_each(tmp_path: Path) -> None:
    one = job(tmp_path, 3)
    folder = one.model_directory / "1"
    (folder / "weights").mkdir()
    (folder / "weights" / "a").write_bytes(bytes(2 * MIB))
    (folder / "again.onnx").symlink_to("model.onnx")
    (folder / ".git").mkdir()
    (folder / ".git" / "object").write_bytes(bytes(MIB))
    os.mkfifo(folder / "pipe")

    with pytest.raises(DoesNotFitError, match=r"its files are 5 MiB, 32 are to spare"):
        FittingLoader(FakeLoader(), reservations(Memory(0))).load(one, ignore)


def test_a_folder_that_cannot_be_listed_is_left_to_who_opens_it(tmp_path: Path) -> None:
    absent = LoadJob(key(1), ModelConfig("m"), tmp_path / "absent")
    FittingLoader(inside := FakeLoader(), reservations(Memory(0))).load(absent, ignore)

    assert inside.loaded == [key(1)]
