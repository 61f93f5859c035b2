"""Say what a load would do, by the planner that would do it, without doing it.

It is taken that all that would be loaded can be built; what fails changes nothing.
"""

from interlock.control.actions import Show, Withdraw
from interlock.control.index import ModelView
from interlock.control.lifecycle import Phase
from interlock.control.planner import plan
from interlock.control.records import KEPT
from interlock.control.wishes import Candidate, Polled
from interlock.domain.description import Effect, PlannedStep
from interlock.domain.ids import Generation, GenerationKey


def preview(view: ModelView, polled: Polled) -> tuple[PlannedStep, ...]:
    """Return what becomes of every content that serves, or would."""
    actual = {one.state.key: one.state.phase for one in view.generations}
    found = [(candidate, _kept(view, candidate)) for candidate in polled.candidates]
    kept = {key for _, key in found if key is not None}
    new = {_next(view, candidate) for candidate, key in found if key is None}
    # As if it were built: what is on its way, and what is new.
    built = {key for key in kept if actual[key] is not Phase.READY} | new
    steps = [PlannedStep(key, Effect.KEEP, "its content has not changed") for key in kept]
    for action in plan(kept | new, actual | dict.fromkeys(built, Phase.PROVING)):
        if isinstance(action, Show) and action.key in new:
            steps.append(PlannedStep(action.key, Effect.LOAD, _why_new(view, action.key)))
        elif isinstance(action, Withdraw):
            steps.append(PlannedStep(action.key, Effect.UNLOAD, action.reason))
    return tuple(sorted(steps, key=lambda step: step.key))


def _kept(view: ModelView, candidate: Candidate) -> GenerationKey | None:
    """Return the newest content of the version that would go on as it is."""
    for generation in reversed(view.generations):
        state = generation.state
        if (
            state.key.version == candidate.version
            and state.phase in KEPT
            and generation.fingerprint == candidate.fingerprint
        ):
            return state.key
    return None


def _next(view: ModelView, candidate: Candidate) -> GenerationKey:
    keys = [one.state.key for one in view.generations if one.state.key.version == candidate.version]
    number = max((key.generation for key in keys), default=0) + 1
    return GenerationKey(view.model, candidate.version, Generation(number))


def _why_new(view: ModelView, key: GenerationKey) -> str:
    serves = any(
        one.state.key.version == key.version and one.state.phase is Phase.READY
        for one in view.generations
    )
    return "its content has changed" if serves else "it does not serve"
