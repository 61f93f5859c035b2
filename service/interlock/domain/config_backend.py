"""Find out which backend runs a model that may say so in several ways, or not at all."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock.domain.config_text import ConfigError
from interlock.pb import model_config_pb2 as pb

ENSEMBLE: Final = "ensemble"


@dataclass(frozen=True, slots=True)
class BackendNames:
    """The three names that belong together: each implies the others."""

    backend: str
    platform: str
    filename: str


KNOWN: Final = (
    BackendNames("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    BackendNames("tensorrt", "tensorrt_plan", "model.plan"),
    BackendNames("tensorflow", "tensorflow_savedmodel", "model.savedmodel"),
    BackendNames("tensorflow", "tensorflow_graphdef", "model.graphdef"),
    BackendNames("openvino", "", "model.xml"),
    BackendNames("pytorch", "pytorch_libtorch", "model.pt"),
    BackendNames("pytorch", "torch_aoti", "model.pt2"),
    BackendNames("python", "", "model.py"),
)


def fill_backend(config: pb.ModelConfig, first_entries: Sequence[str]) -> None:
    """Complete `backend`, `platform` and `default_model_filename` in place.

    `first_entries` are the names inside the first sub-directory of the model's directory.
    Raise ConfigError where nothing tells the backend.
    """
    if _is_ensemble(config):
        config.platform = config.platform or ENSEMBLE
        return
    names = _names(config, first_entries)
    config.backend = config.backend or names.backend
    if names.platform and not config.platform:
        config.platform = names.platform
    config.default_model_filename = config.default_model_filename or names.filename


def _is_ensemble(config: pb.ModelConfig) -> bool:
    if config.platform == ENSEMBLE:
        return True
    return config.HasField("ensemble_scheduling") and not config.platform and not config.backend


def _names(config: pb.ModelConfig, first_entries: Sequence[str]) -> BackendNames:
    if config.backend:
        return _of_backend(config)
    if config.platform:
        return _of_platform(config)
    return _of_files(config, first_entries) or _of_model_name(config, first_entries)


def _of_backend(config: pb.ModelConfig) -> BackendNames:
    """Where a backend has several platforms, the file name decides, then the first one."""
    candidates = [names for names in KNOWN if names.backend == config.backend]
    if config.platform:
        candidates = [names for names in candidates if names.platform == config.platform]
    for names in candidates:
        if _suits(names, config.default_model_filename):
            return names
    if candidates:
        return candidates[0]
    return BackendNames(config.backend, "", f"model.{config.backend}")


def _of_platform(config: pb.ModelConfig) -> BackendNames:
    for names in KNOWN:
        if names.platform == config.platform:
            return names
    raise _unknown_platform(config)


def _unknown_platform(config: pb.ModelConfig) -> ConfigError:
    backends = {names.backend for names in KNOWN}
    platforms = [names.platform for names in KNOWN if names.platform]
    if config.platform in backends:
        hint = f'Write: backend: "{config.platform}"'
    elif near := difflib.get_close_matches(config.platform, platforms, n=1):
        hint = f'Write: platform: "{near[0]}"'
    else:
        hint = 'Write the backend instead, such as backend: "onnxruntime"'
    return ConfigError(
        f"unexpected platform type '{config.platform}' for {config.name}",
        hint=hint,
        field=("platform",),
    )


def _of_files(config: pb.ModelConfig, first_entries: Sequence[str]) -> BackendNames | None:
    if config.default_model_filename:
        for names in KNOWN:
            if _suits(names, config.default_model_filename):
                return names
    for names in KNOWN:
        if names.filename in first_entries:
            return names
    return None


def _suits(names: BackendNames, filename: str) -> bool:
    return filename.endswith(names.filename.removeprefix("model"))


def _of_model_name(config: pb.ModelConfig, first_entries: Sequence[str]) -> BackendNames:
    backend = config.name.partition(".")[2]
    if backend:
        known = next((names for names in KNOWN if names.backend == backend), None)
        return known or BackendNames(backend, "", f"model.{backend}")
    raise ConfigError(
        f"Invalid model name: Could not determine backend for model '{config.name}' with no "
        "backend in model configuration. Expected model name of the form "
        "'model.<backend_name>'.",
        hint=_backend_hint(first_entries),
    )


def _backend_hint(first_entries: Sequence[str]) -> str:
    for entry in first_entries:
        for names in KNOWN:
            if _suits(names, entry):
                return (
                    f"The version holds '{entry}': rename it to '{names.filename}', or write: "
                    f'backend: "{names.backend}" default_model_filename: "{entry}"'
                )
    return 'Write the backend into config.pbtxt, such as backend: "onnxruntime"'
