"""How much memory the agents take until a backend would open the model."""

from collections.abc import Iterator
from typing import Final

from tools.benchmark.agents.loads import ALL, CHECKSUM, DECRYPT, SIGNATURE
from tools.benchmark.agents.models import Model
from tools.benchmark.agents.peak import peak_bytes
from tools.benchmark.figures import Figure

PART: Final = "peak memory of the agents"
BEYOND_BYTES: Final = 16_000_000
"""What they may take besides the model itself."""


def measure(model: Model, size: int) -> Iterator[Figure]:
    """Load the model in processes of their own, with each agent and with all of them."""
    for names in ((CHECKSUM,), (SIGNATURE,), (DECRYPT,), ALL):
        yield figure(names, peak_bytes(model, names), size=size)


def figure(names: tuple[str, ...], peak: int, *, size: int) -> Figure:
    label = names[0] if len(names) == 1 else "all three"
    limit = (size + BEYOND_BYTES) / 1e6
    remark = f"{(peak - size) / 1e6:+.1f} MB beyond the model" if peak > size else ""
    return Figure(PART, f"{size / 1e6:.0f} MB: {label}", peak / 1e6, "MB", limit, remark)
