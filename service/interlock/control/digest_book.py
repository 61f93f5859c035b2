"""Keep the digests of what is loaded in poll mode, when the repository has something else by now.

`contents` forgets what is replaced there; what serves goes on, and is to be told apart.
"""

import threading
from collections.abc import Callable
from typing import Final

from interlock.control.index import ModelView
from interlock.domain.ids import ModelName, Version

SPARE: Final = 64
"""Of how many contents of a model, of which nothing is loaded, the digests are kept."""
_MIN_MODELS: Final = 64

_Content = tuple[Version, str]


class DigestBook:
    """Digests by model, version and fingerprint. Any thread may call; nothing blocks.

    `view` returns what is known of a model, `None` where that is nothing.
    """

    def __init__(self, view: Callable[[str], ModelView | None]) -> None:
        self._view = view
        # Guards the two others. A leaf.
        self._lock = threading.Lock()
        self._models: dict[ModelName, dict[_Content, str]] = {}
        self._sweep_at = _MIN_MODELS

    def write(self, model: ModelName, version: Version, fingerprint: str, digest: str) -> None:
        """Remember a digest, for as long as its content is known, and some time longer."""
        loaded = self._loaded(model)
        with self._lock:
            known = self._models.setdefault(model, {})
            known[version, fingerprint] = digest
            spare = [content for content in known if content not in loaded]
            for content in spare[:-SPARE]:
                del known[content]
            self._sweep()

    def digest_of(self, model: ModelName, version: Version, fingerprint: str) -> str:
        """Return the digest of a content, "" for one that is not known."""
        with self._lock:
            return self._models.get(model, {}).get((version, fingerprint), "")

    def _loaded(self, model: ModelName) -> set[_Content]:
        view = self._view(model)
        generations = () if view is None else view.generations
        return {(one.state.key.version, one.fingerprint) for one in generations}

    def _sweep(self) -> None:
        """Forget models that have gone, now and then."""
        if len(self._models) < self._sweep_at:
            return
        self._models = {
            name: known for name, known in self._models.items() if self._view(name) is not None
        }
        self._sweep_at = max(_MIN_MODELS, 2 * len(self._models))
