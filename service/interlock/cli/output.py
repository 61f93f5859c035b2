"""Print to standard output: text, JSON, tables."""

import json
import math
import sys
from collections.abc import Iterable, Sequence


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def write_json(value: object) -> None:
    write(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def finite(value: object) -> object:
    """Return `value`, or its name where JSON has no such number."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns as wide as their widest cell; the last one is not filled up."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def shape(sizes: Iterable[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"
