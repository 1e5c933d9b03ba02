"""Timestamps: text -> numbers that keep their order exactly, or a refusal with its line."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError

_INTEGER = re.compile(r" *[+-]?[0-9]{1,30} *")
_NUMBER = re.compile(r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})? *")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_LIMIT = 2**63
_EXACT_DIGITS = 15
"""So many significant digits survive in a float64."""


def parse_times(
    values: Sequence[str], at: Callable[[int], str]
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Timestamps of one column, [rows].

    int64 where all are whole numbers (`3.0` and `3e2` are), else float64. Dates and times as ISO
    8601 writes them, all with a zone or all without, become nanoseconds since 1970. at: names the
    row-th row. Raises InputError for a missing one, for what is no number, for whole numbers beyond
    64 bits, and where different fractions would become the same float64.
    """
    if values and _MOMENT.fullmatch(values[0].strip()):
        return _moments(values, at)
    integers: list[int] = []
    for row, value in enumerate(values):
        if _INTEGER.fullmatch(value) is None:
            return _numbers(values, at)
        integers.append(int(value))
        if not -_LIMIT <= integers[-1] < _LIMIT:
            raise _too_large(value, at(row))
    return np.array(integers, dtype=np.int64)


def _numbers(
    values: Sequence[str], at: Callable[[int], str]
) -> NDArray[np.int64] | NDArray[np.float64]:
    exact: list[Decimal] = []
    for row, value in enumerate(values):
        if not value.strip():
            raise InputError(
                f"{at(row)}: timestamp {value!r} is not a number: it is missing; fill it in or "
                "drop the row"
            )
        if _NUMBER.fullmatch(value) is None:
            raise InputError(
                f"{at(row)}: timestamp {value!r} is not a number; give seconds (any unit that "
                "grows with time does), or all of them as 2014-07-23 16:00:00"
            )
        exact.append(Decimal(value.strip()))
        if abs(exact[-1]) >= _LIMIT and exact[-1] != -_LIMIT:
            raise _too_large(value, at(row))
    if all(d == d.to_integral_value() for d in exact):
        return np.array([int(d) for d in exact], dtype=np.int64)
    floats = np.array([float(d) for d in exact])
    long = any(len(d.as_tuple().digits) > _EXACT_DIGITS for d in exact)
    if long and len(set(exact)) != len(np.unique(floats)):
        _, first = np.unique(floats, return_index=True)
        seen = dict(zip(floats[first].tolist(), (exact[k] for k in first), strict=True))
        row = next(k for k, d in enumerate(exact) if seen[float(d)] != d)
        raise InputError(
            f"{at(row)}: timestamp {values[row]!r} has more digits than a fraction keeps, so that "
            "its order would be lost; give whole numbers, such as nanoseconds"
        )
    return floats


def _moments(values: Sequence[str], at: Callable[[int], str]) -> NDArray[np.int64]:
    found: list[int] = []
    zoned: bool | None = None
    for row, value in enumerate(values):
        match = _MOMENT.fullmatch(value.strip())
        if match is None:
            what = "is missing" if not value.strip() else f"{value!r} is no date as the first is"
            raise InputError(f"{at(row)}: timestamp {what}; fill it in or drop the row")
        day, clock, fraction, zone = match.groups()
        zoned = bool(zone) if zoned is None else zoned
        if bool(zone) != zoned:
            raise InputError(
                f"{at(row)}: timestamp {value!r} {'has a' if zone else 'has no'} time zone, unlike "
                "those before it; give all in one zone"
            )
        try:
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone or '+00:00'}")
        except ValueError as error:
            raise InputError(
                f"{at(row)}: timestamp {value!r} is no date ({error}); mend it or drop the row"
            ) from error
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        found.append(seconds * 10**9 + int((fraction or "").ljust(9, "0")))
        if abs(found[-1]) >= _LIMIT:
            raise _too_large(value, at(row))
    return np.array(found, dtype=np.int64)


def _too_large(value: str, where: str) -> InputError:
    return InputError(
        f"{where}: timestamp {value[:40]} does not fit into 64 bits (as whole nanoseconds, dates "
        "from 1678 to 2262 do); give seconds"
    )
