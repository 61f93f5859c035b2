"""Say what is wrong at a place of a configuration, and what to write there instead."""

from dataclasses import dataclass

from interlock.domain.config_tokens import Outline, Token


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, where it shows, and what to write instead ("" where nobody can know)."""

    message: str
    token: Token
    hint: str = ""


def explain(message: str, outline: Outline, text: str) -> Finding:
    return Finding(message, outline.token)
