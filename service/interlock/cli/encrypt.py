"""`interlock encrypt MODEL --recipient KEY`: let nobody read a model but who has the key."""

import argparse
import sys
from pathlib import Path
from typing import Final

from interlock.cli.encrypted_model import ModelError, encrypt_model
from interlock.cli.key_flags import add_key_directory, add_key_sources, recipient_of
from interlock.cli.output import write, write_json
from interlock.cli.signed_model import OUTLIVED
from interlock.cli.verb import (
    DONE,
    REFUSED,
    WRONG_USAGE,
    SubParsers,
    UsageError,
    add_format,
    refuse,
)
from interlock.domain.config_text import ConfigError
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.keys import Key

_DESCRIPTION: Final = """\
Encrypts the files of a model: PATH becomes PATH.enc, and config.pbtxt goes on to say only
what the model is called and which agents it needs, `decrypt` among them. Whoever has the
public half of a key can do this, and cannot read the result.
"""
_EPILOG: Final = """\
example:
  interlock keys new release-1 --key-directory keys
  interlock encrypt digits --recipient keys/release-1.pub --out models/digits

In place, the clear files are removed, which is not the same as overwritten. Exit codes: 0 done,
1 refused, 2 wrong usage."""


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "encrypt",
        help="encrypt a model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL_DIRECTORY")
    parser.add_argument(
        "--recipient",
        action="append",
        required=True,
        metavar="KEY",
        help="a key that opens it: a file, a public key itself, or a name in --key-directory; "
        "may be repeated",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="PATTERN",
        help="encrypt only files whose paths match, such as '*/model.onnx'; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIRECTORY", help="write a new model there [in place]"
    )
    add_key_directory(parser, is_required=False)
    add_key_sources(parser)
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock encrypt` and return the exit code."""
    with CoreDumps():
        return _encrypt(args)


def _encrypt(args: argparse.Namespace) -> int:
    keys: list[Key] = []
    try:
        keys.extend(
            recipient_of(text, args.key_directory, args.key_source) for text in args.recipient
        )
        done = encrypt_model(args.model, recipients=keys, chosen=args.file, out=args.out)
    except UsageError as error:
        return refuse("encrypt", str(error), WRONG_USAGE)
    except (EncryptionError, ModelError, ConfigError) as error:
        return refuse("encrypt", str(error), REFUSED)
    except OSError as error:
        return refuse("encrypt", f"{error.filename or args.model}: {error.strerror}", REFUSED)
    finally:
        for key in keys:
            key.wipe()
    ids = [key.id for key in keys]
    if done.is_unsigned:
        sys.stderr.write(f"interlock encrypt: {args.out or args.model}: {OUTLIVED}\n")
    if args.format == "json":
        again = {"sign_again": True} if done.is_unsigned else {}
        write_json({"files": done.files, "bytes": done.size_bytes, "recipients": ids, **again})
    else:
        told = f"{done.files} files, {done.size_bytes} bytes, for: {', '.join(ids)}"
        write(f"{args.out or args.model}: encrypted: {told}")
    return DONE
