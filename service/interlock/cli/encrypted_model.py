"""Make an encrypted model of a clear one, and give an encrypted one to other keys.

Each is done to all of a model's files or, as far as that can be, to none.
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from interlock.cli.clear_config import AGENT, stub_of, with_agent
from interlock.cli.manifest import result_of, why_no_model
from interlock.cli.signed_model import AGAIN, has_outlived, is_of_encrypted, needs_signing
from interlock.repository.layout import MANIFEST_FILE, SIGNATURE_FILE
from interlock.repository.listing import DIRECTORY, FILE, list_model
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.files import (
    Recipients,
    encrypt_file,
    read_recipients,
    replace_file,
    rewrap_file,
)
from interlock_agents.encryption.header import Recipient
from interlock_agents.encryption.key_sources import Keys
from interlock_agents.encryption.keys import Key
from interlock_agents.encryption.names import (
    CONFIG,
    clear_path,
    encrypted_path,
    is_config,
    pairs,
)


@dataclass(frozen=True, slots=True)
class Done:
    """How many files were dealt with, and how many clear bytes they hold.

    `is_unsigned` is set where the model's signature is of what they were before.
    """

    files: int = 0
    size_bytes: int = 0
    is_unsigned: bool = False


class ModelError(Exception):
    """The model cannot be dealt with: says why."""


def encrypt_model(
    model: Path, *, recipients: Sequence[Key], chosen: Sequence[str] = (), out: Path | None = None
) -> Done:
    """Encrypt the files of a model whose paths match one of `chosen`, by default all.

    In place, or into a new directory `out`. A manifest of the clear files is kept as one of
    them, and one of the encrypted files is written in its place. Raise ModelError,
    EncryptionError, ConfigError or OSError; the model is as it was then, unless clear files
    could not be removed.
    """
    files = files_of(model)
    todo = _to_encrypt(files, chosen)
    is_signed = SIGNATURE_FILE in files and is_of_encrypted(model)
    if MANIFEST_FILE in files and not any(map(clear_path, files)):
        if SIGNATURE_FILE in todo and needs_signing(model):
            raise ModelError(f"{SIGNATURE_FILE} is not of {MANIFEST_FILE} as it is; {AGAIN}")
        todo.add(MANIFEST_FILE)
    configs = _configs_to_write(model, files, todo)
    if out is None:
        done = _in_place(model, todo, configs, recipients, has_manifest=MANIFEST_FILE in files)
        return replace(done, is_unsigned=is_signed)
    with _draft_of(model, out) as draft:
        done = _encrypt(model, draft, todo, recipients)
        for path in files - todo - configs.keys() - {MANIFEST_FILE}:
            shutil.copy(model / path, _made(draft / path))
        for path, config in configs.items():
            replace_file(_made(draft / path), config)
        if MANIFEST_FILE in files:
            _write_manifest(draft)
    return replace(done, is_unsigned=is_signed)


def rewrap_model(model: Path, keys: Keys, *, old: str, new: Key, keeps_old: bool = False) -> Done:
    """Give all files of a model that are for the key `old` to the key `new` instead.

    With `keeps_old` to both. A manifest is written anew. Raise ModelError, EncryptionError or
    OSError; what was done by then stays, and doing it again does the rest.
    """

    def wanted(recipients: Sequence[Recipient]) -> Recipients:
        return _replaced(recipients, old=old, new=new, keeps_old=keeps_old)

    files = files_of(model)
    if MANIFEST_FILE in files:
        _check_manifest(model)
    changed = []
    try:
        for clear, path in pairs(files).items():
            with _naming(model / path):
                if rewrap_file(model / path, path=clear, keys=keys, recipients=wanted):
                    changed.append(path)
    finally:
        if changed and MANIFEST_FILE in files:
            _write_manifest(model)
    return Done(len(changed), is_unsigned=has_outlived(model, changed))


def recipients_of(model: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the keys that each encrypted file is for, say the files. Raise as `rewrap_model`."""
    found = {}
    for path in pairs(files_of(model)).values():
        with _naming(model / path):
            found[path] = tuple(each.key_id for each in read_recipients(model / path))
    return found


def files_of(model: Path) -> set[str]:
    """Return the paths of a model's files. Raise ModelError for what cannot be one, OSError."""
    listing = list_model(model)
    for problem in listing.problems:
        raise problem.as_error(model)
    if why := why_no_model(model, listing.entries):
        raise ModelError(f"{model}: {why}")
    entries = [entry for entry in listing.entries if entry.kind != DIRECTORY]
    for entry in entries:
        if entry.kind != FILE:
            raise ModelError(f"{entry.path} is no file but a {entry.kind}")
    return {entry.path for entry in entries}


