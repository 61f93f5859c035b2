"""A model's agents: what each sees, in which order they hear, and what becomes of refusals."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from interlock.control.agent_chain import Link
from interlock.control.agent_model import Found
from interlock.control.agent_pool import AgentPool, Ending
from interlock.control.agent_story import IllegalActionError
from interlock.control.agent_verdicts import Heard
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
    UnsupportedError,
)
from interlock.runtime.threads import spawn
from interlock_agents.api import (
    Action,
    AgentCancelledError,
    AgentError,
    AgentModel,
    DirectoryLocation,
    Fault,
    Location,
    PathError,
    RepositoryAgent,
)
from tests.support.agents import (
    NOWHERE,
    PoolFake,
    Stage,
    fate_of,
    in_memory,
    live,
    nothing,
    on,
    publishing,
    raising,
    refusal_of,
)
from tests.support.wire import eventually

L, C, F, U, D = Action
SERVED = [L, C, U, D]
PATIENCE_S = 30.0
LOAD_NAME = "TRITONREPOAGENT_ACTION_LOAD"

SLOW = AgentPool(notice_s=0.01)


def load(stage: Stage) -> None:
    """Have it loaded, wherever to."""
    stage.chain.load()


def nobody() -> None:
    """Do nothing, in a thread of the pool."""


def test_load_and_unload_are_heard_in_order_and_the_rest_in_reverse() -> None:
    stage = Stage(nothing, nothing, nothing)

    live(stage)

    order = [("abc", L), ("cba", C), ("abc", U), ("cba", D)]
    assert stage.diary == [(name, action) for names, action in order for name in names]


def test_a_load_that_fails_later_is_told_in_reverse() -> None:
    stage = Stage(nothing, nothing, nothing)
    stage.chain.load()

    stage.chain.fail()

    assert stage.diary[3:] == [("c", F), ("b", F), ("a", F)]


def test_those_behind_the_one_that_refuses_are_never_made() -> None:
    stage = Stage(nothing, on(L, raising(AgentError("not this one"))), nothing)

    refused = refusal_of(stage)

    assert str(refused) == "not this one"
    assert stage.stories == [[L, F], [L, F], []]
    assert [player.made for player in stage.players] == [1, 1, 0]
    assert stage.diary[2:] == [("b", F), ("a", F)]


def test_what_agents_say_is_kept_as_far_as_they_came() -> None:
    def note(_: Action, model: AgentModel) -> None:
        model.note("signer", "release")

    stage = Stage(on(L, note), on(L, raising(AgentError("no"))), nothing, parameters={"k": "v"})

    refusal_of(stage)

    assert stage.chain.heard == (
        Heard("a", {"k": "v"}, notes={"signer": "release"}),
        Heard("b", {"k": "v"}, refusal="no"),
    )


def test_one_that_only_looks_on_may_refuse_and_leaves_nothing_behind() -> None:
    def publish_and_refuse(_: Action, model: AgentModel) -> None:
        model.publish(in_memory(model, config=b""))
        raise AgentError("no")

    stage = Stage(on(L, publish_and_refuse), nothing, is_binding=False)

    live(stage)

    assert stage.stories == [SERVED, SERVED]
    assert [words.refusal for words in stage.chain.heard] == ["no", None]
    assert stage.chain.location is NOWHERE


@pytest.mark.parametrize("how", [Ending.OVER_TIME, Ending.NO_THREAD])
def test_one_that_only_looks_on_holds_nothing_up(how: Ending) -> None:
    fates = iter([how])
    stage = Stage(
        nothing, nothing, is_binding=False, pool=PoolFake(lambda: next(fates, Ending.RETURNED))
    )

    assert stage.chain.load() is NOWHERE

    assert stage.chain.heard[0].refusal is not None
    assert stage.stories[1] == [L]
    stage.chain.close()


def test_one_that_only_looks_on_does_not_keep_a_load_that_nobody_wants() -> None:
    fates = iter([Ending.CUT_OFF])
    stage = Stage(nothing, is_binding=False, pool=PoolFake(lambda: next(fates, Ending.RETURNED)))

    assert isinstance(refusal_of(stage), UnavailableError)


SIZES_AND_PLACES = [(size, place) for size in range(1, 5) for place in range(size)]
ERRORS = [AgentError("no"), ZeroDivisionError(), SystemExit(3), KeyboardInterrupt()]


def number_of_call(action: Action, *, size: int, place: int) -> int:
    before = {L: 0, C: size, F: size, U: 2 * size, D: 3 * size}[action]
    return before + (place if action in {L, U} else size - 1 - place)


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whoever_fails_at_a_load_is_told_so_and_all_before(
    size: int, place: int, error: BaseException
) -> None:
    acts = [on(L, raising(error)) if number == place else nothing for number in range(size)]
    stage = Stage(*acts)

    with capture_logs():
        refusal_of(stage)

    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - 1 - place)
    assert stage.chain.last is F


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("action", [C, F, U, D])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whoever_fails_later_keeps_nobody_from_hearing_all(
    size: int, place: int, action: Action, error: BaseException
) -> None:
    acts = [on(action, raising(error)) if number == place else nothing for number in range(size)]
    stage = Stage(*acts)

    with capture_logs() as logs:
        if action is F:
            stage.chain.load()
            stage.chain.fail()
        else:
            live(stage)

    assert stage.stories == [[L, F] if action is F else SERVED] * size
    name = f"TRITONREPOAGENT_ACTION_{action.value}"
    assert [line["event"] for line in logs] == [f"Agent model returns error on {name}: {error}"]
    assert logs[0]["agent"] == "abcd"[place]
    assert logs[0]["model"] == "m"


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
def test_whoever_hangs_in_a_load_hears_the_end_of_it_when_it_is_back(size: int, place: int) -> None:
    pool = PoolFake(fate_of(place, Ending.OVER_TIME))
    stage = Stage(*[nothing] * size, pool=pool)

    with capture_logs():
        refused = refusal_of(stage)

    assert isinstance(refused, UnavailableError)
    name = "abcd"[place]
    assert str(refused) == f"agent '{name}' did not come to an end within --agent-timeout-secs=5"
    assert stage.stories == [[L, F]] * place + [[L]] + [[]] * (size - place - 1)
    pool.let_go()
    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - place - 1)


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
@pytest.mark.parametrize("action", [C, F, U, D])
def test_whoever_hangs_later_hears_the_rest_when_it_is_back(
    size: int, place: int, action: Action
) -> None:
    call = number_of_call(action, size=size, place=place)
    pool = PoolFake(fate_of(call, Ending.OVER_TIME))
    stage = Stage(*[nothing] * size, pool=pool)
    whole = [L, F] if action is F else SERVED

    with capture_logs():
        if action is F:
            stage.chain.load()
            stage.chain.fail()
        else:
            live(stage)

    others = [story for number, story in enumerate(stage.stories) if number != place]
    assert others == [whole] * (size - 1)
    assert stage.stories[place] == whole[: whole.index(action) + 1]
    pool.let_go()
    assert stage.stories == [whole] * size


@pytest.mark.parametrize(("size", "place"), SIZES_AND_PLACES)
def test_a_load_that_is_cut_off_is_over_for_all(size: int, place: int) -> None:
    pool = PoolFake(fate_of(place, Ending.CUT_OFF))
    stage = Stage(*[nothing] * size, pool=pool)

    with capture_logs():
        refused = refusal_of(stage)

    assert isinstance(refused, UnavailableError)
    assert str(refused) == "the load was given up while repository agents were at work"
    assert stage.stories == [[L, F]] * place + [[L]] + [[]] * (size - place - 1)
    pool.let_go()
    assert stage.stories == [[L, F]] * (place + 1) + [[]] * (size - place - 1)


def test_an_agent_that_waits_for_a_thread_is_not_asked_about_a_load_that_nobody_wants() -> None:
    gate, begun = threading.Event(), threading.Event()
    pool = AgentPool(threads=1)

    def hog(_: Action, __: AgentModel) -> None:
        begun.set()
        assert gate.wait(PATIENCE_S)

    first, second = Stage(on(L, hog), pool=pool), Stage(nothing, pool=pool)
    loading = spawn("first", lambda: live(first))
    assert begun.wait(PATIENCE_S)
    refused: list[ServiceError] = []
    waiting = spawn("second", lambda: refused.append(refusal_of(second)))

    eventually(lambda: second.chain.last is L)
    second.chain.cancel()

    waiting.join(PATIENCE_S)
    assert isinstance(refused[0], UnavailableError)
    gate.set()
    loading.join(PATIENCE_S)
    pool.run(nobody)
    assert second.stories == [[]]
    assert second.players[0].made == 0


@pytest.mark.parametrize("action", [C, U])
def test_what_cannot_be_told_for_lack_of_threads_is_told_with_what_follows(action: Action) -> None:
    pool = PoolFake(fate_of(number_of_call(action, size=1, place=0), Ending.NO_THREAD))
    stage = Stage(nothing, pool=pool)

    with capture_logs():
        live(stage)

    assert stage.stories == [SERVED]


def test_a_load_for_which_there_is_no_thread_is_refused() -> None:
    stage = Stage(nothing, nothing, pool=PoolFake(fate_of(1, Ending.NO_THREAD)))

    with capture_logs():
        refused = refusal_of(stage)

    assert str(refused) == ("no thread is left for agent 'b': 0 agents hang; restart the server")
    assert stage.stories == [[L, F], []]


@pytest.mark.parametrize("told", range(5))
def test_closing_ends_the_story_wherever_it_stands(told: int) -> None:
    stage = Stage(nothing, nothing)
    chain = stage.chain
    for move in (chain.load, chain.complete, chain.unload, chain.unloaded)[:told]:
        move()

    chain.close()
    chain.close()

    assert stage.stories == [{0: [], 1: [L, F]}.get(told, SERVED)] * 2


def test_what_is_out_of_order_is_refused_and_nobody_hears_of_it() -> None:
    stage = Stage(nothing)
    chain = stage.chain
    moves: dict[Action, Callable[[], object]] = {
        L: chain.load, C: chain.complete, F: chain.fail, U: chain.unload, D: chain.unloaded
    }  # fmt: skip
    for moment in (L, C, U, D):
        moves[moment]()
        heard = [*stage.diary]
        follows = {L: {C, F}, C: {U}, U: {D}, D: set()}[moment]
        for action in set(Action) - follows:
            with pytest.raises(IllegalActionError):
                moves[action]()
        assert stage.diary == heard


def test_a_model_that_nobody_wants_any_more_is_not_shown_to_agents() -> None:
    stage = Stage(nothing)
    stage.chain.cancel()

    assert isinstance(refusal_of(stage), UnavailableError)

    assert stage.stories == [[]]


def test_agents_are_not_asked_once_the_load_was_cancelled_by_one_of_them() -> None:
    stage = Stage(on(L, lambda *_: stages[0].chain.cancel()), nothing)
    stages = [stage]

    refusal_of(stage)

    assert stage.stories == [[L, F], []]


def test_an_agent_that_gives_up_when_it_is_cancelled_is_not_to_blame() -> None:
    def give_up(_: Action, model: AgentModel) -> None:
        stages[0].chain.cancel()
        model.check()

    stage = Stage(on(L, give_up))
    stages = [stage]

    with capture_logs() as logs:
        refused = refusal_of(stage)

    assert str(refused) == "the load was given up while repository agents were at work"
    assert logs == []


def test_an_agent_that_gives_up_unasked_is() -> None:
    with capture_logs():
        refused = refusal_of(Stage(on(L, raising(AgentCancelledError()))))

    assert str(refused) == "agent 'a' failed: AgentCancelledError"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (AgentError("bad digest"), InvalidRequestError, "bad digest"),
        (AgentError("no MD4", Fault.UNSUPPORTED), UnsupportedError, "no MD4"),
        (AgentError("no key service", Fault.UNAVAILABLE), UnavailableError, "no key service"),
        (AgentError("oops", Fault.INTERNAL), InternalError, "oops"),
        (PathError("'../x' leads out"), InvalidRequestError, "'../x' leads out"),
        (ZeroDivisionError(), InternalError, "agent 'a' failed: ZeroDivisionError"),
        (ValueError("two\nlines"), InternalError, "agent 'a' failed: ValueError: two lines"),
        (
            FileNotFoundError(2, "No such file", "1/x"),
            InternalError,
            "agent 'a' failed: No such file: '1/x'",
        ),
        (OSError(28, "No space left"), InternalError, "agent 'a' failed: No space left"),
    ],
)
def test_what_an_agent_raises_is_the_reason(
    error: BaseException, kind: type[ServiceError], text: str
) -> None:
    with capture_logs() as logs:
        refused = refusal_of(Stage(on(L, raising(error))))

    assert type(refused) is kind
    assert str(refused) == text
    is_meant = isinstance(error, (AgentError, PathError))
    assert [line["event"] for line in logs] == (
        [] if is_meant else ["an agent failed unexpectedly"]
    )


def test_an_agent_that_cannot_be_made_has_no_story() -> None:
    def cannot_be_made() -> RepositoryAgent:
        raise AgentError("agent.py: no module named 'x'")

    stage = Stage(nothing, then=Link("broken", cannot_be_made))

    refused = refusal_of(stage)

    assert str(refused) == "agent.py: no module named 'x'"
    assert stage.stories == [[L, F]]


class Secret:
    """Something that an agent has in its hands."""


def test_what_is_kept_of_a_refusal_keeps_nothing_of_the_agents() -> None:
    seen: list[weakref.ref[Secret]] = []

    def refuse(_: Action, model: AgentModel) -> None:
        secret = Secret()
        seen.append(weakref.ref(secret))
        raise AgentError("no") from KeyError(model.name)

    refused = refusal_of(Stage(on(L, refuse)))

    gc.collect()
    assert refused.__cause__ is None
    assert refused.__context__ is None
    assert [secret() for secret in seen] == [None]


def test_each_sees_what_the_one_before_has_published_and_its_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.pbtxt").write_text("from disk")
    seen: list[tuple[Location, object]] = []

    def look(_: Action, model: AgentModel) -> None:
        seen.append((model.location, model.config.get("name")))

    def publish(_: Action, model: AgentModel) -> None:
        model.publish(in_memory(model, config=b"from memory"))

    found, part = DirectoryLocation(tmp_path), DirectoryLocation(tmp_path / "part")
    acts = (on(L, look), publishing(part), on(L, look), on(L, publish))
    stage = Stage(*acts, found=Found(found, {"name": "m"}))

    published = stage.chain.load()

    assert seen == [(found, "m"), (part, "from disk")]
    assert published is stage.chain.location
    assert published.file("config.pbtxt").read() == b"from memory"
    stage.chain.close()


def test_where_nothing_is_published_the_files_stay_where_they_are() -> None:
    assert Stage(nothing, nothing).chain.load() is NOWHERE


def test_a_model_without_agents_loads_from_where_it_is() -> None:
    stage = Stage()

    assert stage.chain.load() is NOWHERE
    stage.chain.close()


def test_a_configuration_that_cannot_be_read_where_it_was_published_fails_the_load(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b"\xff")
    location = DirectoryLocation(tmp_path)
    stage = Stage(publishing(location), nothing, found=Found(location))

    with pytest.raises(UnicodeDecodeError):
        stage.chain.load()

    assert stage.stories == [[L, F], []]


def test_an_agent_that_looks_whether_it_is_cancelled_is_soon_done() -> None:
    begun = threading.Event()

    def loop(_: Action, model: AgentModel) -> None:
        begun.set()
        while True:
            model.check()

    pool = AgentPool()
    stage = Stage(on(L, loop), pool=pool)
    refused: list[BaseException] = []

    def load() -> None:
        try:
            stage.chain.load()
        except ServiceError as error:
            refused.append(error)

    thread = spawn("loading", load)
    assert begun.wait(PATIENCE_S)

    stage.chain.cancel()

    thread.join(PATIENCE_S)
    assert [type(error) for error in refused] == [UnavailableError]
    eventually(lambda: stage.stories == [[L, F]])
    eventually(lambda: pool.lost == 0)


def test_other_agents_go_on_while_one_hangs() -> None:
    gate = threading.Event()
    stage = Stage(
        nothing, on(C, lambda *_: gate.wait(PATIENCE_S)), nothing,
        pool=AgentPool(timeout_s=0.5),
    )  # fmt: skip

    with capture_logs():
        live(stage)

    assert stage.stories == [SERVED, [L, C], SERVED]
    gate.set()
    eventually(lambda: stage.stories == [SERVED] * 3)


def test_an_agent_that_takes_long_is_in_the_log_and_known_to_be_at_work() -> None:
    gate = threading.Event()
    stage = Stage(nothing, on(L, lambda _action, _model: gate.wait(PATIENCE_S)), pool=SLOW)
    with capture_logs() as logs:
        loading = spawn("loading", lambda: load(stage))
        eventually(lambda: len(logs) >= 2)
        at_work = stage.chain.at_work
        gate.set()
        loading.join(PATIENCE_S)

    assert at_work == (("b", L),)
    assert stage.chain.at_work == ()
    said = {"model": "m", "agent": "b", "action": LOAD_NAME, "seconds": 0, "log_level": "warning"}
    assert logs[0] == {"event": "an agent is still at work", **said}
    stage.chain.close()


class UnspeakableError(AgentError):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (UnspeakableError("x"), InvalidRequestError, "UnspeakableError"),
        (AgentError(""), InvalidRequestError, "agent 'a' refuses it, and does not say why"),
        (AgentError("x", "nobody"), InternalError, "x"),  # type: ignore[arg-type]
        (AgentError("x", []), InternalError, "x"),  # type: ignore[arg-type]
        (AgentError(17), InvalidRequestError, "17"),  # type: ignore[arg-type]
    ],
)
def test_a_refusal_that_is_not_as_it_should_be_is_a_refusal(
    raised: AgentError, kind: type[ServiceError], says: str
) -> None:
    refused = refusal_of(Stage(raising(raised)))

    assert type(refused) is kind
    assert str(refused) == says
