from pathlib import Path

from interlock.telemetry.free_memory import FreeMemory, read_free_memory

GIB = 1 << 30


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def group(root: Path, folder: str, *, limit: str, used: int) -> None:
    put(root, f"sys/fs/cgroup/{folder}/memory.max", f"{limit}\n")
    put(root, f"sys/fs/cgroup/{folder}/memory.current", f"{used}\n")


def test_the_group_that_leaves_least_counts(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user/app\n")
    group(tmp_path, "user/app", limit=str(4 * GIB), used=GIB)
    group(tmp_path, "user", limit=str(5 * GIB), used=3 * GIB)
    group(tmp_path, ".", limit="max", used=9 * GIB)
    put(tmp_path, "proc/meminfo", "MemTotal: 64000000 kB\nMemAvailable: 32000000 kB\n")

    assert read_free_memory(tmp_path) == FreeMemory(2 * GIB, 5 * GIB)


def test_the_host_may_leave_less_than_any_group(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    group(tmp_path, ".", limit=str(4 * GIB), used=GIB)
    put(tmp_path, "proc/meminfo", "MemTotal:  64000000 kB\nMemAvailable:   1024 kB\n")

    assert read_free_memory(tmp_path) == FreeMemory(1 << 20)


def test_a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    group(tmp_path, ".", limit=str(GIB), used=GIB + 1)

    assert read_free_memory(tmp_path) == FreeMemory(0, GIB)


def test_where_nothing_tells_nothing_is_known(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal: 64000000 kB\n")

    assert read_free_memory(tmp_path) is None


def test_this_system_tells() -> None:
    free = read_free_memory()

    assert free is not None
    assert free.free_bytes > 0
