"""What a poll of a model finds."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.polling import DiskRepository, Look, MissingVersionError, NoVersionError
from interlock.control.wishes import Candidate
from interlock.domain.config import ModelConfig, VersionPolicy, VersionPolicyKind
from interlock.domain.config_agents import AgentConfig, Preparation
from interlock.domain.errors import (
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import ModelName, Version
from interlock.repository import fingerprint as real
from interlock.repository.scratch import Scratch
from tests.support.wire import eventually

M = ModelName("m")
CONFIG = """
backend: "identity"
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""


def write(root: Path, *versions: object, config: str = CONFIG) -> Path:
    directory = root / M
    for version in versions:
        (directory / str(version)).mkdir(parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    (directory / "config.pbtxt").write_text(config)
    return directory


def test_a_poll_selects_by_the_policy_and_takes_fingerprints(tmp_path: Path) -> None:
    directory = write(
        tmp_path, 1, 2, 3, config=CONFIG + "version_policy { latest { num_versions: 2 } }"
    )
    (directory / "3" / "weights").write_text("x")

    polled = DiskRepository([tmp_path]).poll(M)

    assert polled.model == M
    assert polled.directory == directory
    assert polled.config.name == M
    assert [candidate.version for candidate in polled.candidates] == [2, 3]
    assert len({candidate.fingerprint for candidate in polled.candidates}) == 2


@pytest.mark.parametrize(
    ("policy", "version_fallback", "fallbacks"),
    [
        ("", True, [2, 1]),
        ("", False, []),
        ("version_policy { latest { num_versions: 2 } }", True, [1]),
        ("version_policy { specific { versions: [3] } }", True, []),
    ],
)
def test_older_versions_stand_by_for_the_latest(
    tmp_path: Path, policy: str, version_fallback: bool, fallbacks: list[int]
) -> None:
    write(tmp_path, 1, 2, 3, config=CONFIG + policy)

    polled = DiskRepository([tmp_path], version_fallback=version_fallback).poll(M)

    assert [candidate.version for candidate in polled.fallbacks] == fallbacks


def test_the_same_files_have_the_same_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, 1)
    repository = DiskRepository([tmp_path])

    assert repository.poll(M).candidates == repository.poll(M).candidates


def test_a_changed_configuration_changes_every_version(tmp_path: Path) -> None:
    policy = "version_policy { all { } }"
    write(tmp_path, 1, 2, config=CONFIG + policy)
    repository = DiskRepository([tmp_path])
    before = repository.poll(M)

    write(tmp_path, config=CONFIG + policy + "max_batch_size: 4")

    after = repository.poll(M)
    assert all(
        old.fingerprint != new.fingerprint
        for old, new in zip(before.candidates, after.candidates, strict=True)
    )


def test_a_policy_that_selects_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path)

    with pytest.raises(NoVersionError) as caught:
        DiskRepository([tmp_path]).poll(M)

    assert str(caught.value) == (
        "at least one version must be available under the version policy of model 'm'"
    )


def test_a_version_that_is_specified_but_not_there_is_logged(tmp_path: Path) -> None:
    write(tmp_path, 1, config=CONFIG + "version_policy { specific { versions: [ 1, 7 ] } }")
    with capture_logs() as lines:
        polled = DiskRepository([tmp_path]).poll(M)

    assert [candidate.version for candidate in polled.candidates] == [1]
    assert [line["version"] for line in lines] == [7]


def test_remarks_on_directories_are_logged(tmp_path: Path) -> None:
    write(tmp_path, 1, "003")
    with capture_logs() as lines:
        DiskRepository([tmp_path]).poll(M)

    assert [line["remark"] for line in lines] == [
        "ignore version directory '003' which contains leading zeros in its directory name"
    ]


