"""Read the label files that a configuration names for its outputs."""

from collections.abc import Mapping
from pathlib import Path

import structlog

from interlock.domain.config import ModelConfig
from interlock.domain.errors import InvalidRequestError, UnsupportedError
from interlock.repository.layout import is_inside
from interlock.repository.plain_file import read_file
from interlock.serving.load_job import Inside

log = structlog.get_logger()


def read_labels(
    config: ModelConfig, model_directory: Path, *, inside: Inside = is_inside
) -> Mapping[str, tuple[str, ...]]:
    """Return the labels of each output that has a file for them: one a line, in class order.

    A file that is not there costs the classes their names, not the model its load. Raise
    UnsupportedError for a path that leads out of the model's directory, InvalidRequestError
    for a file that is not text.
    """
    labels = {}
    for output in config.outputs:
        if not output.label_filename:
            continue
        path = _inside(model_directory, output.label_filename, inside)
        try:
            text = read_file(path).decode("utf-8")
        except OSError as error:
            log.warning("no labels", model=config.name, output=output.name, error=error.strerror)
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"label file path '{output.label_filename}' of model '{config.name}' is not "
                f"UTF-8 text: {error.reason} at byte {error.start}"
            ) from error
        else:
            labels[output.name] = _lines(text)
    return labels


def _inside(model_directory: Path, name: str, inside: Inside) -> Path:
    """Return the file behind a name; links are followed before it is judged."""
    path = model_directory / name
    if not inside(path, model_directory):
        raise UnsupportedError(f"label file path '{name}' is outside model directory")
    return path


def _lines(text: str) -> tuple[str, ...]:
    """Split at line ends only: `str.splitlines` also splits at characters a label may hold."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return tuple(line.removesuffix("\r") for line in lines)
