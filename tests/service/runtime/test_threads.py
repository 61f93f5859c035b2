import threading

from interlock.runtime.threads import pool, spawn


def test_a_thread_has_its_name() -> None:
    seen: list[str] = []
    spawn("reader", lambda: seen.append(threading.current_thread().name)).join()

    assert seen == ["reader"]


def test_what_kills_a_thread_is_handed_on() -> None:
    error = ValueError("broken")
    died: list[BaseException] = []

    def break_down() -> None:
        raise error

    spawn("doomed", break_down, on_death=died.append).join()

    assert died == [error]


def test_a_thread_that_ends_well_has_not_died() -> None:
    died: list[BaseException] = []
    spawn("fine", lambda: None, on_death=died.append).join()

    assert died == []


def test_threads_of_a_pool_carry_its_name() -> None:
    with pool("decode", 1) as workers:
        name = workers.submit(lambda: threading.current_thread().name).result()

    assert name.startswith("decode")
