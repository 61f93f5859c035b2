"""What all agents in one load take, against the sum of what each takes in a load of its own."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from tools.benchmark.agents.loads import ALL, Loads
from tools.benchmark.agents.models import Model
from tools.benchmark.agents.turns import Turns, take_turns
from tools.benchmark.figures import Figure

PART: Final = "all three agents in one load"
TIMES: Final = 1.3
"""How much longer than its parts together."""
_ALL: Final = "all three"


def measure(model: Model, size: int, *, rounds: int) -> Iterator[Figure]:
    """Have the agents live through loads, from LOAD to UNLOAD_COMPLETE, wiping included."""
    with Loads(model) as loads:
        work = {name: partial(loads.whole, [name]) for name in ALL}
        turns = take_turns({**work, _ALL: partial(loads.whole, ALL)}, rounds)
    yield from figures(turns, size=size)


def figures(turns: Turns, *, size: int) -> Iterator[Figure]:
    label = f"{size / 1e6:.0f} MB"
    times = sorted(turns.times(_ALL, ALL))
    remark = f"{times[0]:.2f} to {times[-1]:.2f} in {len(times)} rounds"
    yield Figure(
        PART, f"{label}: against the sum of its parts", times[len(times) // 2], "x", TIMES, remark
    )
    for name in (*ALL, _ALL):
        noise = f"differs by {100 * turns.noise(name):.1f} % in a round"
        yield Figure(PART, f"{label}: {name}", 1e3 * turns.seconds(name), "ms", remark=noise)
