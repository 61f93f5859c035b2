"""`interlock keys`: make keys, list them, and move encrypted models from one to another."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.cli.encrypted_model import ModelError, recipients_of, rewrap_model
from interlock.cli.key_flags import add_key_directory, add_key_sources, recipient_of
from interlock.cli.output import table, write, write_json
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
from interlock_agents.core_dumps import CoreDumps
from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError
from interlock_agents.encryption.header import KEY_ID
from interlock_agents.encryption.key_files import write_new_key
from interlock_agents.encryption.key_sources import PUBLIC_SUFFIX, KeyDirectory, ring_of
from interlock_agents.encryption.keys import Key, KeyKind

_DESCRIPTION: Final = """\
  keys new ID                   make a key; of a pair, give ID.pub to who encrypts
  keys list [MODEL...]          list the keys; with models, how many files are for each
  keys rotate OLD NEW MODEL...  give files that are for OLD to NEW instead
"""
_EPILOG: Final = """\
`rotate` makes NEW if it is a name that is not there. Only the key of a file is encrypted anew,
not the file. A server finds new keys without a restart; remove OLD when `list`, told of
all models, shows it with no files. Exit codes: 0 done, 1 refused, 2 wrong usage."""


def add_parser(subparsers: SubParsers) -> None:
    """Add the verb; its namespace's `run` is the function to call with the namespace."""
    parser = subparsers.add_parser(
        "keys",
        help="make, list and rotate the keys of encrypted models",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="new|list|rotate")
    parser.add_argument("words", nargs="*", metavar="ARGUMENT")
    add_key_directory(parser, is_required=True)
    add_key_sources(parser)
    parser.add_argument(
        "--kind",
        choices=[kind.value for kind in KeyKind if kind.is_secret],
        default=KeyKind.X25519.value,
        help="of a new key: a pair, or one key that both encrypts and decrypts "
        f"[{KeyKind.X25519.value}]",
    )
    parser.add_argument(
        "--keep-old", action="store_true", help="rotate: let the old key open the files too"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `interlock keys` and return the exit code."""
    try:
        with CoreDumps():
            code: int = _ACTIONS[args.action](args)
    except UsageError as error:
        return refuse("keys", str(error), WRONG_USAGE)
    except (EncryptionError, ModelError) as error:
        return refuse("keys", str(error), REFUSED)
    except OSError as error:
        return refuse("keys", f"{error.filename or args.key_directory}: {error.strerror}", REFUSED)
    return code


def _new(args: argparse.Namespace) -> int:
    if len(args.words) != 1:
        raise UsageError("new: it takes the name of one key")
    with Key.new(args.words[0], KeyKind(args.kind)) as key:
        place = write_new_key(args.key_directory, key)
        public = "" if key.kind is KeyKind.AES256 else key.public().line().decode().strip()
    told = {"id": key.id, "kind": key.kind.value, "file": str(place)}
    if args.format == "json":
        write_json({**told, **({"public": public} if public else {})})
        return DONE
    write(f"{place}: {key.kind.value} key '{key.id}'")
    if public:
        write(f"{place.with_suffix(PUBLIC_SUFFIX)}: its public half: {public}")
    return DONE


def _list(args: argparse.Namespace) -> int:
    files = _files_by_key([Path(word) for word in args.words])
    directory = KeyDirectory(args.key_directory)
    rows = [_row_of(key_id, directory) for key_id in directory.ids()]
    rows += [
        _Row(key_id, "", f"not in {args.key_directory}")
        for key_id in sorted(set(files or ()) - {row.id for row in rows})
    ]
    if args.format == "json":
        write_json([row.as_json(_count(row, files)) for row in rows])
    elif rows:
        cells = [[row.id, row.kind or "-", _told(_count(row, files)), row.problem] for row in rows]
        write(table(["KEY", "KIND", "FILES", "PROBLEM"], cells))
    return DONE


def _rotate(args: argparse.Namespace) -> int:
    if len(args.words) < 3:  # noqa: PLR2004 - two keys and a model
        raise UsageError("rotate: it takes the old key, the new one, and models")
    old, new, *models = args.words
    if old == new:
        raise UsageError("rotate: both keys are the same")
    ring = ring_of(args.key_directory, args.key_source)
    changed = {}
    unsigned = []
    with _new_recipient(new, old, args) as key:
        for model in models:
            done = rewrap_model(Path(model), ring, old=old, new=key, keeps_old=args.keep_old)
            changed[model] = done.files
            if done.is_unsigned:
                unsigned.append(model)
    for model in unsigned:
        sys.stderr.write(f"interlock keys: {model}: {OUTLIVED}\n")
    if args.format == "json":
        told = {"old": old, "new": key.id, "files": changed}
        write_json({**told, "sign_again": unsigned} if unsigned else told)
        return DONE
    way = "of '{}' given to '{}' too" if args.keep_old else "given from '{}' to '{}'"
    for model, count in changed.items():
        write(f"{model}: {count} files {way.format(old, key.id)}")
    return DONE


def _new_recipient(text: str, old: str, args: argparse.Namespace) -> Key:
    """Return the key to rotate to, made anew where it is a name that is not there."""
    directory = KeyDirectory(args.key_directory)
    is_known = text in directory.ids()
    if is_known or not KEY_ID.fullmatch(text) or Path(text).is_file():
        return recipient_of(text, args.key_directory, args.key_source)
    with suppress(KeyUnavailableError):
        return directory.find_public(text)
    with ring_of(args.key_directory, args.key_source).find(old) as before:
        key = Key.new(text, before.kind)
    write_new_key(args.key_directory, key)
    return key


_ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "new": _new,
    "list": _list,
    "rotate": _rotate,
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One key of the list; `problem` says why it cannot be used."""

    id: str
    kind: str
    problem: str = ""

    def as_json(self, files: int | None) -> dict[str, object]:
        told: dict[str, object] = {"id": self.id, "kind": self.kind, "files": files}
        return {**told, "problem": self.problem} if self.problem else told


def _count(row: _Row, files: Mapping[str, int] | None) -> int | None:
    """Return how many files are for a key, `None` where no model was looked at."""
    return None if files is None else files.get(row.id, 0)


def _told(count: int | None) -> str:
    return "-" if count is None else str(count)


def _row_of(key_id: str, directory: KeyDirectory) -> _Row:
    try:
        key = directory.find(key_id)
    except KeyUnavailableError as error:
        return _Row(key_id, "", str(error))
    key.wipe()
    return _Row(key_id, key.kind.value)


def _files_by_key(models: Sequence[Path]) -> Mapping[str, int] | None:
    """Return how many files of the models are for which key; `None` without models."""
    if not models:
        return None
    counts: dict[str, int] = {}
    for model in models:
        for key_ids in recipients_of(model).values():
            for key_id in key_ids:
                counts[key_id] = counts.get(key_id, 0) + 1
    return counts
