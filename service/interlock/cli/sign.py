"""`interlock sign MODEL --key KEY`: let servers know that the model comes from you, unchanged."""

import argparse
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from interlock.cli.manifest import contradiction, why_no_model
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
from interlock.repository.layout import MANIFEST_FILE
from interlock.repository.listing import list_model
from interlock_agents.api import DirectoryLocation
from interlock_agents.signing.certificates import chain_for
from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.keys import PrivateKey, fingerprint, read_private_key
from interlock_agents.signing.verification import SIGNATURE_FILE, sign_model

_DESCRIPTION: Final = """\
Writes model.sig into a model's directory: the digest of every file, signed, in the format of
OpenSSF model signing. Sign last: after `interlock encrypt` and after `interlock manifest`.
"""
_EPILOG: Final = """\
example:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out release.key
  openssl pkey -in release.key -pubout -out release.pem
  interlock sign models/digits --key release.key
  interlock verify models/digits --signer release.pem

Keys are PEM files: ECDSA on P-256, P-384 or P-521, which others verify too, or Ed25519, which
only Interlock does. Exit codes: 0 done, 1 refused, 2 wrong usage."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "sign",
        help="sign the files of a model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL_DIRECTORY")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the private key to sign with"
    )
    parser.add_argument(
        "--passphrase-env", metavar="VARIABLE", help="which holds the passphrase of the key"
    )
    parser.add_argument(
        "--certificate",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="the certificate of the key, then those that lead to a trusted one; may be repeated",
    )
    parser.add_argument("--name", help="what the model will be called [as its directory is]")
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock sign` and return the exit code."""
    try:
        return _sign(args)
    except UsageError as error:
        return refuse("sign", str(error), WRONG_USAGE)
    except SignatureError as error:
        return refuse("sign", f"{args.model}: {error}", REFUSED)
    except OSError as error:
        return refuse("sign", f"{error.filename or args.model}: {error.strerror}", REFUSED)


def _sign(args: argparse.Namespace) -> int:
    directory: Path = args.model
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory")
    if why := why_no_model(directory, list_model(directory).entries):
        raise SignatureError(why)
    name = args.name or directory.resolve().name
    key = _private_key(args.key, args.passphrase_env)
    content, digests = sign_model(
        DirectoryLocation(directory),
        name,
        key,
        certificates=_certificates(args.certificate, key),
        has_links=any(path.is_symlink() for path in directory.rglob("*")),
    )
    if wrong := contradiction(directory, digests):
        raise SignatureError(
            f"{MANIFEST_FILE} is not that of the model: {wrong}; run 'interlock manifest' first"
        )
    place, files = directory / SIGNATURE_FILE, len(digests)
    _put(place, content)
    shown = fingerprint(key.public_key())
    if args.format == "json":
        write_json({"file": str(place), "name": name, "files": files, "key": shown})
    else:
        write(f"{place}: {files} files signed as '{name}' with key {shown[:12]}")
    return DONE


def _private_key(path: Path, variable: str | None) -> PrivateKey:
    passphrase = None
    if variable is not None:
        passphrase = os.environb.get(os.fsencode(variable))
        if passphrase is None:
            raise UsageError(f"environment variable {variable} is not set")
    with path.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        if mode & _OTHERS:
            raise UsageError(
                f"key '{path}' is open to others (mode {mode:04o}); chmod 600 '{path}'"
            )
        try:
            return read_private_key(stream.read(), passphrase)
        except SignatureError as error:
            hint = "; see --passphrase-env" if "needs a passphrase" in str(error) else ""
            raise UsageError(f"key '{path}': {error}{hint}") from None


def _certificates(paths: Sequence[Path], key: PrivateKey) -> Sequence[bytes]:
    try:
        return chain_for(key.public_key(), [path.read_bytes() for path in paths])
    except SignatureError as error:
        raise UsageError(f"--certificate: {error}") from None


def _put(place: Path, content: bytes) -> None:
    """Write a file at once: whoever looks finds the old one or the new one, whole."""
    # As the swap file of an editor, it is nothing that a server looks at.
    draft = place.with_name(f".{place.name}.{os.getpid()}.swp")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