def test_a_model_in_two_repositories_is_refused(tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        write(root, 1)

    with pytest.raises(InvalidRequestError, match="not unique across all model repositories"):
        DiskRepository(roots).poll(M)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        DiskRepository([tmp_path]).poll(M)

    assert str(caught.value) == (
        "failed to poll model 'm': model not found in any model repository."
    )


def test_a_broken_configuration_names_its_file(tmp_path: Path) -> None:
    directory = write(tmp_path, 1, config="backend: identity }")

    with pytest.raises(InvalidRequestError) as caught:
        DiskRepository([tmp_path]).poll(M)

    assert str(directory / "config.pbtxt") in str(caught.value)


def test_without_a_configuration_auto_complete_decides(tmp_path: Path) -> None:
    (tmp_path / M / "1").mkdir(parents=True)
    (tmp_path / M / "1" / "model.onnx").write_text("")

    assert DiskRepository([tmp_path]).poll(M).config.backend == "onnxruntime"
    with pytest.raises(InvalidRequestError, match="No such file or directory"):
        DiskRepository([tmp_path], auto_complete=False).poll(M)


def test_an_alternative_configuration_is_used(tmp_path: Path) -> None:
    directory = write(tmp_path, 1)
    (directory / "configs").mkdir()
    (directory / "configs" / "big.pbtxt").write_text(CONFIG + "max_batch_size: 8")

    assert DiskRepository([tmp_path], "big").poll(M).config.max_batch_size == 8


def test_the_snapshot_names_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, 1)

    assert DiskRepository([tmp_path]).snapshot().models.keys() == {M}


class Restless:
    """Puts another configuration in place after each look, `changes` times."""

    def __init__(self, root: Path, changes: int) -> None:
        self.root = root
        self.sizes: Iterator[int] = itertools.count(1)
        self.left = changes

    def __call__(self, directory: Path) -> real.Fingerprint:
        prints = real.fingerprint(directory)
        if self.left:
            self.left -= 1
            write(self.root, config=CONFIG + f"max_batch_size: {next(self.sizes)}")
        return prints


def test_what_was_read_is_what_was_fingerprinted(tmp_path: Path) -> None:
    write(tmp_path, 1)

    polled = DiskRepository([tmp_path], look=Restless(tmp_path, 2)).poll(M)

    assert polled.config.max_batch_size == 2
    assert polled.candidates == DiskRepository([tmp_path]).poll(M).candidates


def test_a_model_that_does_not_keep_still_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)

    with pytest.raises(UnavailableError, match="changes while it is read"):
        DiskRepository([tmp_path], look=Restless(tmp_path, 99)).poll(M)


def test_a_directory_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def denied(directory: Path) -> real.Fingerprint:
        raise PermissionError(13, "Permission denied", str(directory))

    with pytest.raises(UnavailableError, match="Permission denied"):
        DiskRepository([tmp_path], look=denied).poll(M)


def test_a_configuration_override_replaces_the_file_completely(tmp_path: Path) -> None:
    write(tmp_path, 1, config=CONFIG + "max_batch_size: 8")
    repository = DiskRepository([tmp_path])
    plain = repository.poll(M)

    polled = repository.poll(M, Look(config='{"backend": "identity"}'))

    assert (polled.config.max_batch_size, polled.config.inputs) == (0, ())
    assert polled.origin == "config override"
    assert polled.common == plain.common
    assert polled.candidates != plain.candidates
    assert (
        polled.candidates == repository.poll(M, Look(config='{"backend": "identity"}')).candidates
    )


def test_a_configuration_override_makes_up_for_a_broken_file(tmp_path: Path) -> None:
    write(tmp_path, 1, config="backend: identity }")

    polled = DiskRepository([tmp_path]).poll(M, Look(config='{"backend": "identity"}'))

    assert polled.config.backend == "identity"


def test_a_configuration_override_that_is_broken_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)

    with pytest.raises(InvalidRequestError, match="Invalid config override: "):
        DiskRepository([tmp_path]).poll(M, Look(config="{"))


def test_versions_that_are_asked_for_go_before_the_policy(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)

    polled = DiskRepository([tmp_path]).poll(M, Look(versions=(1, 2)))

    assert [candidate.version for candidate in polled.candidates] == [1, 2]


def test_versions_that_are_asked_for_must_be_there(tmp_path: Path) -> None:
    write(tmp_path, 1)

    with pytest.raises(MissingVersionError) as caught:
        DiskRepository([tmp_path]).poll(M, Look(versions=(1, 5, 7)))

    assert str(caught.value) == (
        "version 5, 7 is asked for, but there is no such version directory"
    )


