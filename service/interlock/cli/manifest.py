"""`interlock manifest`: write down what a model is made of, or hold it against that."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from interlock.cli.output import write as write_line, write_json
from interlock.cli.signed_model import AGAIN, needs_signing
from interlock.cli.verb import SubParsers, add_format
from interlock.repository.digest import ChangedError, FileDigest, digest_files
from interlock.repository.fingerprint import by_version
from interlock.repository.layout import MANIFEST_FILE, SIGNATURE_FILE, config_path, version_of
from interlock.repository.listing import DIRECTORY, FILE, Entry, list_model
from interlock.repository.manifest import (
    Manifest,
    ManifestError,
    compare_digests,
    manifest_of,
    read,
    write,
)

FINE: Final = 0
PROBLEMS: Final = 1
UNUSABLE: Final = 2

_DESCRIPTION: Final = """\
Writes manifest.json into a model's directory: the size and the SHA-256 of every file, for
each version. A server loads a version of such a model only when all of its files are there
and are what the manifest says, however slowly they arrive. Write it where the model is
made, and publish it with the model. A signature, model.sig, is not listed: sign last.
"""
_EPILOG: Final = """\
Exit code: 0 if all manifests were written, or with --check if every model is what its
manifest says; 1 if one is not; 2 if a model cannot be read or the arguments are wrong.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "manifest",
        help="write down what a model is made of",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL_DIRECTORY", help="with its versions in it"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare with what is written"
    )
    add_format(parser)
    parser.set_defaults(run=run)


class UnusableError(Exception):
    """There can be no manifest of this."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came out for one model.

    `lacking` says what is wrong with which version; `error` why there is nothing to say.
    `is_unsigned` is set where the model's signature is not of the manifest that was written.
    """

    directory: Path
    files: int = 0
    size_bytes: int = 0
    versions: tuple[int, ...] = ()
    lacking: Mapping[int, str] = field(default_factory=dict)
    error: str = ""
    is_unsigned: bool = False

    @property
    def code(self) -> int:
        if self.error:
            return UNUSABLE
        return PROBLEMS if self.lacking else FINE


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock manifest` and return the exit code."""
    results = [result_of(directory, is_check=args.check) for directory in args.models]
    if args.format == "json":
        write_json([_as_json(result) for result in results])
    else:
        for result in results:
            _tell(result, is_check=args.check)
    return max(result.code for result in results)


def result_of(directory: Path, *, is_check: bool) -> Result:
    """Write the manifest of a model, or hold the model against it; say what came of it."""
    try:
        files, versions = _files(directory)
        digests = digest_files(directory, files)
        if _files(directory) != (files, versions):
            return Result(directory, error="the model changes while it is read")
        lacking: Mapping[int, str] = {}
        is_unsigned = False
        if is_check:
            lacking = _check(read(directory / MANIFEST_FILE), versions, digests)
        else:
            write(manifest_of(digests, versions), directory / MANIFEST_FILE)
            is_unsigned = needs_signing(directory)
    except (ChangedError, ManifestError, UnusableError) as error:
        return Result(directory, error=str(error))
    except OSError as error:
        # The directory itself is named in front of every error.
        file = "" if error.filename in {None, str(directory)} else f"{error.filename}: "
        return Result(directory, error=f"{file}{error.strerror}")
    listed = [file.size for file in files if file.path != SIGNATURE_FILE]
    return Result(
        directory, len(listed), sum(listed), tuple(versions), lacking, is_unsigned=is_unsigned
    )


def why_no_model(directory: Path, entries: Iterable[Entry]) -> str:
    """Return why a directory with these files cannot be that of a model, "" if it can."""
    versions, _ = by_version(entries)
    if versions or config_path(directory) is not None:
        return ""
    return "no model's directory: neither config.pbtxt nor a version is in it"


def contradiction(directory: Path, sha256: Mapping[str, str]) -> str:
    """Return what in a model is not as its manifest says, "" if nothing is or there is none.

    `sha256` are the digests of its files by path. Raise OSError where they cannot be listed.
    """
    if not (directory / MANIFEST_FILE).exists():
        return ""
    try:
        files, versions = _files(directory)
        digests = {
            file.path: FileDigest(file.size, sha256[file.path])
            for file in files
            if file.path in sha256
        }
        lacking = _check(read(directory / MANIFEST_FILE), versions, digests)
    except (ManifestError, UnusableError) as error:
        return str(error)
    return "; ".join(f"version {version}: {what}" for version, what in lacking.items())


def _files(directory: Path) -> tuple[list[Entry], list[int]]:
    """Return the files that a manifest covers, and the versions that there are."""
    listing = list_model(directory)
    for problem in listing.problems:
        raise problem.as_error(directory)
    if why := why_no_model(directory, listing.entries):
        raise UnusableError(why)
    versions, common = by_version(listing.entries)
    files = [*common, *(entry for own in versions.values() for entry in own)]
    files = [entry for entry in files if entry.kind != DIRECTORY]
    for entry in files:
        if entry.kind != FILE:
            raise UnusableError(f"{entry.path} is no file but a {entry.kind}")
    return files, sorted(versions)


def _check(
    manifest: Manifest, versions: Iterable[int], digests: Mapping[str, FileDigest]
) -> dict[int, str]:
    lacking: dict[int, str] = {}
    for version in sorted({*versions, *manifest.versions}):
        own = {
            path: digest for path, digest in digests.items() if _version_of(path) in {version, None}
        }
        comparison = compare_digests(manifest, version, own)
        if not comparison.is_complete:
            lacking[version] = comparison.progress
    return lacking


def _version_of(path: str) -> int | None:
    first, _, rest = path.partition("/")
    return version_of(first)[0] if rest else None


def _tell(result: Result, *, is_check: bool) -> None:
    if result.error:
        sys.stderr.write(f"interlock manifest: {result.directory}: {result.error}\n")
        return
    if result.is_unsigned:
        told = f"{SIGNATURE_FILE} is not of this {MANIFEST_FILE}; {AGAIN}"
        sys.stderr.write(f"interlock manifest: {result.directory}: {told}\n")
    for version, progress in result.lacking.items():
        write_line(f"{result.directory}: version {version}: {progress}")
    if not result.lacking:
        word = "as listed" if is_check else "listed"
        versions = ", ".join(map(str, result.versions)) or "none"
        told = f"{result.files} files, {result.size_bytes} bytes, versions: {versions}"
        write_line(f"{result.directory}: {word}: {told}")


def _as_json(result: Result) -> dict[str, object]:
    entry: dict[str, object] = {"directory": str(result.directory)}
    if result.error:
        return {**entry, "error": result.error}
    if result.is_unsigned:
        entry["sign_again"] = True
    return {
        **entry,
        "files": result.files,
        "bytes": result.size_bytes,
        "versions": [
            {"version": version, "lacking": result.lacking.get(version, "")}
            for version in sorted({*result.versions, *result.lacking})
        ],
    }
