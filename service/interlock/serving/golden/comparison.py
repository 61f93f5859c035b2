"""Decide whether a version's answer is the expected one, and say where it is not."""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np

from interlock.domain.errors import InvalidRequestError
from interlock.domain.tensor import Buffer
from interlock.serving.golden.request import Array, GoldenRequest, GoldenTensor, array_of

_FLOATS: Final = "f"
_LONGEST_TEXT: Final = 60
_SMALL: Final = 0.01


def disagreement(
    request: GoldenRequest,
    expected: GoldenTensor,
    datatype: str,
    shape: Sequence[int],
    data: Buffer,
) -> str:
    """Return how an output differs from the expected one, "" where it does not.

    Floats may be off by the request's tolerance, and NaN is what NaN is expected; all else
    is exact.
    """
    who = f"output {expected.name}"
    if datatype != expected.datatype:
        return f"{who}: got datatype {datatype}, expected {expected.datatype}"
    if tuple(shape) != expected.shape:
        return f"{who}: got shape {_listed(shape)}, expected {_listed(expected.shape)}"
    wanted = array_of(expected.datatype, expected.shape, expected.data)
    try:
        got = array_of(datatype, shape, data)
    except (ValueError, InvalidRequestError):
        return f"{who}: its {len(data)} bytes do not fill the shape {_listed(shape)}"
    if wanted.dtype.kind in _FLOATS:
        return _beyond_tolerance(who, got, wanted, request)
    return _unequal(who, got, wanted)


def _unequal(who: str, got: Array, wanted: Array) -> str:
    differs = np.asarray(got != wanted, dtype=bool)
    count = int(np.count_nonzero(differs))
    if not count:
        return ""
    place = _place(int(np.argmax(differs)), wanted.shape)
    more = f", the first of {count}" if count > 1 else ""
    return _sentence(who, place, got, wanted) + more


def _beyond_tolerance(who: str, got: Array, wanted: Array, request: GoldenRequest) -> str:
    ours, theirs = got.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(all="ignore"):
        agrees = np.isclose(
            ours, theirs, rtol=request.relative, atol=request.absolute, equal_nan=True
        )
        if agrees.all():
            return ""
        allowed = request.absolute + request.relative * np.abs(theirs)
        excess = np.asarray(np.abs(ours - theirs) - allowed)
    # Where a NaN or an infinity is on one side only there is no difference to speak of.
    excess[np.isnan(excess)] = np.inf
    excess[agrees] = -np.inf
    place = _place(int(np.argmax(excess)), wanted.shape)
    count = int(np.count_nonzero(~agrees))
    more = f", the worst of {count}" if count > 1 else ""
    return f"{_sentence(who, place, got, wanted)} ({_tolerance(request)}){more}"


def _sentence(who: str, place: tuple[int, ...], got: Array, wanted: Array) -> str:
    where = _listed(place) if place else ""
    return f"{who}{where}: got {_text(got[place])}, expected {_text(wanted[place])}"


def _place(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(flat, shape))


def _listed(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"


def _text(element: object) -> str:
    if isinstance(element, bytes):
        text = json.dumps(element.decode(errors="backslashreplace"), ensure_ascii=False)
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    if isinstance(element, np.bool):
        return str(element).lower()
    return str(element)


def _tolerance(request: GoldenRequest) -> str:
    absolute = number_text(request.absolute)
    if request.relative == request.absolute:
        return f"tolerance {absolute}"
    return f"tolerance {absolute}, relative {number_text(request.relative)}"


def number_text(number: float) -> str:
    """Return a number as people write it: 0.05, 1e-3."""
    if number == 0 or number >= _SMALL:
        return f"{number:g}"
    digits, _, power = f"{number:e}".partition("e")
    return f"{float(digits):g}e{int(power)}"
