"""Make a wish of what a poll of one model gives: a load, or the trouble that there is with it."""

from collections.abc import Callable

import structlog

from interlock.control import answers
from interlock.control.polling import NoVersionError
from interlock.control.wishes import LoadWish, Polled, Trouble
from interlock.domain.errors import InternalError, ServiceError
from interlock.domain.ids import ModelName

log = structlog.get_logger()


def wish_of(
    model: ModelName, poll: Callable[[], Polled], *, alone: bool = False
) -> LoadWish | Trouble:
    """Poll in the caller's thread; whatever that raises is the model's trouble."""
    try:
        return LoadWish(poll(), alone=alone)
    except NoVersionError as error:
        answer = answers.no_version_qualifies(model, error)
        trouble = Trouble(model, error, answer, unready=True)
    except ServiceError as error:
        trouble = Trouble(model, error, answers.failed_to_poll(model, error))
    except Exception as error:  # one model's directory must not hinder the others
        log.exception("poll failed unexpectedly", model=model)
        unexpected = InternalError(f"{type(error).__name__}: {error}")
        trouble = Trouble(model, unexpected, answers.failed_to_poll(model, unexpected))
    headline = f"failed to poll model '{model}': {answers.poll_reason(model, trouble.error)}"
    log.error(headline, model=model)
    return trouble
