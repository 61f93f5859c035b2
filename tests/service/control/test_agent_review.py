"""What a change of the policy asks of what is loaded."""

from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_book import VerdictBook
from interlock.control.agent_hearing import Hearing
from interlock.control.agent_policy import AgentPolicy, Candidate, Mode, RequiredAgent, Rule
from interlock.control.agent_review import Review
from interlock.control.agent_verdicts import Heard
from interlock.control.index import GenerationView, ModelView
from interlock.control.lifecycle import Phase, readiness_of
from interlock.control.reports import Remarked
from interlock.control.wishes import ReviewWish
from interlock.domain.errors import UnavailableError
from interlock.domain.ids import GenerationKey, Version
from interlock.domain.transition import VersionState
from tests.support.control import MODEL, HandClock, key
from tests.support.wire import eventually

GRACE_S = 10.0
ONE, AGAIN = key(1), key(1, 2)
PASSED, REFUSED = Heard("gate", {}), Heard("gate", {}, refusal="no")
GATE = RequiredAgent("gate")
WORDS = "policy: the agent 'gate' {} (rule '*', policy:1)"
LACKS = WORDS.format("has not seen the version as the policy wants it")
FAILS = WORDS.format("refuses it: no")


def ruled(*required: RequiredAgent, mode: Mode = Mode.ENFORCE) -> AgentPolicy:
    return AgentPolicy((Rule(("*",), mode, required, line=1),))


@dataclass
class World:
    """A review, a manager's views, and what it is asked for."""

    policy: AgentPolicy = field(default_factory=ruled)
    book: VerdictBook = field(default_factory=VerdictBook)
    phases: dict[GenerationKey, Phase] = field(default_factory=dict)
    wishes: list[ReviewWish] = field(default_factory=list)
    remarks: list[Remarked] = field(default_factory=list)
    told: list[tuple[GenerationKey, str]] = field(default_factory=list)
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.review = Review(
            policy=lambda: self.policy,
            book=self.book,
            view=self._view,
            hand_over=self._hand_over,
            grace_s=GRACE_S,
            clock=self.clock,
            told=lambda of, verdict: self.told.append((of, verdict.outcome)),
        )

    def _view(self, model: str) -> ModelView | None:
        if model != MODEL:
            return None
        states = [VersionState(of, at, readiness_of(at)) for of, at in self.phases.items()]
        return ModelView(MODEL, (), generations=tuple(GenerationView(one, "") for one in states))

    def _hand_over(self, message: Remarked | ReviewWish) -> None:
        if isinstance(message, Remarked):
            self.remarks.append(message)
        else:
            self.wishes.append(message)

    def has(self, of: GenerationKey, phase: Phase, *heard: Heard) -> None:
        """Let there be a generation that was judged under the policy of now."""
        self.book.write([of], Hearing(self.policy, Candidate(MODEL)).judged(heard))
        self.phases[of] = phase

    def look(self) -> list[ReviewWish]:
        """Look once, and return what is asked for."""
        self.wishes.clear()
        self.remarks.clear()
        self.review.step()
        return list(self.wishes)

    def take(self, *, error: bool = False) -> None:
        """Let the manager answer what it was asked last."""
        wish = self.wishes[-1]
        if error:
            wish.outcome.set_exception(UnavailableError("busy"))
        else:
            wish.outcome.set_result(None)

    def renews(self) -> None:
        """Let what serves lack a verdict, and a successor fail for good."""
        self.has(ONE, Phase.READY)
        self.policy = ruled(GATE)
        self.look()
        self.phases[AGAIN] = Phase.PREPARING
        self.take()
        self.look()
        self.has(AGAIN, Phase.FAILED, REFUSED)


@pytest.fixture
def world() -> World:
    return World()


def test_what_was_judged_under_the_policy_is_left_alone(world: World) -> None:
    world.policy = ruled(GATE)
    world.has(ONE, Phase.READY, PASSED)

    assert world.look() == []
    assert world.remarks == []
    assert world.told == []


def test_what_passes_another_policy_goes_on(world: World) -> None:
    world.has(ONE, Phase.READY, PASSED)
    world.policy = ruled(GATE)

    assert world.look() == []
    assert world.remarks == [Remarked(ONE, "")]
    assert world.told == [(ONE, "passed")]
    assert world.look() == []
    assert world.remarks == []


def test_what_lacks_a_verdict_is_loaded_again_once(world: World) -> None:
    world.has(ONE, Phase.READY)
    world.policy = ruled(GATE)

    (wish,) = world.look()

    assert wish.model == MODEL
    assert wish.renewed == {ONE}
    assert not wish.withdrawn
    assert world.remarks == [Remarked(ONE, "")]
    assert world.look() == []  # nobody has answered yet
    world.phases[AGAIN] = Phase.PREPARING
    wish.outcome.set_result(None)
    assert world.look() == []
    world.clock.now += 2 * GRACE_S
    assert world.look() == []


def test_what_could_not_be_loaded_again_now_is_asked_for_later(world: World) -> None:
    world.has(ONE, Phase.READY)
    world.policy = ruled(GATE)
    world.look()
    world.take(error=True)

    (again,) = world.look()

    assert again.renewed == {ONE}


def test_what_is_on_its_way_already_is_waited_for(world: World) -> None:
    world.has(ONE, Phase.READY)
    world.phases[AGAIN] = Phase.PROVING
    world.policy = ruled(GATE)

    assert world.look() == []


