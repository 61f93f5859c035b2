"""The in-toto statement that is signed: a model's name, and the digest of each of its files."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock_agents.api import PathError, checked
from interlock_agents.digesting import ALGORITHMS
from interlock_agents.signing.errors import SignatureError, UnsupportedSignatureError
from interlock_agents.signing.strict_json import as_list, as_object, as_text, parsed

IGNORED: Final = ("model.sig", ".git", ".gitattributes", ".github", ".gitignore")
"""What the format leaves out of a signature, in the model's own directory."""

_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_METHOD: Final = "files"
# As the format calls them, and as `digesting` does.
_ALGORITHMS: Final[Mapping[str, str]] = {"sha256": "SHA256", "blake2b": "BLAKE2B"}
_HEX: Final = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Statement:
    """What its signer says of a model.

    `algorithm` is one of `digesting`; `digests` are in lower case, by paths; `ignored` are
    paths, also of directories, of which it says nothing.
    """

    name: str
    algorithm: str
    digests: Mapping[str, str]
    ignored: Sequence[str] = IGNORED
    allows_links: bool = False

    def ignores(self, path: str) -> bool:
        """Return whether the signer has left out a path, or a directory that it lies in."""
        return any(path == one or path.startswith(f"{one}/") for one in self.ignored)

    def payload(self) -> bytes:
        """Return it as it is signed."""
        algorithm = next(one for one, known in _ALGORITHMS.items() if known == self.algorithm)
        resources = [
            {"name": path, "algorithm": algorithm, "digest": digest}
            for path, digest in sorted(self.digests.items())
        ]
        serialization = {
            "method": _METHOD,
            "hash_type": algorithm,
            "allow_symlinks": self.allows_links,
            "ignore_paths": list(self.ignored),
        }
        root = _root([digest for _, digest in sorted(self.digests.items())])
        whole = {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": self.name, "digest": {"sha256": root}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {"serialization": serialization, "resources": resources},
        }
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def parse(payload: bytes) -> Statement:
    """Read what was signed. Raise SignatureError where it is none of a model."""
    fields = parsed(payload, what="the statement")
    _check_type(fields.get("_type"), _STATEMENT_TYPE, "a statement")
    _check_type(fields.get("predicateType"), _PREDICATE_TYPE, "a predicate")
    predicate = as_object(fields.get("predicate"), "'predicate'")
    serialization = as_object(predicate.get("serialization"), "'serialization'")
    algorithm = _algorithm(serialization)
    digests = _digests(predicate.get("resources"), algorithm)
    name, root = _subject(fields.get("subject"))
    if not hmac.compare_digest(root.encode(), _root(list(digests.values())).encode()):
        raise SignatureError("the digest of the whole model is not that of its files' digests")
    ignored = as_list(serialization.get("ignore_paths", []), "'ignore_paths'")
    return Statement(
        name=name,
        algorithm=_ALGORITHMS[algorithm],
        digests=digests,
        ignored=tuple(_path(path) for path in ignored),
        allows_links=serialization.get("allow_symlinks") is True,
    )


def _check_type(value: object, expected: str, what: str) -> None:
    found = as_text(value, f"the type of {what}")
    if found != expected:
        raise UnsupportedSignatureError(f"{what} of type '{found}', not '{expected}'")


def _algorithm(serialization: Mapping[str, object]) -> str:
    method = as_text(serialization.get("method"), "'method'")
    if method != _METHOD:
        raise UnsupportedSignatureError(
            f"a signature of '{method}'; only one of whole '{_METHOD}' is verified here"
        )
    algorithm = as_text(serialization.get("hash_type"), "'hash_type'")
    if algorithm not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise UnsupportedSignatureError(f"digests by '{algorithm}'; known are {known}")
    return algorithm


def _digests(value: object, algorithm: str) -> dict[str, str]:
    length = len(ALGORITHMS[_ALGORITHMS[algorithm]]().hexdigest())
    digests: dict[str, str] = {}
    for entry in as_list(value, "'resources'"):
        resource = as_object(entry, "a resource")
        path = _path(resource.get("name"))
        if path in digests:
            raise SignatureError(f"'{path}' is signed twice")
        if resource.get("algorithm") != algorithm:
            raise SignatureError(f"the digest of '{path}' is not by '{algorithm}' as it must be")
        digests[path] = _digest(resource.get("digest"), length, path)
    return digests


def _digest(value: object, length: int, of: str) -> str:
    digest = as_text(value, f"the digest of '{of}'").lower()
    if len(digest) != length or not _HEX.fullmatch(digest):
        raise SignatureError(f"the digest of '{of}' must be {length} hexadecimal digits")
    return digest


def _subject(value: object) -> tuple[str, str]:
    """Return the name of the model and the digest of all."""
    subjects = as_list(value, "'subject'")
    if len(subjects) != 1:
        raise SignatureError(f"a statement about {len(subjects)} models, and not one")
    subject = as_object(subjects[0], "the subject")
    name = as_text(subject.get("name"), "the name of the model")
    digest = as_object(subject.get("digest"), "the digest of the model").get("sha256")
    return name, _digest(digest, hashlib.sha256().digest_size * 2, name)


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise SignatureError("the name of a resource is no text")
    try:
        is_simple = checked(value) == value != "."
    except PathError as error:
        raise SignatureError(str(error)) from None
    if not is_simple:
        raise SignatureError(f"{value!r} is not a path in its simplest form")
    return value


def _root(digests: Sequence[str]) -> str:
    made = hashlib.sha256()
    for digest in digests:
        made.update(bytes.fromhex(digest))
    return made.hexdigest()
