"""The model that is measured: what was encrypted is what all sides get."""

import hashlib

import pytest

from tools.benchmark.agents import models
from tools.benchmark.agents.bare import BareCipher, sha256_of
from tools.benchmark.agents.loads import ALL, Loads, check

SIZE = 2_500_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> models.Model:
    return models.write(tmp_path_factory.mktemp("models") / "m", SIZE)


def test_noise_is_as_long_as_it_should_be_and_the_same_again() -> None:
    noise = models.Noise(SIZE)
    content = noise.read()

    assert len(content) == SIZE
    assert noise.digest.digest() == hashlib.sha256(content).digest()
    assert models.Noise(SIZE).read() == content


def test_knows_the_digest_of_the_encrypted_file(model: models.Model) -> None:
    assert sha256_of(model.file) == model.sha256


def test_agents_and_library_decrypt_it_to_the_same(model: models.Model) -> None:
    BareCipher(model).check(model.clear_sha256)
    with Loads(model) as loads:
        check(loads, model.clear_sha256)


def test_notices_where_something_else_comes_out(model: models.Model) -> None:
    with pytest.raises(ValueError, match="was not decrypted to what was encrypted"):
        BareCipher(model).check(model.sha256)
    with Loads(model) as loads, pytest.raises(ValueError, match="was not decrypted"):
        check(loads, model.sha256)


def test_agents_live_through_a_whole_load(model: models.Model) -> None:
    with Loads(model) as loads:
        assert loads.whole(ALL).seconds > 0
