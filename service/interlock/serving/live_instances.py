"""The instances of one loaded version, and the opened model that they share."""

from contextlib import ExitStack
from threading import Lock

from interlock.backends.base import OpenedModel
from interlock.backends.instance_group import NO_INSTANCES, Instances
from interlock.domain.errors import UnavailableError


class LiveInstances:
    """What runs a version's requests now. Whoever shows the version also replaces them.

    The model outlives every instance made of it, those included that are only being built:
    whoever builds holds it.
    """

    def __init__(self, model: OpenedModel | None = None, now: Instances = NO_INSTANCES) -> None:
        self._model = model
        self._now = now
        # Guards the two below. A leaf.
        self._lock = Lock()
        self._holds = 0
        self._closed = False

    @property
    def now(self) -> Instances:
        return self._now

    @property
    def count(self) -> int:
        """How many instances take requests."""
        return len(self._now.active)

    def replace(self, instances: Instances) -> None:
        """Have others from now on. Not while `close` runs."""
        self._now = instances

    def hold(self) -> OpenedModel:
        """Return the model, which stays open until `let_go`. Raise UnavailableError once closed."""
        with self._lock:
            if self._closed or self._model is None:
                raise UnavailableError("the version is being unloaded")
            self._holds += 1
            return self._model

    def let_go(self) -> None:
        with self._lock:
            self._holds -= 1
        self._close_model()

    def close(self) -> None:
        """Close the instances, and the model with the last hold; nothing may run any more."""
        with ExitStack() as stack:
            stack.callback(self._close_once)
            stack.callback(self._now.close)

    def _close_once(self) -> None:
        with self._lock:
            self._closed = True
        self._close_model()

    def _close_model(self) -> None:
        with self._lock:
            if not self._closed or self._holds:
                return
            model, self._model = self._model, None
        if model is not None:
            model.close()
