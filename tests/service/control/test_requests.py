"""Loads by name in poll mode."""

from concurrent.futures import Future

from interlock.control.requests import Request, Requests, tell
from interlock.domain.errors import InternalError, ServiceError, UnavailableError
from interlock.domain.ids import ModelName
from interlock.repository.stager import StagedVersion
from interlock.repository.staging import Complete, Incomplete, Leaving, Settling, Staging

M, N = ModelName("m"), ModelName("n")
V1, V2 = StagedVersion("m", 1), StagedVersion("m", 2)


def added(requests: Requests, model: ModelName = M, *, force: bool = False) -> "Future[None]":
    request = Request(model, force=force)
    requests.add(request)
    return request.outcome


def test_a_model_at_rest_is_asked_for_and_told_once() -> None:
    requests = Requests()
    first, second = added(requests), added(requests, force=True)
    asked = requests.at_rest({V1: Complete("a")})
    assert asked.keys() == {"m"}

    load: Future[None] = Future()
    with requests.begin(M, asked[M]) as begun:
        tell(begun, load)
    load.set_result(None)

    assert [request.force for request in begun] == [False, True]
    assert (first.result(0), second.result(0)) == (None, None)
    with requests.begin(M, asked[M]) as again:
        assert again == []
    assert requests.at_rest({}) == {}


def test_a_load_that_fails_is_told_to_everybody() -> None:
    requests = Requests()
    outcomes = [added(requests), added(requests)]
    load: Future[None] = Future()
    with requests.begin(M, requests.at_rest({})[M]) as begun:
        tell(begun, load)

    load.set_exception(InternalError("broken"))

    assert [str(outcome.exception()) for outcome in outcomes] == ["broken", "broken"]


def test_a_model_on_its_way_is_waited_for() -> None:
    requests = Requests()
    outcome = added(requests)
    moving: list[Staging] = [Settling(5.0), Leaving(5.0)]
    for one in moving:
        assert requests.at_rest({V1: Complete("a"), V2: one}) == {}
    assert requests.at_rest({StagedVersion("n", 1): Settling(5.0)}).keys() == {"m"}
    assert not outcome.done()


def test_what_is_withdrawn_does_not_begin_and_what_comes_later_does() -> None:
    requests = Requests()
    earlier, other = added(requests), added(requests, N)
    asked = requests.at_rest({})

    requests.withdraw(M)
    later = added(requests)

    with requests.begin(M, asked[M]) as begun:
        assert begun == []
    requests.refuse_rest({M: asked[M]}, {})
    assert str(earlier.exception(0)) == (
        "the load of model 'm' was overtaken by another request before its files were complete; "
        "RepositoryIndex tells what serves"
    )
    assert not later.done()
    assert not other.done()


def refusal(staging: dict[StagedVersion, Staging]) -> str:
    requests = Requests()
    outcome = added(requests)
    requests.refuse_rest(requests.at_rest(staging), staging)
    error = outcome.exception(0)
    assert isinstance(error, ServiceError)
    return str(error)


def test_a_model_that_is_not_there_is_refused() -> None:
    assert refusal({}) == (
        "failed to load 'm', failed to poll from model repository: model not found in any model "
        "repository, or it has no version"
    )


def test_a_model_that_is_not_complete_is_refused_with_what_it_lacks() -> None:
    staging: dict[StagedVersion, Staging] = {
        V2: Incomplete("3 of 4 files"),
        StagedVersion("n", 1): Incomplete("0 of 1 files"),
    }
    assert refusal(staging) == (
        "failed to load 'm', failed to poll from model repository: version 2 is incomplete: "
        "3 of 4 files"
    )


def test_at_the_end_everybody_is_sent_away() -> None:
    requests = Requests()
    old = added(requests)
    requests.at_rest({V1: Settling(5.0)})
    new = added(requests, N)

    requests.send_away(UnavailableError("Server is stopping"))

    assert [str(one.exception(0)) for one in (old, new)] == 2 * ["Server is stopping"]
