"""Whose policy counts, and when another one takes its place."""

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_policy import AgentPolicy
from interlock.control.agent_policy_file import PolicySource, PolicyWatch
from interlock.control.agent_policy_text import PolicyError
from interlock.domain.yaml_text import MAX_BYTES

GOOD = 'version: 1\nrules: [{match: "a"}]\n'
OTHER = 'version: 1\nrules: [{match: "b"}]\n'
BROKEN = "version: 1\nrulez: []\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o755)
    return written(directory / "policy.yaml", GOOD)


def written(path: Path, text: str, mode: int = 0o644) -> Path:
    """Put a file in the place of another, as whoever edits with care does."""
    new = path.with_name(".new")
    new.write_text(text)
    new.chmod(mode)
    return new.rename(path)


def refusal(source: PolicySource) -> str:
    with pytest.raises(PolicyError) as caught:
        source.read()
    return str(caught.value)


def patterns(policy: AgentPolicy) -> list[str]:
    return [pattern for rule in policy.rules for pattern in rule.match]


def test_reads_the_policy_and_its_digest(path: Path) -> None:
    policy, digest = PolicySource(path).read()

    assert patterns(policy) == ["a"]
    assert digest == sha256(GOOD.encode()).hexdigest()
    assert policy.name == str(path)


def test_an_agent_that_is_not_known_is_refused(path: Path) -> None:
    written(path, "version: 1\nrules: [{match: a, required: [{agent: own}]}]\n")

    assert "there is no agent 'own'" in refusal(PolicySource(path, known_agents=lambda: ["x"]))


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)

    assert refusal(PolicySource(path)) == f"{path} can be written by others: chmod go-w {path}"


def test_a_directory_that_others_can_write_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)

    assert refusal(PolicySource(path)).startswith(f"{path.parent} can be written by others")


def test_a_folder_further_up_counts_as_well(path: Path) -> None:
    below = path.parent / "below"
    below.mkdir(mode=0o755)
    policy = written(below / "policy.yaml", GOOD)
    path.parent.chmod(0o777)

    assert refusal(PolicySource(policy)).startswith(f"{path.parent} can be written by others")


def test_the_file_of_another_user_is_refused(path: Path) -> None:
    me = os.geteuid()
    if me == 0:
        os.chown(path, 4242, -1)
    source = PolicySource(path, user=me + 1)

    assert refusal(source) == (
        f"{path} belongs to another user: it must be the server's own, or root's"
    )


def test_a_directory_where_ones_files_are_ones_own_is_not(path: Path) -> None:
    path.parent.chmod(0o1777)

    assert PolicySource(path).read()


