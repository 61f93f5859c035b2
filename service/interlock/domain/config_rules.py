"""Make a usable configuration of what a model's directory says: read, fill in, check."""

from collections.abc import Sequence

from interlock.domain.config import ModelConfig
from interlock.domain.config_backend import fill_backend
from interlock.domain.config_checks import check_model
from interlock.domain.config_defaults import normalise
from interlock.domain.config_json import invalid, parse_json
from interlock.domain.config_tensors import check_tensors
from interlock.domain.config_text import ConfigError, parse
from interlock.domain.config_values import message_of, project
from interlock.pb import model_config_pb2 as pb


def configure(
    text: str | None, *, model: str, path: str, first_entries: Sequence[str], auto_complete: bool
) -> ModelConfig:
    """Return the normalised configuration of a model.

    `text` is what stands in the file at `path`, `None` where there is none;
    `first_entries` are the names inside the first sub-directory of the model's directory.
    With `auto_complete` inputs and outputs are left for `config_complete` to fill and
    check. Raise ConfigError; UnsupportedError where a label file lies outside.
    """
    if text is None and not auto_complete:
        raise ConfigError(
            f"failed to open text file for read {path}: No such file or directory",
            path=path,
            hint="Write the file, or run without --disable-auto-complete-config.",
        )
    text = (text or "").removeprefix("\ufeff")
    try:
        config = parse(text, path)
        return project(_configured(config, model, first_entries, auto_complete))
    except ConfigError as error:
        raise error.located(text, path) from error.__cause__


def configure_override(
    text: str, *, model: str, first_entries: Sequence[str], auto_complete: bool
) -> ModelConfig:
    """Return the normalised configuration that a request gives for a model, as JSON.

    It takes the place of the file completely; all the rest is as in `configure`. Raise
    ConfigError; UnsupportedError where a label file lies outside.
    """
    config = parse_json(text)
    try:
        return project(_configured(config, model, first_entries, auto_complete))
    except ConfigError as error:
        raise invalid(error.message, error.hint) from error


def _configured(
    config: pb.ModelConfig, model: str, first_entries: Sequence[str], auto_complete: bool
) -> pb.ModelConfig:
    _name(config, model)
    fill_backend(config, first_entries)
    normalise(config)
    check_model(config)
    if not auto_complete:
        check_tensors(config)
    return config


def validate_tensors(config: ModelConfig) -> None:
    """Check what `configure` left to auto-complete; raise ConfigError."""
    check_tensors(message_of(config))


def _name(config: pb.ModelConfig, model: str) -> None:
    if config.name and config.name != model:
        raise ConfigError(
            f"unexpected directory name '{model}' for model '{config.name}', directory name must "
            "equal model name",
            hint=f'Write: name: "{model}" (or leave the name out), or rename the directory to '
            f"'{config.name}'.",
            field=("name",),
        )
    config.name = model
