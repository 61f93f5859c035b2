"""Whether the machine has anything else to do: what is measured then says little."""

import re
from pathlib import Path
from typing import Final

BUSY_PERCENT: Final = 5.0
_PRESSURE: Final = Path("/proc/pressure/cpu")


def remark_on(pressure: str) -> str:
    """Return what to say of the kernel's account of who waited for a processor; "" for nothing."""
    found = re.search(r"^some avg10=([\d.]+)", pressure, re.MULTILINE)
    if found is None or float(found[1]) <= BUSY_PERCENT:
        return ""
    return (
        f"the machine is busy: in {float(found[1]):.0f} % of the last 10 s somebody waited for a "
        "processor. Latencies will be too high"
    )


def remark() -> str:
    """Return what to say of this machine now; "" for nothing, and where it cannot be told."""
    try:
        return remark_on(_PRESSURE.read_text(encoding="ascii"))
    except OSError:
        return ""
