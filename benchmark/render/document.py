"""A table ready to print: text and marks in places, and nothing left to compute.

`tables/layout.py` and `tables/counts.py` make the blocks of a document; `tables/writers.py` writes
it as Markdown and for the terminal, `tables/latex.py` as LaTeX, `report/page.py` as HTML. `number`
or `change` formats every number, whatever is written.

Glossary
    document   one table: blocks, and notes under them
    block      one grid of a document, usually for one dataset
    row        a row of a block
    entry      one place of a row: our number, the printed one, their difference, and the marks
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Mark = Literal["star", "significant", "unshown", "gaining", "partial", "stale"]

MARKS: dict[Mark, str] = {
    "star": "*",
    "significant": "★",
    "unshown": "†",
    "gaining": "‡",
    "partial": "¶",
    "stale": "§",
}

MEANINGS: dict[Mark, str] = {
    "star": "by the paper's rule: differs from the best other row, paired t-test over seeds, "
    "p < 0.05.",
    "significant": "alone in the confidence set of the best: told from every other row by the "
    "crossed bootstrap over users and seeds, all pairs at once.",
    "unshown": "convergence not shown: whether a longer budget gains could not be told on trial "
    "seeds.",
    "gaining": "still gaining: a longer budget is known to gain, on trial seeds, under at least "
    "one of the protocols; a verdict that this row loses is qualified by it.",
    "partial": "fewer seeds than asked for are finished; takes no part in bold, order or stars.",
    "stale": "stale: made with other code, settings or data than the present ones.",
}


class ValueKey(NamedTuple):
    """Names of a cell in the long CSV."""

    table: str
    row: str
    column: str
    dataset: str
    metric: str
    protocol: str = ""
    """History "kept" or "left out"; "" of counts."""


@dataclass(frozen=True)
class Entry:
    """One place of a table."""

    text: str
    spread: str = ""
    """sd over seeds"""
    paper: str = ""
    difference: str = ""
    """Relative, ours against the printed number; empty where the grade allows none."""
    bold: bool = False
    """In the confidence set of the best; where nothing could be tested, the best by mean."""
    underline: bool = False
    """Best of the rest."""
    marks: tuple[Mark, ...] = ()
    key: ValueKey | None = None

    @property
    def symbols(self) -> str:
        """The marks as they are printed."""
        return "".join(MARKS[mark] for mark in self.marks)

    @property
    def ours(self) -> str:
        """Our number with its spread, without marks."""
        return f"{self.text} ± {self.spread}" if self.spread else self.text


@dataclass(frozen=True)
class TableRow:
    """One row of a block."""

    label: str
    entries: tuple[Entry, ...]
    heading: str = ""
    """Of the rows that begin with this one."""
    rule: bool = False
    """Whether a rule stands above it."""


@dataclass(frozen=True)
class Block:
    """One grid; `headings` are those of the entries, `row_heading` that of the labels."""

    title: str
    row_heading: str
    headings: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    detail: bool = False
    """Whether it is background that a reader may skip (folded away where that is possible)."""
    terminal: bool = True
    """Whether the terminal shows it; details it never does."""

    def has_paper(self, column: int) -> bool:
        """Whether any entry of the column has a printed number."""
        return any(row.entries[column].paper for row in self.rows)

    def has_difference(self, column: int) -> bool:
        """Whether any entry of the column has a difference from the printed number."""
        return any(row.entries[column].difference for row in self.rows)

    def has_spread(self, column: int) -> bool:
        """Whether any entry of the column has a standard deviation."""
        return any(row.entries[column].spread for row in self.rows)


@dataclass(frozen=True)
class Document:
    """A table."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Runs that are missing, failed, stale or damaged."""

    @property
    def subject(self) -> str:
        """The title without the number or name that stands before it, "Overall performance"."""
        return self.title.partition(". ")[2] or self.title

    def marks(self) -> tuple[Mark, ...]:
        """The marks that occur, in the order of the legend."""
        seen = {
            mark
            for block in self.blocks
            for row in block.rows
            for entry in row.entries
            for mark in entry.marks
        }
        return tuple(mark for mark in MARKS if mark in seen)

    def legend(self) -> list[tuple[str, str]]:
        """(mark, meaning) of every mark that occurs."""
        rows = [(MARKS[mark], MEANINGS[mark]) for mark in self.marks()]
        entries = [e for block in self.blocks for row in block.rows for e in row.entries]
        if any(entry.bold for entry in entries):
            meaning = (
                "bold: may be the best, by the confidence set of the best (crossed bootstrap, all "
                "pairs at once, 95 %), or the best by mean where seeds are too few for it; "
                "underlined: best of the rest. Controls take no part."
            )
            rows.insert(0, ("bold, underline", meaning))
        return rows


def number(value: float, digits: int = 4) -> str:
    """As the long CSV holds it (six significant digits), rounded to `digits` decimals; "" for NaN.

    Rounding what the CSV holds, and not what it was rounded from, makes every printed number a
    function of the CSV.
    """
    return "" if math.isnan(value) else signed(f"{float(f'{value:.6g}'):.{digits}f}")


def change(ours: float, other: float, digits: int = 1) -> str:
    """Relative difference in per cent, "+1.2 %"; "" where either is NaN or the other zero."""
    ours, other = float(f"{ours:.6g}"), float(f"{other:.6g}")
    if math.isnan(ours) or math.isnan(other) or other == 0:
        return ""
    return percent(ours / other - 1, digits)


def percent(value: float, digits: int = 1) -> str:
    """A signed fraction in per cent, "−3.4 %"; "" for NaN."""
    return "" if math.isnan(value) else signed(f"{100 * value:+.{digits}f}\u00a0%")


def percent_range(low: float, high: float) -> str:
    """The ends of an interval, "−3.4 % to +1.0 %"; "" where there is none (NaN)."""
    return "" if math.isnan(low) else f"{percent(low)} to {percent(high)}"


def with_range(value: float, low: float, high: float) -> str:
    """ "+1.0 % (−3.4 % to +5.2 %)"; without an interval the value alone."""
    ends = percent_range(low, high)
    return f"{percent(value)} ({ends})" if ends else percent(value)


def p_value(value: float) -> str:
    """ "0.032", "< 0.001"; "" for NaN."""
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """A whole number with thousands separated by a thin space."""
    return f"{value:,.0f}".replace(",", "\u2009")


def duration(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: int | None) -> str:
    """Bytes for people: 312 MiB, 1.4 GiB; "" where unknown."""
    if count is None:
        return ""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def signed(text: str) -> str:
    """With a true minus sign, and without one before a zero."""
    if text.startswith("-") and not text.strip("-0.%\u00a0"):
        return text[1:]
    return text.replace("-", "−", 1) if text.startswith("-") else text
