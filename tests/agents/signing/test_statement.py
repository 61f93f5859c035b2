"""Statements: what is signed is read again, and what contradicts itself is not."""

import hashlib
import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from interlock_agents.signing.errors import SignatureError, UnsupportedSignatureError
from interlock_agents.signing.statement import IGNORED, Statement, parse

ONE, TWO = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
STATEMENT = Statement("m", "SHA256", {"1/model.onnx": ONE, "config.pbtxt": TWO})

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    fields = json.loads(STATEMENT.payload())
    change(fields)
    return json.dumps(fields).encode()


def resource(index: int, **to: object) -> Change:
    return lambda fields: fields["predicate"]["resources"][index].update(to)


def serialization(**to: object) -> Change:
    return lambda fields: fields["predicate"]["serialization"].update(to)


def subject(**to: object) -> Change:
    return lambda fields: fields["subject"][0].update(to)


@pytest.mark.parametrize("algorithm", ["SHA256", "BLAKE2B"])
def test_what_is_written_is_read(algorithm: str) -> None:
    digest = (ONE * 2)[: 64 if algorithm == "SHA256" else 128]
    statement = Statement("m", algorithm, {"ä/b c": digest}, ("x",), allows_links=True)

    assert parse(statement.payload()) == statement


def test_the_digest_of_all_is_that_of_the_digests_in_order_of_the_paths() -> None:
    fields = json.loads(STATEMENT.payload())

    expected = hashlib.sha256(bytes.fromhex(ONE) + bytes.fromhex(TWO)).hexdigest()
    assert fields["subject"] == [{"name": "m", "digest": {"sha256": expected}}]


def test_digests_may_be_in_upper_case() -> None:
    assert parse(changed(resource(0, digest=ONE.upper()))) == STATEMENT


def test_what_is_not_known_is_passed_over() -> None:
    assert parse(changed(lambda fields: fields["predicate"].update(card="x"))) == STATEMENT


def test_without_a_list_of_ignored_paths_none_is() -> None:
    payload = changed(lambda fields: fields["predicate"]["serialization"].pop("ignore_paths"))

    assert not parse(payload).ignored


def test_directories_are_ignored_with_all_below_them() -> None:
    assert IGNORED[0] == "model.sig"
    assert STATEMENT.ignores(".git/objects/1")
    assert STATEMENT.ignores(".git")
    assert not STATEMENT.ignores(".github.md")
    assert not STATEMENT.ignores("1/.git")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            resource(0, digest=TWO),
            "the digest of the whole model is not that of its files' digests",
        ),
        (lambda fields: fields["predicate"]["resources"].reverse(), "the digest of the whole"),
        (lambda fields: fields["predicate"]["resources"].pop(), "the digest of the whole model"),
        (resource(0, digest="zz" * 32), "'1/model.onnx' must be 64 hexadecimal digits"),
        (resource(0, digest=ONE[:-2]), "'1/model.onnx' must be 64 hexadecimal digits"),
        (resource(0, digest=None), "the digest of '1/model.onnx' is no text"),
        (resource(0, name="config.pbtxt"), "'config.pbtxt' is signed twice"),
        (resource(0, name="../other"), "'../other' leads out of the model directory"),
        (resource(0, name="/etc/passwd"), "'/etc/passwd' is an absolute path"),
        (resource(0, name="1//model.onnx"), "'1//model.onnx' is not a path in its simplest form"),
        (resource(0, name="."), "'.' is not a path in its simplest form"),
        (resource(0, name=7), "the name of a resource is no text"),
        (resource(0, algorithm="md5"), "the digest of '1/model.onnx' is not by 'sha256'"),
        (serialization(ignore_paths=["."]), "'.' is not a path in its simplest form"),
        (serialization(ignore_paths=["../x"]), "'../x' leads out of the model directory"),
        (serialization(ignore_paths="x"), "'ignore_paths' is no list"),
        (subject(name=None), "the name of the model is no text"),
        (subject(digest={"sha512": ONE}), "the digest of 'm' is no text"),
        (lambda fields: fields["subject"].append({}), "a statement about 2 models, and not one"),
        (lambda fields: fields.pop("predicate"), "'predicate' is no object"),
    ],
    ids=count(),
)
def test_what_contradicts_itself_is_refused(change: Change, reason: str) -> None:
    with pytest.raises(SignatureError) as refused:
        parse(changed(change))

    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (serialization(method="shards"), "a signature of 'shards'; only one of whole 'files'"),
        (serialization(hash_type="blake3"), "digests by 'blake3'; known are sha256, blake2b"),
        (lambda fields: fields.update(_type="x"), "a statement of type 'x', not"),
        (
            lambda fields: fields.update(predicateType="https://model_signing/Digests/v0.1"),
            "a predicate of type 'https://model_signing/Digests/v0.1', not",
        ),
    ],
)
def test_a_statement_of_another_kind_is_told_from_a_bad_one(change: Change, reason: str) -> None:
    with pytest.raises(UnsupportedSignatureError, match=reason):
        parse(changed(change))
