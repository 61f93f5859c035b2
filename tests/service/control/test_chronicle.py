"""What the audit log is told of the moves of versions, and of whom it speaks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from interlock.control.agent_policy import Finding, Mode, Objection
from interlock.control.agent_verdicts import Heard, Verdict
from interlock.control.chronicle import AuditChronicle, Told, sentence_of
from interlock.control.lifecycle import TRANSITIONS, Event, Phase, Transition
from interlock.control.verifying import FilesMovedError
from interlock.control.wishes import (
    LoadWish,
    RetryWish,
    ReviewWish,
    RollbackWish,
    Trouble,
    UnloadAll,
    UnloadWish,
)
from interlock.domain.cause import SERVER, Actor, Cause, Deed
from interlock.domain.description import PENDING, AgentDescription
from interlock.domain.errors import InternalError, InvalidRequestError, NotFoundError
from interlock.domain.ids import GenerationKey, ModelName, Version
from interlock.telemetry.audit import AuditEvent
from tests.support.control import MODEL, World, key, polled

ANN, BOB = Actor("ann"), Actor("bob")
BY_ANN, BY_BOB = Cause(Deed.LOAD, ANN), Cause(Deed.LOAD, BOB)
AGAINST = (Finding(Objection.SIGNER, "nobody has signed it"),)


@dataclass
class Scribe:
    """A chronicle of a world, and what it has had written."""

    events: list[AuditEvent] = field(default_factory=list)
    digests: dict[GenerationKey, str] = field(default_factory=dict)
    verdicts: dict[GenerationKey, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chronicle = AuditChronicle(
            self.events.append,
            digest_of=lambda key, _fingerprint: self.digests.get(key, ""),
            verdict_of=self.verdicts.get,
        )
        self.world = World(chronicle=self.chronicle)

    def wish(
        self, *candidates: tuple[int, str], cause: Cause = BY_ANN, alone: bool = False
    ) -> None:
        self.world.inbox.put(LoadWish(polled(*candidates), alone=alone, cause=cause))
        self.world.manager.step()

    def serve(self, *candidates: tuple[int, str], cause: Cause = BY_ANN) -> None:
        self.wish(*candidates, cause=cause)
        self.world.loads(*self.world.executor.loading)

    def told(self) -> list[tuple[str, int | None, str, Actor]]:
        """Take what has been told since the last time."""
        told = [(one.what, one.version, one.outcome, one.who) for one in self.events]
        self.events.clear()
        return told

    def moved(self, before: Phase, after: Phase, event: Event, reason: str = "") -> AuditEvent:
        self.chronicle.moved(
            Told(Transition(key(1), before, after, reason, 0.0), event, BY_ANN, BY_BOB, "a")
        )
        return self.events[-1]


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


def test_a_load_is_told_of_whoever_asked_for_it(scribe: Scribe) -> None:
    scribe.serve((1, "a"))

    assert scribe.told() == [("load", 1, "ok", ANN)]


def test_nothing_is_told_of_what_serves_already(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.told()
    scribe.wish((1, "a"), cause=BY_BOB)

    assert scribe.told() == []


def test_what_leaves_is_told_of_whoever_makes_it_leave(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.serve((2, "b"), cause=BY_BOB)

    assert scribe.told() == [
        ("load", 1, "ok", ANN),
        ("load", 2, "ok", BOB),
        ("unload", 1, "ok", BOB),
    ]


def test_an_unload_is_told_once(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.told()
    scribe.world.inbox.put(UnloadWish(MODEL, cause=Cause(Deed.UNLOAD, BOB)))
    scribe.world.manager.step()
    scribe.world.drains(key(1))
    scribe.world.unloads(key(1))

    assert scribe.told() == [("unload", 1, "ok", BOB)]


def test_a_load_that_fails_is_told_with_its_reason(scribe: Scribe) -> None:
    scribe.wish((1, "a"))
    scribe.world.fails(key(1))

    (event,) = scribe.events
    assert (event.what, event.outcome, event.reason) == ("load", "failed", "Internal: broken file")


def test_a_load_that_somebody_else_overtakes_stays_that_of_who_began_it(scribe: Scribe) -> None:
    scribe.wish((1, "a"))
    scribe.world.inbox.put(UnloadWish(MODEL, cause=Cause(Deed.UNLOAD, BOB)))
    scribe.world.manager.step()
    scribe.world.drops(key(1))

    assert scribe.told() == [("load", 1, "failed", ANN)]


def test_versions_that_are_given_up_for_another_are_told(scribe: Scribe) -> None:
    scribe.wish((1, "a"), (2, "b"))
    scribe.world.loads(key(1))
    scribe.world.fails(key(2))

    assert scribe.told() == [("load", 2, "failed", ANN), ("load", 1, "failed", ANN)]


def test_a_way_back_is_told_as_such_whoever_loaded_it(scribe: Scribe) -> None:
    scribe.world = World(window_s=60.0, chronicle=scribe.chronicle)
    scribe.serve((1, "a"))
    scribe.serve((2, "b"))
    scribe.told()
    view = scribe.world.manager.view(MODEL)
    assert view is not None
    back = view.past.formers[-1]
    scribe.world.inbox.put(RollbackWish(MODEL, back, Cause(Deed.ROLLBACK, BOB)))
    scribe.world.manager.step()

    assert scribe.told() == [("rollback", 1, "ok", BOB), ("unload", 2, "ok", BOB)]


def test_another_try_on_request_is_told_of_who_asked(scribe: Scribe) -> None:
    scribe.wish((1, "a"), alone=True)
    scribe.world.fails(key(1))
    scribe.told()
    scribe.world.inbox.put(RetryWish(MODEL, cause=Cause(Deed.RETRY, BOB)))
    scribe.world.manager.step()
    scribe.world.loads(key(1, 2))

    assert scribe.told() == [("retry", 1, "ok", BOB)]


def test_another_try_by_itself_is_the_servers(scribe: Scribe) -> None:
    scribe.wish((1, "a"), alone=True)
    scribe.world.fails(key(1))
    scribe.told()
    due = scribe.world.manager.due()
    assert due is not None
    scribe.world.passes(due - scribe.world.clock.now)
    scribe.world.loads(key(1, 2))

    assert scribe.told() == [("retry", 1, "ok", SERVER)]


def test_what_the_repository_takes_away_is_told_as_such(scribe: Scribe) -> None:
    scribe.serve((1, "a"), cause=Cause(Deed.POLL_LOAD))
    scribe.serve((2, "b"), cause=Cause(Deed.POLL_LOAD))
    scribe.world.inbox.put(UnloadWish(MODEL, cause=Cause(Deed.POLL_UNLOAD)))
    scribe.world.manager.step()

    assert scribe.told() == [
        ("poll-load", 1, "ok", SERVER),
        ("poll-load", 2, "ok", SERVER),
        ("poll-unload", 1, "ok", SERVER),
        ("poll-unload", 2, "ok", SERVER),
    ]


def test_the_end_of_the_server_is_not_told_of_each_model(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.told()
    scribe.world.inbox.put(UnloadAll())
    scribe.world.manager.step()

    assert scribe.told() == []


@pytest.mark.parametrize(
    ("deed", "told"), [(Deed.POLL_LOAD, 1), (Deed.START, 1), (Deed.LOAD, 0), (Deed.RETRY, 0)]
)
def test_a_model_that_cannot_be_looked_at_is_told_once_unless_somebody_asked(
    scribe: Scribe, deed: Deed, told: int
) -> None:
    error = InvalidRequestError("unexpected end of config.pbtxt")
    for _ in range(2):
        scribe.world.inbox.put(Trouble(MODEL, error, error, cause=Cause(deed)))
        scribe.world.manager.step()

    events = [(one.what, one.outcome, one.reason) for one in scribe.events]
    assert events == [(deed.value, "failed", error.reason)] * told


def test_nothing_is_told_of_what_does_not_exist(scribe: Scribe) -> None:
    error = NotFoundError("not found")
    scribe.world.inbox.put(Trouble(ModelName("x"), error, error, cause=Cause(Deed.POLL_LOAD)))
    scribe.world.manager.step()

    assert scribe.events == []


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [(before, event, after) for (before, event), after in TRANSITIONS.items()],
)
def test_whatever_begins_or_ceases_to_serve_is_told(
    before: Phase, event: Event, after: Phase
) -> None:
    sentence = sentence_of(Told(Transition(key(1), before, after, "", 0.0), event, BY_ANN, BY_BOB))

    changes = (before is Phase.READY) != (after is Phase.READY)
    if changes or after is Phase.FAILED or event in {Event.ADJUST, Event.KEEP}:
        assert sentence is not None
    else:
        gives_up = event in {Event.DROP, Event.DISCARD} and before is not Phase.NEW
        assert (sentence is not None) == gives_up


def test_instances_that_change_in_place_are_told_of_who_asked(scribe: Scribe) -> None:
    adjusted = scribe.moved(Phase.READY, Phase.READY, Event.ADJUST, "1 -> 2 instances")
    assert (adjusted.what, adjusted.outcome, adjusted.who) == ("load", "ok", BOB)

    kept = scribe.moved(Phase.READY, Phase.READY, Event.KEEP, "no memory")
    assert (kept.outcome, kept.reason) == ("failed", "no memory")


def heard(*refusals: str | None) -> tuple[Heard, ...]:
    return tuple(
        Heard(f"agent{number}", {"secret": "s"}, refusal, {"noted": "n"})
        for number, refusal in enumerate(refusals)
    )


def test_what_agents_said_is_told_but_never_their_parameters(scribe: Scribe) -> None:
    scribe.verdicts[key(1)] = Verdict(heard(None, None))
    scribe.serve((1, "a"))

    (event,) = scribe.events
    assert event.outcome == "ok"
    assert event.agents == (
        AgentDescription("agent0", True, "", {"noted": "n"}),
        AgentDescription("agent1", True, "", {"noted": "n"}),
    )
    assert "secret" not in repr(event)


@pytest.mark.parametrize(("mode", "outcome"), [(Mode.AUDIT, "would-refuse"), (Mode.WARN, "warned")])
def test_what_serves_against_the_policy_is_told_with_what_is_against_it(
    scribe: Scribe, mode: Mode, outcome: str
) -> None:
    scribe.verdicts[key(1)] = Verdict(heard("no signature"), AGAINST, mode, "policy.yaml:3")
    scribe.serve((1, "a"))

    (event,) = scribe.events
    assert event.outcome == outcome
    assert "nobody has signed it" in event.reason
    assert not event.agents[0].passed


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (InvalidRequestError("no signature"), "refused"),
        (FilesMovedError("they moved"), "failed"),
        (None, "failed"),
    ],
    ids=["by an agent", "as files moved", "while it was built"],
)
def test_what_agents_keep_out_is_refused_and_the_rest_has_failed(
    scribe: Scribe, refusal: InvalidRequestError | None, outcome: str
) -> None:
    scribe.verdicts[key(1)] = Verdict(heard("no signature"), AGAINST)
    move = Transition(key(1), Phase.PREPARING, Phase.FAILED, "why", 0.0)
    scribe.chronicle.moved(Told(move, Event.FAIL, BY_ANN, BY_ANN, refusal=refusal))

    (event,) = scribe.events
    assert (event.outcome, event.reason) == (outcome, "why")


def test_what_fails_without_an_objection_has_failed(scribe: Scribe) -> None:
    scribe.verdicts[key(1)] = Verdict(heard(None))
    move = Transition(key(1), Phase.PREPARING, Phase.FAILED, "why", 0.0)
    refusal = InternalError("no thread is left")
    scribe.chronicle.moved(Told(move, Event.FAIL, BY_ANN, BY_ANN, refusal=refusal))

    assert scribe.events[0].outcome == "failed"


def test_what_a_new_policy_makes_of_what_serves_is_told(scribe: Scribe) -> None:
    scribe.chronicle.judged(key(1), Verdict(heard("no"), AGAINST, Mode.ENFORCE))
    scribe.chronicle.judged(key(1), Verdict(heard(None)))

    against, passed = scribe.events
    assert (against.what, against.outcome, against.version) == ("policy", "refused", 1)
    assert "nobody has signed it" in against.reason
    assert (passed.what, passed.outcome, passed.reason) == ("policy", "ok", "")


def test_which_policy_is_in_force_is_told_and_why_another_is_not(scribe: Scribe) -> None:
    scribe.chronicle.policy("d1")
    scribe.chronicle.policy("", trouble="policy.yaml:3:1: no")

    assert [(one.what, one.outcome, one.digest, one.reason) for one in scribe.events] == [
        ("policy", "ok", "d1", ""),
        ("policy", "refused", "", "policy.yaml:3:1: no"),
    ]


def test_what_the_policy_withdraws_is_its_own_doing(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.told()
    scribe.world.inbox.put(ReviewWish(MODEL, withdrawn=frozenset({key(1)})))
    scribe.world.manager.step()
    scribe.world.fails(key(1, 2))

    assert scribe.told() == [
        ("policy-unload", 1, "ok", SERVER),
        ("policy-load", 1, "failed", SERVER),
    ]


def test_what_the_policy_has_loaded_again_is_its_own_doing(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.told()
    scribe.world.inbox.put(ReviewWish(MODEL, renewed=frozenset({key(1)})))
    scribe.world.manager.step()
    scribe.world.loads(key(1, 2))

    assert scribe.told() == [
        ("policy-load", 1, "ok", SERVER),
        ("policy-unload", 1, "ok", SERVER),
    ]


def test_a_wish_that_is_under_way_stays_what_it_was(scribe: Scribe) -> None:
    scribe.serve((1, "a"))
    scribe.wish((2, "b"), cause=BY_BOB)
    scribe.told()
    scribe.world.inbox.put(ReviewWish(MODEL, renewed=frozenset({key(1)})))
    scribe.world.manager.step()
    scribe.world.loads(key(2))

    assert scribe.told() == [("load", 2, "ok", BOB), ("unload", 1, "ok", BOB)]


SERVES = (Phase.PROVING, Phase.READY, Event.SHOW)


def test_a_digest_that_is_made_later_has_a_line_of_its_own(scribe: Scribe) -> None:
    scribe.digests[key(1)] = PENDING
    assert scribe.moved(*SERVES).digest == PENDING
    scribe.chronicle.digested(key(1), "d1")
    scribe.chronicle.digested(key(1), "d1")

    (late,) = scribe.events[1:]
    assert (late.what, late.digest, late.version, late.generation) == ("digest", "d1", 1, 1)


@pytest.mark.parametrize(
    "move",
    [(Phase.LOADING, Phase.FAILED, Event.FAIL), (Phase.READY, Phase.DRAINING, Event.WITHDRAW)],
)
def test_what_does_not_serve_waits_for_no_digest(
    scribe: Scribe, move: tuple[Phase, Phase, Event]
) -> None:
    scribe.digests[key(1)] = PENDING

    assert scribe.moved(*move).digest == ""


def test_a_digest_that_is_known_is_told_once(scribe: Scribe) -> None:
    scribe.digests[key(1)] = "d1"
    assert scribe.moved(*SERVES).digest == "d1"
    scribe.chronicle.digested(key(1), "d1")

    assert len(scribe.events) == 1


def test_other_instances_have_another_digest_which_is_not_known_yet(scribe: Scribe) -> None:
    scribe.digests[key(1)] = "d1"
    scribe.moved(*SERVES)
    assert scribe.moved(Phase.READY, Phase.READY, Event.ADJUST).digest == PENDING
    scribe.chronicle.digested(key(1), "d2")

    assert scribe.events[-1].digest == "d2"


@pytest.mark.parametrize(
    "tell",
    [
        lambda one: one.digested(key(1), "d1"),
        lambda one: one.content_digested(MODEL, Version(1), "a", "d1"),
    ],
    ids=["of a generation", "of a content"],
)
def test_nothing_is_told_of_a_digest_of_what_has_gone(
    scribe: Scribe, tell: Callable[[AuditChronicle], None]
) -> None:
    scribe.moved(*SERVES)
    scribe.moved(Phase.READY, Phase.DRAINING, Event.WITHDRAW)
    scribe.events.clear()
    tell(scribe.chronicle)

    assert scribe.events == []


def test_a_digest_of_a_content_is_told_of_what_is_made_of_it(scribe: Scribe) -> None:
    scribe.digests[key(1)] = PENDING
    scribe.moved(*SERVES)
    scribe.events.clear()
    scribe.chronicle.content_digested(MODEL, Version(1), "b", "other")
    scribe.chronicle.content_digested(MODEL, Version(2), "a", "other")
    scribe.chronicle.content_digested(MODEL, Version(1), "a", "d1")

    assert [one.digest for one in scribe.events] == ["d1"]


def test_a_digest_that_is_made_just_then_is_not_lost() -> None:
    events: list[AuditEvent] = []

    def made_meanwhile(of: GenerationKey, _fingerprint: str) -> str:
        chronicle.digested(of, "d1")
        return PENDING

    chronicle = AuditChronicle(
        events.append, digest_of=made_meanwhile, verdict_of=lambda _key: None
    )
    move = Transition(key(1), Phase.PROVING, Phase.READY, "loaded", 0.0)
    chronicle.moved(Told(move, Event.SHOW, BY_ANN, BY_ANN))

    assert sorted(one.what for one in events) == ["digest", "load"]


def test_that_there_is_no_digest_is_not_told(scribe: Scribe) -> None:
    scribe.digests[key(1)] = PENDING
    scribe.moved(*SERVES)
    scribe.chronicle.digested(key(1), "")

    assert len(scribe.events) == 1
