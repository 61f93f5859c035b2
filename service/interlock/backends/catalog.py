"""The backends of this server, by name."""

from collections.abc import Mapping
from typing import Final

from interlock.backends.base import Backend, BackendOptions
from interlock.backends.builtin.identity import IdentityBackend
from interlock.backends.onnxruntime.backend import OnnxRuntimeBackend
from interlock.domain.errors import InvalidRequestError

# Triton has them and this version does not, or not yet.
MISSING: Final = ("python", "tensorrt", "pytorch", "openvino", "tensorflow", "ensemble")

LOAD_COPIES: Final[Mapping[str, int]] = {".onnx": 2}
"""How often what a file holds is in memory while it is loaded, by suffix; once for others.

ONNX Runtime has the parsed file and the weights that it makes of it at the same time;
weights in files of their own it maps.
"""


class Catalog:
    """Names to backends, and the options that the server was started with. Any thread reads."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        options: Mapping[str, BackendOptions] | None = None,
    ) -> None:
        self._backends = dict(backends)
        self._options = options or {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._backends))

    def options_of(self, name: str) -> BackendOptions:
        """Return the options for one backend: its own over those of every backend."""
        return _options_of(self._options, name)

    def find(self, name: str, *, model: str) -> Backend:
        """Return the backend that a model names. Raise InvalidRequestError where there is none."""
        backend = self._backends.get(name)
        if backend is None:
            raise InvalidRequestError(
                f"unable to find backend library for backend '{name}' of model '{model}': this "
                f"server has {', '.join(self.names)}; {', '.join(MISSING)} are not available in "
                "this version"
            )
        return backend


def built_in(options: Mapping[str, BackendOptions] | None = None) -> Catalog:
    """Return every backend that comes with the server.

    `options` are those of `--backend-config`, by backend; "" stands for every backend.
    """
    given = options or {}
    return Catalog(
        {
            "identity": IdentityBackend(),
            "onnxruntime": OnnxRuntimeBackend(_options_of(given, "onnxruntime")),
        },
        given,
    )


def _options_of(options: Mapping[str, BackendOptions], name: str) -> BackendOptions:
    return {**options.get("", {}), **options.get(name, {})}
