"""Why what is served changes: what somebody does, and who that is."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something. Empty where that is the server itself: a poll, another try.

    Of a restricted protocol's key there is the name of its header, never the value.
    """

    peer: str = ""
    """As gRPC writes addresses: `ipv4:10.0.0.1:50312`."""
    subject: str = ""
    """Of the client's certificate, as RFC 4514 writes it."""
    key_name: str = ""


SERVER: Final = Actor()


class Deed(Enum):
    """What is done, in the words of the audit log."""

    LOAD = "load"
    CONFIG_OVERRIDE = "config-override"
    """A load that brings a configuration."""
    FILE_OVERRIDE = "file-override"
    """A load that brings files."""
    UNLOAD = "unload"
    RETRY = "retry"
    ROLLBACK = "rollback"
    RELEASE = "release"
    """The end of a hold."""
    START = "start-load"
    """What the server loads as it starts; in poll mode that is POLL_LOAD."""
    POLL_LOAD = "poll-load"
    POLL_UNLOAD = "poll-unload"
    POLICY_LOAD = "policy-load"
    """What the server loads again since its agent policy has changed."""
    POLICY_UNLOAD = "policy-unload"
    STOP = "stop"
    """The end of the server."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A deed and who does it; the server itself where nobody is named."""

    deed: Deed = Deed.LOAD
    who: Actor = SERVER


A_LOAD: Final = Cause(Deed.LOAD)
AN_UNLOAD: Final = Cause(Deed.UNLOAD)
A_ROLLBACK: Final = Cause(Deed.ROLLBACK)
A_RETRY: Final = Cause(Deed.RETRY)
A_POLL: Final = Cause(Deed.POLL_LOAD)
A_POLICY: Final = Cause(Deed.POLICY_LOAD)
"""Of the server's own accord."""


def load_deed(*, has_config: bool, has_files: bool) -> Deed:
    """Return what a load is called that brings these."""
    if has_files:
        return Deed.FILE_OVERRIDE
    return Deed.CONFIG_OVERRIDE if has_config else Deed.LOAD
