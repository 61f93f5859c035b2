"""Say what a load would do, by the planner that would do it, without doing it.

It is taken that all that would be loaded can be built; what fails changes nothing.
"""

from interlock.control.actions import Show, StandBy, Withdraw
from interlock.control.adjusting import can_adjust
from interlock.control.generations import KEPT
from interlock.control.index import GenerationView, ModelView
from interlock.control.lifecycle import Phase
from interlock.control.planner import plan
from interlock.control.wishes import Candidate, Polled
from interlock.domain.description import Effect, PlannedStep
from interlock.domain.ids import Generation, GenerationKey


def preview(view: ModelView, polled: Polled) -> tuple[PlannedStep, ...]:
    """Return what becomes of every content that serves, or would."""
    actual = {one.state.key: one.state.phase for one in view.generations}
    found = [(candidate, _kept(view, candidate, polled)) for candidate in polled.candidates]
    steps = [step for _, step in found if step is not None]
    kept = {step.key for step in steps}
    new = {_next(view, candidate) for candidate, step in found if step is None}
    # As if it were built: what is on its way, and what is new.
    built = {key for key in kept if actual[key] is not Phase.READY} | new
    actions = plan(
        kept | new,
        actual | dict.fromkeys(built, Phase.PROVING),
        window=None if polled.config.swaps_room_first else view.window,
    )
    for action in actions:
        if isinstance(action, Show) and action.key in new:
            steps.append(PlannedStep(action.key, Effect.LOAD, _why_new(view, action.key)))
        elif isinstance(action, StandBy):
            steps.append(PlannedStep(action.key, Effect.STAND_BY, action.reason))
        elif isinstance(action, Withdraw):
            steps.append(PlannedStep(action.key, Effect.UNLOAD, action.reason))
    return tuple(sorted(steps, key=lambda step: step.key))


def _kept(view: ModelView, candidate: Candidate, polled: Polled) -> PlannedStep | None:
    """Return what becomes of the newest content of the version that goes on, if one does."""
    known = [
        generation
        for generation in reversed(view.generations)
        if generation.state.key.version == candidate.version
    ]
    for generation in known:
        same = generation.fingerprint == candidate.fingerprint
        if same and generation.state.phase in KEPT:
            is_warm = generation.state.phase is Phase.STANDBY
            reason = "it stands by and would serve" if is_warm else "its content has not changed"
            return PlannedStep(generation.state.key, Effect.KEEP, reason)
    for generation in known:
        is_ready = generation.state.phase is Phase.READY
        if is_ready and can_adjust(generation.body, generation.config, candidate, polled):
            return _in_place(generation, polled)
    return None


def _in_place(generation: GenerationView, polled: Polled) -> PlannedStep:
    key = generation.state.key
    if generation.config == polled.config:
        return PlannedStep(key, Effect.KEEP, "its configuration has not changed in meaning")
    reason = "of its configuration only instance_group or version_policy has changed"
    return PlannedStep(key, Effect.ADJUST, reason)


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