def test_a_link_is_held_to_where_it_leads(path: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    target = written(models / "policy.yaml", GOOD)
    path.unlink()
    path.symlink_to(target)

    assert PolicySource(path).read()
    assert refusal(PolicySource(path, [models])).startswith(
        f"{path} lies in the model repository {models}: "
    )
    models.chmod(0o777)
    assert refusal(PolicySource(path)).startswith(f"{models} can be written by others")


@pytest.mark.parametrize("is_folder", [False, True])
def test_every_link_on_the_way_is_where_nobody_else_can_turn_it(
    path: Path, tmp_path: Path, *, is_folder: bool
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    turned = models / "turned"
    turned.symlink_to(path.parent if is_folder else path)
    entry = path.with_name("entry")
    entry.symlink_to(f"../models/{turned.name}")
    found = entry / path.name if is_folder else entry

    assert PolicySource(found).read()
    assert "lies in the model repository" in refusal(PolicySource(found, [models]))
    models.chmod(0o777)
    assert refusal(PolicySource(found)).startswith(f"{models} can be written by others")
    models.chmod(0o1777)
    assert PolicySource(found).read()
    if os.geteuid() == 0:
        os.chown(turned, 4242, -1, follow_symlinks=False)
        assert refusal(PolicySource(found)).startswith(f"{turned} belongs to another user")


@pytest.mark.parametrize("is_link", [False, True])
def test_a_policy_in_a_model_repository_is_refused(
    path: Path, tmp_path: Path, *, is_link: bool
) -> None:
    repository = path.parent
    if is_link:
        repository = tmp_path / "link"
        repository.symlink_to(path.parent)

    assert "lies in the model repository" in refusal(PolicySource(path, [repository]))
    assert PolicySource(path, [tmp_path / "et"]).read()


def test_what_is_no_file_is_refused_without_waiting(path: Path) -> None:
    path.unlink()
    assert refusal(PolicySource(path)) == f"{path} cannot be read: No such file or directory"

    os.mkfifo(path)
    assert refusal(PolicySource(path)) == f"{path} is not a regular file"


def test_no_more_is_read_than_may_be(path: Path) -> None:
    written(path, "#" * (2 * MAX_BYTES))

    assert "longer than 256 KiB" in refusal(PolicySource(path))


@pytest.fixture
def taken() -> list[AgentPolicy]:
    return []


@pytest.fixture
def watch(path: Path, taken: list[AgentPolicy]) -> PolicyWatch:
    return PolicyWatch(PolicySource(path), taken.append)


def twice(step: Callable[[], None]) -> None:
    """Look often enough for a change to be taken."""
    step()
    step()


def test_a_server_does_not_start_with_a_broken_policy(path: Path) -> None:
    written(path, BROKEN)

    with pytest.raises(PolicyError, match=r"policy\.yaml:2:1: a policy has no key 'rulez'"):
        PolicyWatch(PolicySource(path), lambda _: None)


def test_a_new_policy_takes_the_place_of_the_old_one(
    path: Path, watch: PolicyWatch, taken: list[AgentPolicy]
) -> None:
    written(path, OTHER)
    with capture_logs() as logs:
        twice(watch.step)

    assert patterns(watch.state.policy) == ["b"]
    assert watch.state.revision == 2
    assert taken == [watch.state.policy]
    assert [line["event"] for line in logs] == ["took a new agent policy"]


def test_a_file_that_changes_from_look_to_look_is_waited_for(
    path: Path, watch: PolicyWatch, taken: list[AgentPolicy]
) -> None:
    for text in (OTHER, OTHER + "\n", OTHER + "\n\n"):
        written(path, text)
        watch.step()
    assert taken == []

    watch.step()

    assert len(taken) == 1


def test_a_broken_policy_leaves_the_old_one_and_says_so_once(
    path: Path, watch: PolicyWatch, taken: list[AgentPolicy]
) -> None:
    before = watch.state
    written(path, BROKEN)
    with capture_logs() as logs:
        for _ in range(5):
            watch.step()

    assert watch.state.policy is before.policy
    assert watch.state.trouble is not None
    assert "policy.yaml:2:1: a policy has no key 'rulez'" in watch.state.trouble
    assert taken == []
    (line,) = logs
    assert line["event"] == "kept the old agent policy"
    assert line["reason"] == watch.state.trouble
    assert line["in_force"] == before.digest


def test_the_trouble_ends_with_the_old_text_or_a_new_one(
    path: Path, watch: PolicyWatch, taken: list[AgentPolicy]
) -> None:
    written(path, BROKEN)
    twice(watch.step)
    written(path, GOOD)
    twice(watch.step)
    assert watch.state.trouble is None
    assert (watch.state.revision, taken) == (1, [])

    written(path, BROKEN)
    twice(watch.step)
    written(path, OTHER)
    twice(watch.step)
    assert watch.state.trouble is None
    assert (watch.state.revision, len(taken)) == (2, 1)


def test_a_policy_that_is_gone_stays_in_force(path: Path, watch: PolicyWatch) -> None:
    path.unlink()
    twice(watch.step)

    assert patterns(watch.state.policy) == ["a"]
    assert "No such file" in (watch.state.trouble or "")


def test_a_policy_that_others_can_write_from_now_on_is_told_of(
    path: Path, watch: PolicyWatch
) -> None:
    path.chmod(0o666)
    twice(watch.step)

    assert "can be written by others" in (watch.state.trouble or "")


def test_what_is_put_right_beside_the_file_is_noticed(path: Path, watch: PolicyWatch) -> None:
    written(path, OTHER)
    path.parent.chmod(0o777)
    twice(watch.step)
    assert "can be written by others" in (watch.state.trouble or "")

    path.parent.chmod(0o755)
    watch.step()

    assert watch.state.trouble is None
    assert patterns(watch.state.policy) == ["b"]


def test_a_link_that_is_flipped_is_a_change(path: Path, taken: list[AgentPolicy]) -> None:
    link = path.with_name("..data")
    link.symlink_to(path)
    watch = PolicyWatch(PolicySource(link), taken.append)
    flipped = path.with_name("..new")
    flipped.symlink_to(written(path.with_name("other.yaml"), OTHER))
    flipped.rename(link)

    twice(watch.step)

    assert patterns(watch.state.policy) == ["b"]


def test_the_thread_ends_when_it_is_told_to(watch: PolicyWatch) -> None:
    with capture_logs() as logs:
        watch.start()
    watch.close()

    assert [(entry["event"], entry["rules"]) for entry in logs] == [("follows the agent policy", 1)]
    assert watch._thread is not None
    assert not watch._thread.is_alive()


def test_the_thread_takes_what_the_file_holds(path: Path) -> None:
    changed = threading.Event()
    watch = PolicyWatch(PolicySource(path), lambda _: changed.set(), poll_s=0.01)
    watch.start()
    try:
        written(path, OTHER)
        assert changed.wait(30.0)
    finally:
        watch.close()

    assert patterns(watch.state.policy) == ["b"]
