"""What is told of a model, and why a version of it is not READY."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from interlock.control.agent_policy import Finding, Mode, Objection
from interlock.control.agent_verdicts import Heard, Verdict
from interlock.control.inspection import Inspection
from interlock.control.wishes import UnloadWish
from interlock.domain.description import PENDING, AgentDescription, Effect, ModelDescription
from interlock.domain.errors import InternalError, NotFoundError, ServiceError
from interlock.domain.ids import GenerationKey, Version
from interlock.domain.transition import Phase
from interlock.repository.snapshot import ModelSource
from tests.support.control import MODEL, World, key

IDENTITY = 'backend: "identity" max_batch_size: 1'
POLICIES = [
    ("", "latest 1", (3,)),
    ("version_policy { latest { num_versions: 2 } }", "latest 2", (2, 3)),
    ("version_policy { all {} }", "all", (1, 2, 3)),
    ("version_policy { specific { versions: [3, 1, 9] } }", "specific 1, 3, 9", (1, 3, 9)),
]


@dataclass
class Disk:
    """A repository with one model, or with none."""

    world: World = field(default_factory=World)
    source: ModelSource | None = None
    error: ServiceError = field(default_factory=lambda: NotFoundError("not there"))
    digests: dict[tuple[GenerationKey, str], str] = field(default_factory=dict)
    verdicts: dict[GenerationKey, Verdict] = field(default_factory=dict)

    def has(self, *versions: int, config: str = IDENTITY) -> None:
        directory = Path("/models") / MODEL
        self.source = ModelSource(
            MODEL, directory, directory / "config.pbtxt", config, versions, ()
        )

    def read(self, _model: str) -> ModelSource:
        if self.source is None:
            raise self.error
        return self.source

    def inspection(self) -> Inspection:
        return Inspection(
            self.world.manager,
            read_model=self.read,
            poll=self.world.repository.poll,
            clock=self.world.clock,
            digest_of=self.digest_of,
            verdict_of=self.verdicts.get,
        )

    def digest_of(self, of: GenerationKey, fingerprint: str) -> str:
        return self.digests.get((of, fingerprint), "")

    def described(self) -> ModelDescription:
        return self.inspection().describe(MODEL)

    def why(self) -> dict[int, str]:
        return {one.version: one.why_not_ready for one in self.described().versions}


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_what_nobody_knows_is_not_found(disk: Disk) -> None:
    with pytest.raises(NotFoundError, match=f"unknown model: '{MODEL}' is not found"):
        disk.described()
    with pytest.raises(NotFoundError, match=f"unknown model: '{MODEL}' is not found"):
        disk.inspection().history(MODEL)


@pytest.mark.parametrize(("policy", "written", "selected"), POLICIES)
def test_tells_what_the_policy_selects(
    disk: Disk, policy: str, written: str, selected: tuple[int, ...]
) -> None:
    disk.has(1, 2, 3, config=f"{IDENTITY} {policy}")

    told = disk.described()

    assert told.version_policy == written
    assert tuple(one.version for one in told.versions if one.selected) == selected
    assert told.config_path == f"/models/{MODEL}/config.pbtxt"


def test_tells_why_nothing_was_made_of_a_version(disk: Disk) -> None:
    disk.has(1, 2, config=f"{IDENTITY} version_policy {{ specific {{ versions: [2, 9] }} }}")

    assert disk.why() == {
        1: "the version policy (specific 2, 9) does not select it",
        2: "nothing has asked to load it since its files came",
        9: "its directory is not in the repository",
    }


def test_a_version_that_serves_needs_no_reason(disk: Disk) -> None:
    disk.has(1)
    disk.world.serve((1, "a"))

    (told,) = disk.described().versions

    assert told.why_not_ready == ""
    (generation,) = told.generations
    assert (generation.state.phase, generation.fingerprint) == (Phase.READY, "a")


def test_counts_the_requests_inside(disk: Disk) -> None:
    disk.world.serve((1, "a"))
    disk.world.table.lease(MODEL, "1")

    (told,) = disk.described().versions

    assert told.generations[0].leases == 1
    assert not told.on_disk


def test_a_version_that_failed_says_why(disk: Disk) -> None:
    disk.has(1)
    disk.world.wish((1, "a"))
    disk.world.fails(key(1), InternalError("no room"))

    assert disk.why() == {1: "failed: Internal: no room"}


def test_a_version_that_is_replaced_shows_both_contents(disk: Disk) -> None:
    disk.has(1)
    disk.world.serve((1, "a"))
    disk.world.wish((1, "b"))

    (told,) = disk.described().versions

    assert [one.state.phase for one in told.generations] == [Phase.READY, Phase.LOADING]
    assert told.why_not_ready == ""


def test_a_configuration_that_cannot_be_read_is_the_reason(disk: Disk) -> None:
    disk.has(1, config="max_batch_size: {")

    told = disk.described()

    assert told.problem
    assert told.version_policy == ""
    assert disk.why() == {1: told.problem}


def test_a_version_in_quarantine_says_when_it_is_tried_next(disk: Disk) -> None:
    disk.has(1)
    disk.world.wish_alone((1, "a"))
    disk.world.fails(key(1), InternalError("no room"))
    disk.world.clock.now += 5

    assert disk.why() == {1: "failed: Internal: no room; quarantined, next try in 10 s"}


def test_a_version_that_arrives_says_how_far_it_is(disk: Disk) -> None:
    disk.has(1)
    disk.world.staging.show({MODEL: {Version(2): "staging: 3 of 4 files"}}, 50.0)

    told = disk.described()

    assert disk.why()[2] == "staging: 3 of 4 files"
    assert [one.staging for one in told.versions] == ["", "staging: 3 of 4 files"]
    (state,) = disk.inspection().staging()
    assert (state.key, state.phase, state.since) == (key(2, 0), Phase.STAGING, 50.0)


def test_tells_the_digest_of_what_is_loaded(disk: Disk) -> None:
    disk.world.serve((1, "a"))
    disk.digests[key(1), "a"] = PENDING

    (told,) = disk.described().versions

    assert told.generations[0].digest == "pending"


def test_tells_the_size_of_what_is_on_disk(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "model.onnx").write_bytes(b"12345")
    (tmp_path / "1" / "variables" / "0").write_bytes(b"123")
    (tmp_path / "config.pbtxt").write_text(IDENTITY)
    disk.has(1)
    assert disk.source is not None
    disk.source = replace(disk.source, directory=tmp_path)

    (told,) = disk.described().versions

    assert told.size_bytes == 8


def test_what_was_deleted_is_still_told_of_while_the_server_knows_it(disk: Disk) -> None:
    disk.world.serve((1, "a"))

    told = disk.described()

    assert (told.directory, told.problem) == ("", "not there")


def test_history_has_the_moves_of_every_version(disk: Disk) -> None:
    disk.world.serve((1, "a"))

    history = disk.inspection().history(MODEL)

    assert [move.after for move in history[Version(1)]] == [
        Phase.LOADING,
        Phase.PROVING,
        Phase.READY,
    ]


def test_news_are_those_of_the_manager(disk: Disk) -> None:
    inspection = disk.inspection()
    start = inspection.news(None)
    assert start.snapshot == ()

    disk.world.serve((1, "a"))

    news = inspection.news(start.position)
    assert [move.after for move in news.moves] == [Phase.LOADING, Phase.PROVING, Phase.READY]
    snapshot = inspection.news(None).snapshot
    assert snapshot is not None
    (state,) = snapshot
    assert (state.key, state.phase, state.reason) == (key(1), Phase.READY, "loaded")


def test_tells_what_agents_said_in_their_order(disk: Disk) -> None:
    finding = Finding(Objection.REFUSED_BY_AGENT, "the agent 'b' refuses it")
    disk.has(1)
    disk.world.serve((1, "a"))
    heard = (Heard("a", {"secret": "s"}, notes={"signer": "release"}), Heard("b", {}, "no"))
    disk.verdicts[key(1)] = Verdict(heard, (finding,), Mode.AUDIT)

    (version,) = disk.described().versions
    told = version.generations[0].verdict

    assert told is not None
    assert told.outcome == "would-refuse"
    assert "the agent 'b' refuses it" in told.reason
    assert told.agents == (
        AgentDescription("a", passed=True, notes={"signer": "release"}),
        AgentDescription("b", passed=False, reason="no"),
    )


def test_tells_nothing_of_agents_where_there_are_none(disk: Disk) -> None:
    disk.has(1)
    disk.world.serve((1, "a"))

    (version,) = disk.described().versions

    assert version.generations[0].verdict is None


def test_a_digest_is_that_of_one_generation(disk: Disk) -> None:
    disk.world.serve((1, "a"))
    disk.digests[key(1), "a"] = "d1"

    assert disk.inspection().digest_of(key(1)) == "d1"
    assert disk.inspection().digest_of(key(1, 2)) == ""
    assert disk.inspection().digest_of(key(2)) == ""


def test_a_plan_is_that_of_what_the_repository_has(disk: Disk) -> None:
    disk.world.repository.put((1, "a"))

    (step,) = disk.inspection().plan(MODEL).steps

    assert (step.key, step.effect) == (key(1), Effect.LOAD)
    assert disk.world.manager.step() == ()


def test_a_plan_fails_as_the_load_would(disk: Disk) -> None:
    with pytest.raises(InternalError) as planned:
        disk.inspection().plan("nobody")

    assert str(planned.value).startswith("failed to load 'nobody', failed to poll")


def test_a_hold_is_told_of_the_model_its_versions_and_what_a_load_would_end(disk: Disk) -> None:
    disk.has(1, 2)
    disk.world.repository.put((2, "a"))
    disk.world.serve((2, "a"))
    disk.world.inbox.put(UnloadWish(MODEL, hold=True))
    disk.world.manager.step()
    held = "held: unloaded on request, until a load names the model or the hold is released"

    described = disk.described()

    assert described.hold == held
    assert disk.why() == {
        1: "the version policy (latest 1) does not select it",
        2: f"draining: no longer asked for; {held}",
    }
    assert disk.inspection().plan(MODEL).hold == held