FILES = {"1/weights": b"x", "1/more": b"y"}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (tmp_path / "scratch").mkdir()
    scratch = Scratch(tmp_path / "scratch")
    yield scratch
    scratch.close()


def test_files_are_polled_without_the_repository(tmp_path: Path, scratch: Scratch) -> None:
    repository = DiskRepository([tmp_path / "gone"], scratch=scratch)

    polled = repository.poll(M, Look('{"backend": "identity"}', files=FILES))

    assert (polled.model, polled.config.name, polled.origin) == (M, M, "file override")
    assert [candidate.version for candidate in polled.candidates] == [1]
    assert (polled.directory / "1" / "weights").read_bytes() == b"x"


def test_files_are_another_content_each_time(tmp_path: Path, scratch: Scratch) -> None:
    repository = DiskRepository([tmp_path], scratch=scratch)
    look = Look('{"backend": "identity"}', files=FILES)

    assert repository.poll(M, look).candidates != repository.poll(M, look).candidates


def test_files_need_a_configuration(tmp_path: Path, scratch: Scratch) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        DiskRepository([tmp_path], scratch=scratch).poll(M, Look(files=FILES))

    assert str(caught.value) == "Load parameter 'config' must be specified for model file override"


def test_files_that_cannot_be_polled_leave_nothing_behind(tmp_path: Path, scratch: Scratch) -> None:
    repository = DiskRepository([tmp_path], scratch=scratch)

    with pytest.raises(NoVersionError):
        repository.poll(M, Look('{"backend": "identity"}', files={"labels.txt": b""}))

    eventually(lambda: [path.name for path in scratch.open().iterdir()] == [".lock"])


CUSTOM = CONFIG + "version_policy { specific { versions: [ 2 ] } }"


def custom_of(directory: Path, name: str = "custom") -> Path:
    folder = directory / "configs"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.pbtxt"


def test_a_custom_configuration_wins_while_it_is_there(tmp_path: Path) -> None:
    """Coming, changing and going: each is a change, as L0_lifecycle has it."""
    directory = write(tmp_path, 1, 2, config=CONFIG + "version_policy { all {} }")
    repository = DiskRepository([tmp_path], config_name="custom")
    file = custom_of(directory)
    seen = [repository.poll(M)]
    for text in (CUSTOM, CUSTOM + "max_batch_size: 8", None):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        seen.append(repository.poll(M))

    assert [[one.version for one in polled.candidates] for polled in seen] == [
        [1, 2],
        [2],
        [2],
        [1, 2],
    ]
    assert [polled.config.max_batch_size for polled in seen] == [0, 0, 8, 0]
    of_two = [polled.candidates[-1].fingerprint for polled in seen]
    assert of_two[0] == of_two[3]
    assert len(set(of_two)) == 3
    assert len({polled.common for polled in seen}) == 3


def test_a_custom_configuration_of_another_name_is_not_taken(tmp_path: Path) -> None:
    directory = write(tmp_path, 1, 2)
    custom_of(directory, "other").write_text("max_batch_size: ]")
    (directory / "config").mkdir()
    (directory / "config" / "custom.pbtxt").write_text("max_batch_size: ]")

    polled = DiskRepository([tmp_path], config_name="custom").poll(M)

    assert [one.version for one in polled.candidates] == [2]


def test_a_custom_configuration_that_is_broken_is_not_passed_over(tmp_path: Path) -> None:
    directory = write(tmp_path, 1)
    custom_of(directory).write_text("max_batch_size: ]")

    with pytest.raises(ServiceError, match=r"configs/custom\.pbtxt"):
        DiskRepository([tmp_path], config_name="custom").poll(M)


CHECKSUM = 'model_repository_agents { agents [ { name: "checksum" } ] }'
OWN = AgentConfig("checksum")


