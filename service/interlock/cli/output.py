"""Print to standard output: text, JSON, tables."""

import json
import math
import sys
from collections.abc import Iterable, Sequence


def write(text: str, *, flush: bool = False) -> None:
    sys.stdout.write(f"{text}\n")
    if flush:
        sys.stdout.flush()


def write_json(value: object) -> None:
    write(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def write_json_line(value: object) -> None:
    """Write one of many values, each on a line of its own, at once."""
    write(json.dumps(value, allow_nan=False, ensure_ascii=False), flush=True)


def one_line(text: str) -> str:
    return " ".join(text.split())


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
