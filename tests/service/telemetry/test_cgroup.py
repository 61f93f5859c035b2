from pathlib import Path

from interlock.telemetry.cgroup import memory_groups

GIB = 1 << 30


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_yields_its_own_group_and_those_above_it(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user/app\n")

    folders = [group.folder for group in memory_groups(tmp_path)]

    top = tmp_path / "sys/fs/cgroup"
    assert folders == [top / "user/app", top / "user", top]


def test_counts_what_is_in_use_without_what_the_kernel_lets_go_first(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/app\n")
    put(tmp_path, "sys/fs/cgroup/app/memory.current", f"{GIB}\n")
    put(tmp_path, "sys/fs/cgroup/app/memory.stat", "anon 17\ninactive_file 1000\nactive_file 50\n")

    assert next(memory_groups(tmp_path)).taken_bytes() == GIB - 1000


def test_version_1_has_other_names_for_the_same(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "5:cpu:/app\n4:memory:/app\n")
    folder = "sys/fs/cgroup/memory/app"
    put(tmp_path, f"{folder}/memory.limit_in_bytes", f"{2 * GIB}\n")
    put(tmp_path, f"{folder}/memory.usage_in_bytes", f"{GIB}\n")
    put(tmp_path, f"{folder}/memory.stat", "inactive_file 5\ntotal_inactive_file 1000\n")

    group = next(memory_groups(tmp_path))

    assert (group.limit_bytes(), group.taken_bytes()) == (2 * GIB, GIB - 1000)


def test_more_that_can_be_let_go_than_is_in_use_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory.current", "10\n")
    put(tmp_path, "sys/fs/cgroup/memory.stat", "inactive_file 11\n")

    assert next(memory_groups(tmp_path)).taken_bytes() == 0


def test_what_is_not_there_or_no_number_is_not_known(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory.current", "oops\n")

    group = next(memory_groups(tmp_path))

    assert (group.limit_bytes(), group.taken_bytes()) == (None, None)


def test_without_cgroups_there_are_none(tmp_path: Path) -> None:
    assert list(memory_groups(tmp_path)) == []
