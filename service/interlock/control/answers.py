"""What whoever asked for a load is told when it failed.

Clients of Triton test for these sentences; a reason stands after the compatible one.
"""

from collections.abc import Iterable

from interlock.control.load_parameters import LoadOptions
from interlock.domain.errors import (
    InternalError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnavailableError,
)
from interlock.domain.ids import ModelName, Version


def poll_reason(model: ModelName, error: ServiceError) -> str:
    """Return why the model could not be polled, without the words that say that it could not."""
    return str(error).removeprefix(f"failed to poll model '{model}': ")


def failed_to_poll(model: ModelName, error: ServiceError) -> InternalError:
    sentence = f"failed to load '{model}', failed to poll from model repository"
    reason = poll_reason(model, error)
    return InternalError(f"{sentence}: {reason}" if reason else sentence)


def no_version_qualifies(model: ModelName, error: ServiceError) -> InvalidRequestError:
    return InvalidRequestError(f"load failed for model '{model}': {error}\n")


class LoadMovedError(InvalidRequestError):
    """The load failed since files moved under it: another attempt may go otherwise."""


def load_failed(
    model: ModelName,
    failures: Iterable[tuple[Version, str]],
    *,
    unchanged: Iterable[tuple[Version, str]] = (),
    moved: bool = False,
) -> InvalidRequestError | InternalError:
    """Return the answer to a load of which these versions failed, each with its reason.

    `unchanged` are those that serve as before, since their instances could not be changed.
    With no failure to tell of, something else ended the load before it was done.
    """
    told = [(version, "UNAVAILABLE", reason) for version, reason in failures]
    told += [(version, "READY", reason) for version, reason in unchanged]
    clauses = "".join(
        f"version {version} is at {state} state: {reason};"
        for version, state, reason in sorted(told)
    )
    if not clauses:
        return InternalError(f"failed to load '{model}', no version is available")
    kind = LoadMovedError if moved else InvalidRequestError
    return kind(f"load failed for model '{model}': {clauses}\n")


def check_followed_load(options: LoadOptions) -> None:
    """Raise InvalidRequestError for what a load cannot ask for where the repository decides."""
    refused = {
        "config": options.config is not None,
        "file": bool(options.files),
        "versions": bool(options.versions),
    }
    for name in (name for name, is_given in refused.items() if is_given):
        raise InvalidRequestError(
            f"load parameter '{name}' is not taken in model control mode poll: the server serves "
            "what the repository has; change it there"
        )


def rolled_back_already(model: ModelName, hold: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"failed to roll back model '{model}': it is rolled back already ({hold}); name the "
        "version to go to, or release the hold"
    )


def rollback_failed(
    model: ModelName, failures: Iterable[tuple[Version, str]]
) -> InvalidRequestError:
    """Return the answer to a rollback that did not come true, each failure with its reason."""
    clauses = "".join(
        f" version {version} is at UNAVAILABLE state: {reason};" for version, reason in failures
    )
    return InvalidRequestError(
        f"failed to roll back model '{model}':{clauses} what served goes on to serve"
    )


def rollback_overtaken(model: ModelName) -> UnavailableError:
    return UnavailableError(
        f"the rollback of model '{model}' was overtaken by a change of its content or by another "
        "request; RepositoryIndex tells what serves"
    )


def stopping() -> UnavailableError:
    return UnavailableError("Server is stopping, models are no longer loaded or unloaded")


def load_not_begun(model: ModelName, timeout_ms: int) -> UnavailableError:
    return UnavailableError(
        f"load of model '{model}' has not begun within {timeout_ms} ms, another operation on the "
        "model goes on; nothing was changed"
    )


def load_not_ended(model: ModelName, timeout_ms: int) -> UnavailableError:
    return UnavailableError(
        f"load of model '{model}' has not ended within {timeout_ms} ms; it goes on, and "
        "RepositoryIndex tells how it ends"
    )


def load_overtaken(model: ModelName) -> UnavailableError:
    return UnavailableError(
        f"the load of model '{model}' was overtaken by another request before its files were "
        "complete; RepositoryIndex tells what serves"
    )


def review_not_begun(model: ModelName) -> UnavailableError:
    return UnavailableError(f"another operation on the model '{model}' goes on")


def unload_failed(model: ModelName, ready: Iterable[Version]) -> InternalError | None:
    """Return the answer to an unload that was overtaken; `None` if it came true all the same."""
    left = ",".join(str(version) for version in ready)
    if not left:
        return None
    return InternalError(f"failed to unload '{model}', versions that are still available: {left}")


def unknown(model: ModelName, version: Version | None = None) -> NotFoundError:
    of_version = "" if version is None else f" version {version}"
    return NotFoundError(f"Request for unknown model: '{model}'{of_version} is not found")


def nothing_to_retry(
    model: ModelName, version: Version | None, why: str = ""
) -> InvalidRequestError:
    what = "no version" if version is None else f"version {version}"
    has_not = "has failed" if version is None else "has not failed"
    reason = f": {why}" if why else ""
    return InvalidRequestError(f"nothing to try again: {what} of model '{model}' {has_not}{reason}")


def retry_overtaken(model: ModelName) -> UnavailableError:
    return UnavailableError(
        f"the new try of model '{model}' was overtaken by a change of its content or by another "
        "request; RepositoryIndex tells what serves"
    )
