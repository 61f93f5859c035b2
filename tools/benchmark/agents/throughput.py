"""How fast the agents read and decrypt a model, against the libraries alone."""

from collections.abc import Iterator, Sequence
from typing import Final

from tools.benchmark.agents.bare import BareCipher, sha256_of
from tools.benchmark.agents.loads import CHECKSUM, DECRYPT, Loads, check
from tools.benchmark.agents.models import Model
from tools.benchmark.agents.turns import Turns, take_turns, timed
from tools.benchmark.figures import Figure

CHECKSUM_PART: Final = "checksum against hashlib"
DECRYPT_PART: Final = "decrypt against AESGCM"
SHARE: Final = 0.8
"""Of the bare speed, which is the least that an agent must have."""
_HASHLIB: Final = "hashlib"
_MAPPED: Final = "mapped"
_WRITTEN: Final = "written"


def checksum(model: Model, size: int, *, rounds: int) -> Iterator[Figure]:
    """Compare the agent with `hashlib`, both reading the model's encrypted file."""
    with Loads(model) as loads:
        work = {
            _HASHLIB: lambda: timed(lambda: sha256_of(model.file)),
            CHECKSUM: lambda: loads.preparing([CHECKSUM]),
        }
        turns = take_turns(work, rounds)
    yield from figures(CHECKSUM_PART, turns, CHECKSUM, [_HASHLIB], size=size)


def decrypt(model: Model, size: int, *, rounds: int) -> Iterator[Figure]:
    """Compare the agent with the quicker of two ways to put what is decrypted in memory."""
    bare = BareCipher(model)
    bare.check(model.clear_sha256)
    with Loads(model) as loads:
        check(loads, model.clear_sha256)
        work = {
            _MAPPED: bare.mapped,
            _WRITTEN: bare.written,
            DECRYPT: lambda: loads.preparing([DECRYPT]),
        }
        turns = take_turns(work, rounds)
    yield from figures(DECRYPT_PART, turns, DECRYPT, [_MAPPED, _WRITTEN], size=size)


def figures(
    part: str, turns: Turns, agent: str, bare: Sequence[str], *, size: int
) -> Iterator[Figure]:
    """Hold an agent against the quickest of those who do the same without it."""
    quickest = turns.fastest(bare)
    label = f"{size / 1e6:.0f} MB"
    shares = sorted(1 / times for times in turns.times(agent, [quickest]))
    share = shares[len(shares) // 2]
    of = f", {quickest}" if len(bare) > 1 else ""
    remark = f"{shares[0]:.2f} to {shares[-1]:.2f} in {len(shares)} rounds"
    yield Figure(
        part, f"{label}: share of the bare speed{of}", share, "x", SHARE, remark, is_least=True
    )
    for name in (*bare, agent):
        speed = size / 1e6 / turns.seconds(name)
        cpu_ms = 1e3 * turns.cpu_seconds(name)
        noise = f"{cpu_ms:.0f} ms of CPU, differs by {100 * turns.noise(name):.1f} % in a round"
        yield Figure(part, f"{label}: {name}", speed, "MB/s", remark=noise)
