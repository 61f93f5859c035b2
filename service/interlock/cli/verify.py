"""`interlock verify MODEL --signer KEY`: say who has signed a model, and that it is unchanged."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from interlock.cli.output import write, write_json
from interlock.cli.verb import (
    DONE,
    REFUSED,
    WRONG_USAGE,
    SubParsers,
    UsageError,
    add_format,
    refuse,
)
from interlock_agents.api import DirectoryLocation
from interlock_agents.signature import utc_now
from interlock_agents.signing.errors import SignatureError, SignersUnavailableError
from interlock_agents.signing.signers import SignerDirectory, Trusted, read_signer
from interlock_agents.signing.verification import SIGNATURE_FILE, Verdict, Wanted, verify

_DESCRIPTION: Final = """\
Holds every file of a model against model.sig, as a server does that loads only what is signed:
all versions, and no file too few or too many.
"""
_EPILOG: Final = """\
A signer is a PEM file with public keys, or with certificates that are the signer's own or that
have issued it. Exit codes: 0 signed by one of them, 1 not so, 2 wrong usage."""


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "verify",
        help="verify the signature of a model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL_DIRECTORY")
    parser.add_argument(
        "--signer",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="keys or certificates of one who is trusted; may be repeated",
    )
    parser.add_argument(
        "--signer-directory", type=Path, metavar="DIRECTORY", help="with a file NAME.pem for each"
    )
    parser.add_argument(
        "--subject", default="", help='of the certificate, as in "CN=release,O=Example" [any]'
    )
    parser.add_argument(
        "--name", help="what the model must be signed as, '*' for any [as its directory is]"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock verify` and return the exit code."""
    try:
        verdict = _verify(args)
    except (UsageError, SignersUnavailableError) as error:
        return refuse("verify", str(error), WRONG_USAGE)
    except SignatureError as error:
        return refuse("verify", f"{args.model}: {SIGNATURE_FILE}: {error}", REFUSED)
    signer = verdict.signer
    if args.format == "json":
        write_json(
            {
                "name": verdict.name,
                "files": verdict.files,
                "signer": signer.name,
                "subject": signer.subject,
                "key": signer.fingerprint,
            }
        )
    else:
        write(f"{args.model}: {verdict.files} files as signed by {signer} as '{verdict.name}'")
    return DONE


def _verify(args: argparse.Namespace) -> Verdict:
    directory: Path = args.model
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory")
    trusted = _trusted(args)
    wanted = Wanted(args.name or directory.resolve().name, subject=args.subject)
    return verify(DirectoryLocation(directory), wanted, trusted, now=utc_now())


def _trusted(args: argparse.Namespace) -> Sequence[Trusted]:
    if args.signer_directory is None and not args.signer:
        raise UsageError("whose signature counts? see --signer and --signer-directory")
    trusted = [_read(path) for path in args.signer]
    if args.signer_directory is not None:
        trusted.extend(SignerDirectory(args.signer_directory).trusted())
    return trusted


def _read(path: Path) -> Trusted:
    try:
        return read_signer(path)
    except OSError as error:
        raise UsageError(f"signer '{path}': {error.strerror}") from None
