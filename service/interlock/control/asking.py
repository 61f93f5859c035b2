"""Make a wish of what a poll of one model gives: a load, or the trouble that there is with it."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from interlock.control import answers
from interlock.control.polling import MissingVersionError, NoVersionError
from interlock.control.wishes import LoadWish, Polled, Trouble
from interlock.domain.cause import A_LOAD, Cause
from interlock.domain.errors import InternalError, ServiceError
from interlock.domain.ids import ModelName

log = structlog.get_logger()


def wish_of(
    model: ModelName,
    poll: Callable[[], Polled],
    *,
    has_files: bool = False,
    force: bool = False,
    alone: bool = False,
    again: bool = False,
    follows: bool = False,
    cause: Cause = A_LOAD,
) -> LoadWish | Trouble:
    """Poll in the caller's thread; whatever that raises is the model's trouble.

    With `has_files` what is polled came with the request, and says nothing of the repository.
    """
    try:
        return LoadWish(poll(), force=force, alone=alone, again=again, follows=follows, cause=cause)
    except MissingVersionError as error:
        answer = answers.no_version_qualifies(model, error)
        trouble = Trouble(model, error, answer, is_request=True)
    except NoVersionError as error:
        answer = answers.no_version_qualifies(model, error)
        trouble = Trouble(model, error, answer, unready=not has_files)
    except ServiceError as error:
        trouble = Trouble(model, error, answers.failed_to_poll(model, error))
    except Exception as error:  # one model's directory must not hinder the others
        log.exception("poll failed unexpectedly", model=model)
        unexpected = InternalError(f"{type(error).__name__}: {error}")
        trouble = Trouble(model, unexpected, answers.failed_to_poll(model, unexpected))
    trouble = replace(trouble, is_request=trouble.is_request or has_files, cause=cause)
    headline = f"failed to poll model '{model}': {answers.poll_reason(model, trouble.error)}"
    log.error(headline, model=model)
    return trouble
