"""Hold a version's files against its model's manifest, where there is one, before it is loaded.

For whoever says that a model is complete: the manifest is asked all the same. What arrives
by itself is held against it by `stager`, again and again.
"""

from pathlib import Path

from interlock.domain.errors import InvalidRequestError, UnavailableError
from interlock.repository.digest import ChangedError, digest_files
from interlock.repository.fingerprint import files_of
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import Entry, list_model
from interlock.repository.manifest import Comparison, compare_digests, compare_sizes, read


def check_manifest(model_directory: Path, version: int) -> None:
    """Return where there is no manifest, or the version is what it says; reads every file.

    Raise InvalidRequestError where the version is something else or the manifest is none,
    and UnavailableError where that cannot be told: files cannot be read, or change.
    """
    try:
        listing = list_model(model_directory)
        if all(entry.path != MANIFEST_FILE for entry in listing.entries):
            return
        for problem in listing.problems:
            raise problem.as_error(model_directory)
        comparison = _compare(model_directory, version, listing.entries)
    except OSError as error:
        path = error.filename or model_directory
        raise UnavailableError(f"failed to read {path}: {error.strerror}") from error
    except ChangedError as error:
        raise UnavailableError(str(error)) from error
    if not comparison.is_complete:
        raise InvalidRequestError(
            f"version {version} is not what {MANIFEST_FILE} says: {comparison.progress}"
        )


def _compare(model_directory: Path, version: int, entries: tuple[Entry, ...]) -> Comparison:
    manifest = read(model_directory / MANIFEST_FILE)
    files = files_of(version, entries)
    sizes = compare_sizes(manifest, version, files)
    if not sizes.is_complete:
        return sizes
    return compare_digests(manifest, version, digest_files(model_directory, files))
