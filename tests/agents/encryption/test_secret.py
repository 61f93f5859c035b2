"""A secret is shown by nothing that shows things."""

import pickle

import pytest

from interlock_agents.encryption.secret import Secret


def test_a_secret_is_not_shown() -> None:
    secret = Secret(bytearray(b"hunter2"))

    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "Secret(7 bytes)" in text
        assert "hunter2" not in text


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match=r"^a secret is not written down$"):
        pickle.dumps(Secret(bytearray(b"hunter2")))


def test_a_secret_is_wiped_where_it_lies() -> None:
    content = bytearray(b"hunter2")
    with Secret(content) as secret:
        copy = secret.copy()
    assert content == bytes(7)
    assert copy.content == b"hunter2"


def test_random_secrets_differ() -> None:
    first, second = Secret.random(32), Secret.random(32)

    assert len(first) == 32
    assert first.content != second.content
    assert first.content != bytes(32)
