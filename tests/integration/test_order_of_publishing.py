"""Manifest, signature and encryption, each after the others: what serves, and what is said."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import onnx_small
from tests.support.command_line import CommandLine
from tests.support.models import Repository
from tests.support.publishing import Publisher, naming

FIRST, LAST = ("checksum", "signature", "decrypt"), ("decrypt", "checksum", "signature")
"""Agents that look at what lies in the repository, and at what was decrypted."""
BETWEEN = ("checksum", "decrypt", "signature")
E, M, S = "encrypt", "manifest", "sign"


class Workshop:
    """One model that is being published, and what a server would say of it."""

    def __init__(self, command_line: CommandLine, root: Path) -> None:
        (root / "repository").mkdir()
        self._run = command_line.run
        self._repository = Repository(root / "repository")
        self._publisher = Publisher(root)

    def draft(self, agents: Sequence[str]) -> Path:
        return self._repository.onnx("m", onnx_small.add_constant(1), extra=naming(*agents))

    def do(self, step: str) -> str:
        """Do a step of publishing; return what was said of it on standard error."""
        printed = self._run(*self._publisher.words(step, self._repository.root / "m"))
        assert bool(printed.code) <= bool(printed.err)
        return printed.err

    def verdict(self) -> str:
        """Return what a server would have against the model, "" for nothing."""
        words = ("validate", str(self._repository.root), "--json", *self._publisher.flags)
        (finding,) = self._run(*words).json
        assert (finding["severity"] == "ok") is (finding["message"] == "")
        return str(finding["message"])


@pytest.fixture
def workshop(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Workshop:
    return Workshop(CommandLine(capsys), tmp_path)


@pytest.mark.parametrize(
    ("steps", "agents"),
    [
        ((E, M, S), FIRST),
        ((M, E, S), FIRST),
        ((M, S, E), LAST),
        ((M, S, E), BETWEEN),
        ((S, E, M), BETWEEN),
        ((E, M, S, M), FIRST),
        ((E, S, M, S), FIRST),
        ((M, S, E, S), FIRST),
        ((S, M, S, E), LAST),
        ((M, S), ("checksum", "signature")),
        ((M, S, M), ("signature", "checksum")),
    ],
    ids="-".join,
)
def test_what_is_published_in_a_right_order_serves(
    workshop: Workshop, steps: Sequence[str], agents: Sequence[str]
) -> None:
    workshop.draft(agents)
    for step in steps:
        workshop.do(step)

    assert workshop.verdict() == ""


@pytest.mark.parametrize(
    ("steps", "agents", "says"),
    [
        ((E, S, M), FIRST, "there and not signed: manifest.json (sign again: 'interlock sign' "),
        ((S, M), ("checksum", "signature"), "'interlock sign' comes after 'interlock manifest'"),
        ((M, S, E), FIRST, "model.sig was encrypted with it: sign again: 'interlock sign' comes"),
        ((E, M, S), LAST, "name 'checksum' before 'decrypt' in config.pbtxt"),
        ((M, E, S), LAST, "name 'signature' before 'decrypt' in config.pbtxt"),
        ((E, M, S), BETWEEN, "name 'signature' before 'decrypt' in config.pbtxt"),
    ],
    ids=lambda words: "-".join(words) if isinstance(words, tuple) else "says",
)
def test_a_wrong_order_is_refused_with_the_right_one(
    workshop: Workshop, steps: Sequence[str], agents: Sequence[str], says: str
) -> None:
    workshop.draft(agents)
    for step in steps:
        workshop.do(step)

    assert says in workshop.verdict()


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((S, M), "model.sig is not of this manifest.json; sign again: 'interlock sign' comes last"),
        ((S, M, E), "model.sig is not of manifest.json as it is; sign again: 'interlock sign'"),
    ],
    ids=["manifest", "encrypt"],
)
def test_whoever_does_something_too_late_is_told(
    workshop: Workshop, steps: Sequence[str], says: str
) -> None:
    workshop.draft(FIRST)
    told = [workshop.do(step) for step in steps]

    assert says in told[-1]


def test_whoever_signs_what_the_manifest_does_not_know_is_told(workshop: Workshop) -> None:
    folder = workshop.draft(FIRST)
    workshop.do(M)
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").write_bytes(onnx_small.add_constant(2))

    assert "version 2: not in manifest.json; run 'interlock manifest' first" in workshop.do(S)