def test_where_there_are_agents_only_they_and_the_policy_are_read(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, config=f"{CHECKSUM} max_batch_size: -7 version_policy {{ all {{}} }}")

    polled = DiskRepository([tmp_path]).poll(M)

    assert polled.preparation == Preparation((OWN,))
    assert polled.config == ModelConfig(M, version_policy=VersionPolicy(VersionPolicyKind.ALL))
    assert [candidate.version for candidate in polled.candidates] == [1, 2]


def test_nothing_of_a_model_with_agents_is_changed_in_place(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, config=CONFIG)
    without = DiskRepository([tmp_path]).poll(M)
    assert without.preparation is None
    assert all(one.body for one in without.found.values())

    write(tmp_path, 1, 2, config=CONFIG + CHECKSUM)
    polled = DiskRepository([tmp_path]).poll(M)
    assert not any(one.body for one in polled.found.values())
    assert all(one.observed for one in polled.found.values())


def test_what_was_staged_has_its_agents_too(tmp_path: Path) -> None:
    write(tmp_path, 1, config=CONFIG + CHECKSUM)

    polled = DiskRepository([tmp_path]).poll_staged(M, {1: Candidate(Version(1), "a", "b", "c")})

    assert polled.preparation == Preparation((OWN,))
    assert polled.candidates == (Candidate(Version(1), "a", "b"),)


def test_an_override_drops_no_agent_and_adds_its_own(tmp_path: Path) -> None:
    write(tmp_path, 1, config=CHECKSUM)
    agents = [{"name": "decrypt"}, {"name": "checksum"}]
    override = json.dumps({"backend": "identity", "modelRepositoryAgents": {"agents": agents}})

    polled = DiskRepository([tmp_path]).poll(M, Look(config=override))

    asked_for = (AgentConfig("decrypt"), AgentConfig("checksum"))
    assert polled.preparation == Preparation((OWN,), override, asked_for)
    plain = json.dumps({"backend": "identity"})
    polled = DiskRepository([tmp_path]).poll(M, Look(config=plain))
    assert polled.preparation == Preparation((OWN,), plain)


def test_files_of_a_request_have_the_agents_of_its_configuration(tmp_path: Path) -> None:
    repository = DiskRepository([tmp_path], scratch=Scratch(tmp_path))
    override = '{"backend": "identity", "model_repository_agents": {"agents": [{"name": "a"}]}}'
    files = {"1/weights": b"x", "config.pbtxt": CHECKSUM.encode()}

    polled = repository.poll(M, Look(config=override, files=files))

    asked_for = (AgentConfig("a"),)
    assert polled.preparation == Preparation((), override, asked_for, brings_files=True)
    repository.scratch.close()


def test_what_the_policy_is_to_hear_of_counts_only_after_that(tmp_path: Path) -> None:
    asked: list[tuple[str, bool]] = []

    def is_heard(model: str, is_overridden: bool) -> bool:
        asked.append((model, is_overridden))
        return True

    repository = DiskRepository([tmp_path], scratch=Scratch(tmp_path), is_heard=is_heard)
    write(tmp_path, 1, 2, config="max_batch_size: -7 version_policy { all {} }")
    override = '{"backend": "identity"}'

    polled = repository.poll(M)
    assert polled.preparation == Preparation(())
    assert polled.config == ModelConfig(M, version_policy=VersionPolicy(VersionPolicyKind.ALL))
    assert not any(one.body for one in polled.found.values())
    found = {1: Candidate(Version(1), "a", "b", "c")}
    assert repository.poll_staged(M, found).preparation == Preparation(())
    assert repository.poll(M, Look(config=override)).preparation == Preparation((), override)
    files = repository.poll(M, Look(config=override, files={"1/weights": b"x"}))
    assert files.preparation == Preparation((), override, brings_files=True)
    assert asked == [(M, False), (M, False), (M, True), (M, True)]
    repository.scratch.close()


def test_a_file_that_may_name_agents_and_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Even where a configuration comes that would take its place."""
    write(tmp_path, 1, config=CHECKSUM + "max_batch_size: what")

    with pytest.raises(InvalidRequestError, match="max_batch_size"):
        DiskRepository([tmp_path]).poll(M, Look(config='{"backend": "identity"}'))
