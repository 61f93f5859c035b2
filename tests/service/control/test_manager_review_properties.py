"""The manager under random wishes of a policy, among all else that happens to what serves."""

from collections.abc import Set as AbstractSet

from hypothesis import settings, strategies as st
from hypothesis.stateful import invariant, precondition, rule

from interlock.control.holds import HoldKind
from interlock.control.lifecycle import Phase
from interlock.control.reports import Remarked
from interlock.control.wishes import ReviewWish
from interlock.domain.ids import GenerationKey, ModelName, Version
from tests.service.control.test_manager_properties import ReconcilingWhatServes, models, picks

versions = st.sets(st.integers(1, 3).map(Version))


class Reviewing(ReconcilingWhatServes):
    """What serves is contested, loaded again, tried again and withdrawn at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.banned: set[GenerationKey] = set()
        self.reviews: list[ReviewWish] = []

    @precondition(lambda self: self.world.shown)
    @rule(pick=picks, is_contested=st.booleans())
    def the_policy_has_something_against_a_version(self, pick: int, *, is_contested: bool) -> None:
        key = self._pick(self.world.shown, pick)
        self.world.inbox.put(Remarked(key, "policy: no", is_contested=is_contested))

    @precondition(lambda self: self.world.shown)
    @rule(pick=picks)
    def a_version_is_to_be_loaded_again(self, pick: int) -> None:
        self._review(self._pick(self.world.shown, pick).model, renewed={1, 2, 3})

    @precondition(lambda self: self._loaded())
    @rule(pick=picks)
    def a_version_is_withdrawn(self, pick: int) -> None:
        key = self._pick(self._loaded(), pick)
        self._put_review(ReviewWish(key.model, withdrawn=frozenset({key})))

    @rule(model=models, failed=versions)
    def what_failed_is_tried_again(self, model: str, failed: AbstractSet[Version]) -> None:
        self._put_review(ReviewWish(ModelName(model), retried=frozenset(failed)))

    @invariant()
    def what_was_withdrawn_is_not_shown(self) -> None:
        if not self.world.inbox.wait(0):
            assert not self.banned & self.world.shown

    @invariant()
    def a_hold_keeps_what_it_names_and_nothing_else(self) -> None:
        for unit in self._held():
            assert unit.hold is not None
            if unit.hold.kind is HoldKind.UNLOAD:
                assert not unit.ready() or unit.pending is not None
            elif unit.pending is None:
                assert {*unit.ready()} <= {*unit.hold.versions}

    def teardown(self) -> None:
        super().teardown()
        assert all(wish.outcome.done() for wish in self.reviews)

    def _review(self, model: ModelName, *, renewed: AbstractSet[int]) -> None:
        keys = {key for key in self.world.shown if key.model == model and key.version in renewed}
        self._put_review(ReviewWish(model, renewed=frozenset(keys)))

    def _put_review(self, wish: ReviewWish) -> None:
        self.reviews.append(wish)
        self.world.inbox.put(wish)
        self.banned |= {key for key in wish.withdrawn if key in self.world.shown}

    def _loaded(self) -> set[GenerationKey]:
        return {
            key
            for unit in self.manager._units.values()
            for key, phase in unit.actual.items()
            if phase in {Phase.READY, Phase.STANDBY}
        }

    def _nothing_good_was_lost(self) -> None:
        self.shown_before = {model: keys - self.banned for model, keys in self.shown_before.items()}
        super()._nothing_good_was_lost()


Reviewing.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestReviewing = Reviewing.TestCase
