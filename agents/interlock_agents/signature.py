"""The agent that loads only models whose files a trusted signer has signed.

Who is trusted is the server's to say, never the model's: the agent's parameters choose among
those. docs/agents.md says what each of them means.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

from interlock_agents.api import Action, AgentError, AgentModel, Fault, Parameter, RepositoryAgent
from interlock_agents.signing.errors import (
    SignatureError,
    SignersUnavailableError,
    UnsupportedSignatureError,
)
from interlock_agents.signing.signers import Signers
from interlock_agents.signing.verification import SIGNATURE_FILE, Wanted, verify

SIGNERS: Final = "signers"
SUBJECT: Final = "subject"
NAME: Final = "name"


def utc_now() -> datetime:
    """Return the time by which certificates are valid or not."""
    return datetime.now(UTC)


class SignatureAgent(RepositoryAgent):
    """Loads only models whose files a trusted signer has signed, as model.sig says."""

    parameters: ClassVar[Sequence[Parameter]] = (
        Parameter(
            SIGNERS,
            "which of the server's signers count, by name, with commas between; all without it",
        ),
        Parameter(SUBJECT, 'whose certificate it must be, as in "CN=release,O=Example"'),
        Parameter(NAME, "the name that was signed, if not the model's own; '*' for any"),
    )

    def __init__(self, signers: Signers, now: Callable[[], datetime] = utc_now) -> None:
        self._signers = signers
        self._now = now

    def act(self, action: Action, model: AgentModel) -> None:
        """Raise AgentError on LOAD unless the model is as it was signed, by who is trusted."""
        if action is not Action.LOAD:
            return
        _check_known(model.parameters)
        wanted = Wanted(
            name=model.parameters.get(NAME, model.name),
            versions=model.versions,
            subject=model.parameters.get(SUBJECT, ""),
        )
        try:
            trusted = self._signers.trusted(_signers(model.parameters))
            verdict = verify(model.location, wanted, trusted, now=self._now(), check=model.check)
        except SignersUnavailableError as error:
            raise AgentError(str(error), Fault.UNAVAILABLE) from None
        except UnsupportedSignatureError as error:
            raise AgentError(f"{SIGNATURE_FILE}: {error}", Fault.UNSUPPORTED) from None
        except SignatureError as error:
            raise AgentError(f"{SIGNATURE_FILE}: {error}") from error
        model.note("signer", verdict.signer.name)
        model.note("signed with", verdict.signer.means)
        model.note("signed files", str(verdict.files))


def _check_known(parameters: Mapping[str, str]) -> None:
    known = (SIGNERS, SUBJECT, NAME)
    if unknown := sorted(parameters.keys() - set(known)):
        raise AgentError(f"unknown parameter '{unknown[0]}'; known are {', '.join(known)}")
    for name in known:
        # Left empty by mistake, it must not mean any.
        if not parameters.get(name, name).strip():
            raise AgentError(f"parameter '{name}' is empty")


def _signers(parameters: Mapping[str, str]) -> Sequence[str]:
    text = parameters.get(SIGNERS)
    return () if text is None else [name.strip() for name in text.split(",")]
