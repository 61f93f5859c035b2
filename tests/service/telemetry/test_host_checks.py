import resource
from pathlib import Path

import pytest

from interlock.telemetry.host_checks import (
    MIN_FREE_BYTES,
    MIN_OPEN_FILES,
    HostLimits,
    bytes_below,
    memory_bytes,
    read_limits,
    warnings_about,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("limits", "model_bytes"),
    [
        pytest.param(HostLimits(), GIB, id="no limit"),
        pytest.param(HostLimits(open_files=MIN_OPEN_FILES), 0, id="just enough files"),
        pytest.param(HostLimits(memory_bytes=MIN_FREE_BYTES), 0, id="just enough memory"),
        pytest.param(
            HostLimits(memory_bytes=MIN_FREE_BYTES + 2 * GIB), GIB, id="models fit in twice"
        ),
    ],
)
def test_a_generous_host_is_not_warned_about(limits: HostLimits, model_bytes: int) -> None:
    assert warnings_about(limits, model_bytes=model_bytes) == ()


def test_warns_of_few_open_files() -> None:
    (warning,) = warnings_about(HostLimits(open_files=MIN_OPEN_FILES - 1))

    assert warning.startswith("only 4095 files may be open")
    assert "4096" in warning


def test_warns_where_the_models_do_not_fit_in_twice() -> None:
    limits = HostLimits(memory_bytes=MIN_FREE_BYTES + 2 * GIB - 1)
    (warning,) = warnings_about(limits, model_bytes=GIB)

    assert warning.startswith("the memory limit is 2559 MiB; models of 1024 MiB")
    assert "want 2560 MiB" in warning


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_reads_the_tightest_limit_of_cgroup_version_2(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user/app\n")
    put(tmp_path, "sys/fs/cgroup/user/app/memory.max", "max\n")
    put(tmp_path, "sys/fs/cgroup/user/memory.max", f"{GIB}\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", f"{2 * GIB}\n")

    assert read_limits(tmp_path).memory_bytes == GIB


def test_a_path_of_the_host_leads_to_the_containers_own_group(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/../../host/path\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", f"{GIB}\n")

    assert read_limits(tmp_path).memory_bytes == GIB


def test_reads_the_limit_of_cgroup_version_1(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "5:cpu:/app\n4:memory:/app\n")
    put(tmp_path, "sys/fs/cgroup/memory/app/memory.limit_in_bytes", f"{GIB}\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")

    assert read_limits(tmp_path).memory_bytes == GIB


def test_what_version_1_writes_for_no_limit_is_none(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")

    assert read_limits(tmp_path).memory_bytes is None


def test_without_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    assert read_limits(tmp_path).memory_bytes is None


def test_reads_how_many_files_may_be_open(tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert read_limits(tmp_path).open_files in {soft, None}


def test_counts_the_bytes_of_all_files_that_can_be_seen(tmp_path: Path) -> None:
    put(tmp_path, "a/1/model.onnx", "12345")
    put(tmp_path, "a/config.pbtxt", "123")
    (tmp_path / "a/dangling").symlink_to(tmp_path / "nowhere")

    assert bytes_below([tmp_path, tmp_path / "absent"]) == 8


def test_the_memory_of_a_process_is_its_limit_or_all_there_is() -> None:
    everything = memory_bytes(HostLimits())

    assert everything > 1 << 28
    assert memory_bytes(HostLimits(memory_bytes=1000)) == 1000
    assert memory_bytes(HostLimits(memory_bytes=1 << 62)) == everything
