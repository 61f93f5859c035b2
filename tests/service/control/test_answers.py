"""The sentences that clients test for."""

from interlock.control.answers import (
    failed_to_poll,
    load_failed,
    no_version_qualifies,
    unload_failed,
)
from interlock.domain.errors import InternalError, InvalidRequestError, NotFoundError
from interlock.domain.ids import ModelName, Version

M = ModelName("m")


def test_a_poll_that_failed_is_an_internal_error_with_the_reason_after_the_sentence() -> None:
    answer = failed_to_poll(M, NotFoundError("failed to poll model 'm': not there"))

    assert isinstance(answer, InternalError)
    assert str(answer) == "failed to load 'm', failed to poll from model repository: not there"


def test_versions_that_failed_have_a_clause_each() -> None:
    answer = load_failed(M, [(Version(1), "Internal: a"), (Version(2), "Unavailable: b")])

    assert isinstance(answer, InvalidRequestError)
    assert str(answer) == (
        "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: a;"
        "version 2 is at UNAVAILABLE state: Unavailable: b;\n"
    )


def test_a_load_that_came_to_nothing_is_an_internal_error() -> None:
    answer = load_failed(M, [])

    assert isinstance(answer, InternalError)
    assert str(answer) == "failed to load 'm', no version is available"


def test_a_policy_without_versions_is_the_requests_fault() -> None:
    assert str(no_version_qualifies(M, InvalidRequestError("none"))) == (
        "load failed for model 'm': none\n"
    )


def test_an_unload_names_what_is_left() -> None:
    assert str(unload_failed(M, [Version(1), Version(2)])) == (
        "failed to unload 'm', versions that are still available: 1,2"
    )
    assert unload_failed(M, []) is None