@pytest.mark.parametrize("leaves_a_record", [True, False])
def test_what_cannot_get_a_verdict_goes_after_the_grace(
    world: World, leaves_a_record: bool
) -> None:
    world.renews()
    if not leaves_a_record:
        del world.phases[AGAIN]

    assert world.look() == []
    assert world.remarks == [
        Remarked(ONE, f"{LACKS}; it goes after --agent-policy-grace-secs=10", True)
    ]
    world.clock.now += GRACE_S - 1
    assert world.look() == []
    world.clock.now += 1
    (wish,) = world.look()

    assert not wish.renewed
    assert wish.withdrawn == {ONE}


def test_another_try_does_not_begin_the_grace_again(world: World) -> None:
    world.renews()
    world.look()
    world.clock.now += GRACE_S
    world.phases[key(1, 3)] = Phase.PREPARING

    (wish,) = world.look()

    assert wish.withdrawn == {ONE}
    assert world.remarks == []


def test_another_policy_is_another_chance(world: World) -> None:
    world.renews()
    world.look()
    world.policy = ruled(GATE)

    (wish,) = world.look()

    assert wish.renewed == {ONE}
    assert world.remarks == [Remarked(ONE, "")]


def test_what_fails_is_told_of_at_once_and_goes_after_the_grace(world: World) -> None:
    world.policy = ruled(GATE, mode=Mode.AUDIT)
    world.has(ONE, Phase.READY, REFUSED)
    world.policy = ruled(GATE)

    with capture_logs() as logs:
        assert world.look() == []

    assert world.remarks == [
        Remarked(ONE, f"{FAILS}; it goes after --agent-policy-grace-secs=10", True)
    ]
    (told,) = [line for line in logs if line["log_level"] == "warning"]
    assert (told["reason"], told["mode"]) == (FAILS, "enforce")
    assert world.told == [(ONE, "refused")]
    world.clock.now += GRACE_S
    (wish,) = world.look()
    assert wish.withdrawn == {ONE}


def test_what_is_tolerated_is_told_of_and_stays(world: World) -> None:
    world.has(ONE, Phase.READY, REFUSED)
    world.policy = ruled(GATE, mode=Mode.WARN)
    assert world.look() == []
    assert world.remarks == [Remarked(ONE, FAILS)]

    world.policy = ruled(GATE, mode=Mode.AUDIT)
    assert world.look() == []
    assert world.remarks == [Remarked(ONE, "")]
    world.clock.now += 2 * GRACE_S
    assert world.look() == []
    assert world.told == [(ONE, "warned"), (ONE, "would-refuse")]


def test_a_policy_that_comes_back_in_time_keeps_it(world: World) -> None:
    world.has(ONE, Phase.READY, REFUSED)
    loose, world.policy = world.policy, ruled(GATE)
    world.look()
    world.policy = loose
    world.look()
    assert world.remarks == [Remarked(ONE, "")]

    world.clock.now += 2 * GRACE_S

    assert world.look() == []


@pytest.mark.parametrize("heard", [(), (REFUSED,)], ids=["lacks", "fails"])
def test_what_only_stands_by_goes_at_once(world: World, heard: tuple[Heard, ...]) -> None:
    world.has(ONE, Phase.STANDBY, *heard)
    world.policy = ruled(GATE)

    (wish,) = world.look()

    assert not wish.renewed
    assert wish.withdrawn == {ONE}


def test_what_stands_by_stays_where_the_policy_only_looks_on(world: World) -> None:
    world.has(ONE, Phase.STANDBY)
    world.policy = ruled(GATE, mode=Mode.WARN)

    assert world.look() == []


@pytest.mark.parametrize(
    "policy", [ruled(), ruled(GATE, mode=Mode.WARN), ruled(RequiredAgent("other"))]
)
def test_what_failed_by_an_older_policy_is_tried_again_once(
    world: World, policy: AgentPolicy
) -> None:
    world.policy = ruled(GATE)
    world.has(ONE, Phase.FAILED, REFUSED)
    assert world.look() == []
    world.policy = policy

    (wish,) = world.look()

    assert wish.retried == {Version(1)}
    assert not wish.renewed
    assert world.look() == []


def test_what_fails_by_the_new_policy_too_is_not_tried_again(world: World) -> None:
    world.policy = ruled(GATE)
    world.has(ONE, Phase.FAILED, REFUSED)
    world.policy = ruled(GATE, RequiredAgent("other"))

    assert world.look() == []


def test_what_did_not_fail_by_the_policy_is_none_of_its_business(world: World) -> None:
    world.policy = ruled(GATE)
    world.has(ONE, Phase.FAILED, PASSED)
    world.policy = ruled()

    assert world.look() == []


def test_what_is_on_its_way_is_looked_at_when_it_serves(world: World) -> None:
    world.has(ONE, Phase.LOADING)
    world.policy = ruled(GATE)
    assert world.look() == []
    world.phases[ONE] = Phase.READY

    (wish,) = world.look()

    assert wish.renewed == {ONE}


def test_a_model_that_nobody_knows_any_more_is_passed_over(world: World) -> None:
    gone = key(1, model="gone")
    world.has(gone, Phase.READY)
    world.policy = ruled(GATE)

    assert world.look() == []


def test_the_thread_looks_when_there_is_news_and_when_a_grace_ends(world: World) -> None:
    world.has(ONE, Phase.READY, REFUSED)
    world.review.start()
    try:
        world.policy = ruled(GATE)
        world.review.hint()
        eventually(lambda: bool(world.remarks))
        world.clock.now += GRACE_S
        world.review.hint()
        eventually(lambda: any(wish.withdrawn == {ONE} for wish in world.wishes))
    finally:
        world.review.close()
