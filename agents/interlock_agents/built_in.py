"""Which agents are built in, with what each of them needs from the server."""

from collections.abc import Callable, Mapping
from functools import partial

from interlock_agents.catalog import Offer, default_offers
from interlock_agents.decrypt import DecryptAgent, Decryption
from interlock_agents.signature import SignatureAgent
from interlock_agents.signing.signers import Signers
from interlock_agents.snapshot import SnapshotAgent, unknown


def built_in_offers(
    decryption: Decryption,
    signers: Signers,
    free_bytes: Callable[[], int | None] = unknown,
) -> Mapping[str, Offer]:
    """Return the agents by their names; `signers` are whom `signature` trusts.

    `free_bytes` says how much memory `snapshot` may take, `None` where nobody knows.
    """
    return {
        **default_offers(),
        "decrypt": Offer(DecryptAgent, decryption.agent),
        "signature": Offer(SignatureAgent, partial(SignatureAgent, signers)),
        "snapshot": Offer(SnapshotAgent, partial(SnapshotAgent, free_bytes)),
    }
