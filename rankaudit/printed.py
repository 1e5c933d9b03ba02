"""Printed numbers: a value with the unit of its last digit, and what rounding allows around it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from rankaudit.errors import InputError

_CELL = re.compile(
    r"^(?P<bold>\*\*)?(?P<under><u>|_)?\s*(?P<number>[+-]?(?:\d[\d,]*\.?\d*|\.\d+))\s*(?P<percent>%)?"
    r"\s*(?:</u>|_)?(?P<tail>\*{0,3})$"
)


class Rounding(Enum):
    """How far the printed mean may lie from the true one, in units of the last printed digit.

    ONCE: the mean was rounded, half a unit. TWICE: runs were rounded, averaged, and the average
    rounded again to the same digits: half a unit for each step.
    """

    ONCE = 0.5
    TWICE = 1.0


@dataclass(frozen=True)
class Printed:
    """One number as it stands on the page.

    value: the number, in fractions where the page has a metric in per cent (see `parse`).
    unit: one step of the last printed digit, on the same scale as `value`.
    """

    text: str
    value: float
    unit: float
    marks: frozenset[str] = frozenset()

    @property
    def decimals(self) -> int:
        """Digits after the decimal point on the page."""
        return len(self.text.rstrip("%").partition(".")[2])

    def interval(self, rounding: Rounding = Rounding.ONCE) -> tuple[float, float]:
        """Smallest and largest true value that this print allows."""
        half = rounding.value * self.unit
        return self.value - half, self.value + half

    def reread(self, text: str) -> float:
        """The value of another text on this cell's scale (fractions of a column in per cent)."""
        places = len(text.rstrip("%").replace(",", "").partition(".")[2])
        number = round(float(text.rstrip("%").replace(",", "")) * 10**places)
        return number * self.unit

    @classmethod
    def parse(cls, text: str, where: str, percent: bool = False) -> Printed:
        """Read a cell: thousands commas, a trailing `%`, `**bold**`, `_underline_`, a final `*`.

        percent: the column is in per cent although the cell has no sign.
        Raises InputError that names `where` if the cell is not a number.
        """
        match = _CELL.match(text.strip().replace("\N{MINUS SIGN}", "-"))
        if match is None:
            raise InputError(
                f"{where}: '{text}' is not a printed number; write it as on the page, such as "
                "0.0843, **0.0843**, _0.0822_ or 8.43%"
            )
        bold = match["bold"] is not None
        tail = match["tail"]
        if bold and not tail.startswith("**"):
            raise InputError(
                f"{where}: '{text}' opens bold and does not close it; write **0.0843**"
            )
        if not bold and len(tail) > 1:
            raise InputError(f"{where}: '{text}' ends in '{tail}'; one * marks significance")
        star = len(tail) == 3 if bold else len(tail) == 1
        in_percent = percent or match["percent"] is not None
        number = Decimal(match["number"].replace(",", ""))
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)  # the pattern admits no NaN or infinity
        scale = Decimal(1) / Decimal(100) if in_percent else Decimal(1)
        marks = {
            name
            for name, present in (("bold", bold), ("underline", match["under"]), ("star", star))
            if present
        }
        return cls(
            text=match["number"] + (match["percent"] or ""),
            value=float(number * scale),
            unit=float(Decimal(1).scaleb(exponent) * scale),
            marks=frozenset(marks),
        )


def quotient_interval(
    above: Printed, below: Printed, rounding: Rounding = Rounding.ONCE
) -> tuple[float, float]:
    """What rounding allows for above / below, both positive.

    The upper end is infinite where the divisor may be zero.
    """
    a_low, a_high = above.interval(rounding)
    b_low, b_high = below.interval(rounding)
    return max(a_low, 0.0) / b_high, a_high / b_low if b_low > 0 else float("inf")
