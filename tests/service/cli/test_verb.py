import argparse

import pytest

from interlock.cli import (
    agents,
    control,
    encrypt,
    keys,
    manifest,
    repository,
    sign,
    validate,
    verify,
)
from interlock.cli.main import AddParser
from interlock.cli.verb import REFUSED, nearest, refuse


def test_names_what_looks_alike() -> None:
    assert nearest("imgae", ["mask", "image"]) == "; did you mean image?"


def test_says_nothing_where_nothing_looks_alike() -> None:
    assert nearest("q", ["mask", "image"]) == ""


def test_a_refusal_names_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse("sign", "no key", REFUSED) == REFUSED
    assert capsys.readouterr().err == "interlock sign: no key\n"


@pytest.mark.parametrize(
    ("add_parser", "words"),
    [
        (agents.add_parser, "agents"),
        (control.add_parser, "describe m"),
        (encrypt.add_parser, "encrypt m --recipient k"),
        (keys.add_parser, "keys list --key-directory d"),
        (manifest.add_parser, "manifest m"),
        (repository.add_parser, "index"),
        (sign.add_parser, "sign m --key k"),
        (validate.add_parser, "validate r"),
        (verify.add_parser, "verify m"),
    ],
)
def test_each_verb_says_in_the_same_words_how_to_print(add_parser: AddParser, words: str) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())

    forms = [
        parser.parse_args([*words.split(), *more]).format
        for more in ([], ["-o", "json"], ["--format", "json"], ["--json"])
    ]

    assert forms == ["text", "json", "json", "json"]