def _to_encrypt(files: Collection[str], chosen: Sequence[str]) -> set[str]:
    there = set(files)
    candidates = {
        path
        for path in there
        if clear_path(path) is None and path != MANIFEST_FILE
        if not (is_config(path) and encrypted_path(path) in there)
    }
    if any(map(clear_path, there)):
        # It says who vouches for what lies there encrypted.
        candidates.discard(SIGNATURE_FILE)
    for path in sorted(candidates):
        if encrypted_path(path) in there:
            raise ModelError(f"both {path} and {encrypted_path(path)} are there")
    for glob in chosen:
        if not any(fnmatchcase(path, glob) for path in candidates):
            raise ModelError(f"no file that is to be encrypted is called {glob}")
    if chosen:
        candidates = {path for path in candidates if any(fnmatchcase(path, g) for g in chosen)}
    if not candidates:
        raise ModelError("no file is there that is not encrypted")
    return candidates


def _configs_to_write(
    model: Path, files: Iterable[str], todo: Collection[str]
) -> Mapping[str, bytes]:
    """Return what each configuration that a server may be told to take is to say, clear."""
    paths = {CONFIG, *filter(is_config, files)}
    return {
        path: _config_to_write(model, path, is_encrypted=path in todo) for path in sorted(paths)
    }


def _config_to_write(model: Path, path: str, *, is_encrypted: bool) -> bytes:
    place = model / path
    try:
        text = place.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    if is_encrypted or not text:
        return stub_of(text, str(place), model=model.resolve().name).encode()
    clear = with_agent(text, str(place))
    if clear is None:
        raise ModelError(f'{path} has agents; write {{ name: "{AGENT}" }} among them first')
    return clear.encode()


def _in_place(
    model: Path,
    todo: Collection[str],
    configs: Mapping[str, bytes],
    recipients: Sequence[Key],
    *,
    has_manifest: bool,
) -> Done:
    try:
        done = _encrypt(model, model, todo, recipients)
        for path, config in configs.items():
            replace_file(model / path, config)
    except BaseException:
        for path in todo:
            with contextlib.suppress(OSError):
                (model / encrypted_path(path)).unlink()
        raise
    for path in set(todo) - configs.keys() - {MANIFEST_FILE}:
        (model / path).unlink()
    if has_manifest:
        _write_manifest(model)
    return done


def _encrypt(model: Path, target: Path, todo: Collection[str], recipients: Sequence[Key]) -> Done:
    size_bytes = 0
    for path in sorted(todo):
        with _naming(model / path):
            header = encrypt_file(
                model / path,
                _made(target / encrypted_path(path)),
                path=path,
                recipients=recipients,
            )
        size_bytes += header.size
    return Done(len(todo), size_bytes)


@contextlib.contextmanager
def _draft_of(model: Path, out: Path) -> Iterator[Path]:
    """Yield a directory that no server looks at, and that becomes `out` when all went well."""
    if out.exists():
        raise ModelError(f"{out} is there already")
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    draft.mkdir(parents=True)
    try:
        for entry in list_model(model).entries:
            if entry.kind == DIRECTORY:
                (draft / entry.path).mkdir()
        yield draft
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _made(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@contextlib.contextmanager
def _naming(place: Path) -> Iterator[None]:
    try:
        yield
    except EncryptionError as error:
        raise ModelError(f"{place}: {error}") from None


def _replaced(
    recipients: Sequence[Recipient], *, old: str, new: Key, keeps_old: bool
) -> Recipients:
    if old not in {recipient.key_id for recipient in recipients}:
        return recipients
    kept = [each for each in recipients if keeps_old or each.key_id != old]
    has_new = new.id in {recipient.key_id for recipient in kept}
    return kept if has_new else [*kept, new]


def _check_manifest(model: Path) -> None:
    result = result_of(model, is_check=True)
    lacking = "; ".join(f"version {version}: {what}" for version, what in result.lacking.items())
    if result.error or lacking:
        raise ModelError(f"{MANIFEST_FILE} is not that of the model: {result.error or lacking}")


def _write_manifest(model: Path) -> None:
    result = result_of(model, is_check=False)
    if result.error:
        raise ModelError(f"{MANIFEST_FILE} was not written: {result.error}")
