"""Printed numbers: a value with the unit of its last digit, and what rounding allows around it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Literal

from rankaudit.errors import InputError

FLOOR = 1e-6
"""Smallest unit of rounding. Sums in single precision carry about seven digits, and logs print
seventeen: what stands beyond the sixth decimal of a mean is not taken as exact."""

ABSENT = frozenset(
    ("", "-", "--", "---", "–", "—", "−", "/", "\\", "n/a", "n.a.", "na", "nan", "none", "null",
     "oom", "oot")
)  # fmt: skip
"""Cells that hold no number, in lower case."""

Comma = Literal["thousands", "decimal", "refuse"]
"""What a single comma before exactly three digits is; a leading 0 always makes it decimal."""

_NUMBER = r"(?:\d[\d.,]*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_CELL = re.compile(
    rf"(?P<bold>\*\*)?(?P<under>_)?\s*(?P<arrow>[↑↓▲▼△▽]?)\s*(?P<number>[+-]?{_NUMBER})"
    r"\s*(?P<percent>%)?"
    rf"\s*(?P<spread>±\s*{_NUMBER}|\(\s*[±↑↓]?\s*[+-]?\s*{_NUMBER}\s*%?\s*[↑↓]?\s*\))?"
    r"\s*(?P<late>%)?\s*_?"
    r"(?P<tail>[*†‡§¶↑↓▲▼△▽\s]*)"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*(?:\[[^\]]*\]\s*)?\{([^{}]*)\}")
_SCRIPTS = r"textsuperscript|textsubscript|tnote|scriptsize|footnotesize|tiny|small"
"""Commands after a number whose digits are a footnote's or a spread's, and none of its own."""
_DIGITS = 30
"""No mean has more digits; what has is a mistake, and would take long to work with."""
_BOLD = {"textbf", "mathbf", "bm", "boldsymbol", "pmb"}
_UNDERLINE = {"underline", "uline", "dashuline", "udash"}
_DROPPED = {"cellcolor", "color", "rowcolor", "footnotemark", "cite", "label"}
_PLAIN = {
    r"\%": "%", r"\pm": "±", r"\dagger": "†", r"\ddagger": "‡", r"\dag": "†", r"\ddag": "‡",
    r"\ast": "*", r"\star": "*", r"\uparrow": "↑", r"\downarrow": "↓", r"\!": "", r"\,": " ",
    r"\;": " ", r"\:": " ", r"\ ": " ", "~": " ", "$": "", "∗": "*", "★": "*", "☆": "*",
    "\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " ", "\N{THIN SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ", "+/-": "±", "+-": "±",
}  # fmt: skip

RULES = {
    "spread": "a number after ± or in brackets is a spread, and left out",
    "latex": "LaTeX commands are read as marks (bold, underline) or dropped",
    "comma": "a comma before other than three digits, or after a lone 0, is a decimal comma",
    "symbols": "†, ‡ and * after a number mark significance",
    "arrow": "an arrow that points down before or after a change without a sign is a minus",
    "absent": "a dash, 'n/a' and the like are no number",
    "floor": f"digits beyond a rounding unit of {FLOOR:g} are kept but not taken as exact",
}
"""How cells that are more than a plain number are read."""


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
    unit: one step of the last printed digit, on the same scale as `value`; at least `FLOOR`.
    step: the same without the floor.
    marks: "bold", "underline", "star".
    rules: names of `RULES` that were needed to read it.
    """

    text: str
    value: float
    unit: float
    marks: frozenset[str] = frozenset()
    step: float = 0.0
    rules: frozenset[str] = frozenset()

    @property
    def decimals(self) -> int:
        """Digits after the decimal point on the page."""
        return len(self.text.rstrip("%").partition(".")[2])

    def interval(self, rounding: Rounding = Rounding.ONCE) -> tuple[float, float]:
        """Smallest and largest true value that this print allows."""
        half = rounding.value * self.unit
        return self.value - half, self.value + half

    def with_digit(self, place: int, digit: str) -> tuple[str, float]:
        """The text with another digit at `place`, and its value on this cell's scale."""
        text = self.text[:place] + digit + self.text[place + 1 :]
        mantissa = re.split("[eE]", text)[0]
        number = int(re.sub(r"\D", "", mantissa)) * self.step
        return text, -number if text.startswith("-") else number

    @classmethod
    def parse(
        cls,
        text: str,
        where: str,
        percent: bool = False,
        comma: Comma = "thousands",
        arrows: bool = False,
    ) -> Printed:
        """Read a cell with what stands around its number on a page or in its source.

        Marks: `**bold**`, `_underline_`, a final `*`; LaTeX, spreads and symbols as in `RULES`.
        percent: the column is in per cent although the cell has no sign. arrows: the cell is a
        change, so that an arrow that points down is a minus where there is no sign.
        Raises InputError that names `where` if the cell is not a number.
        """
        plain, marks, rules = _without_latex(text)
        match = _CELL.fullmatch(plain)
        if match is None:
            raise InputError(
                f"{where}: '{text}' is not a printed number; write it as on the page, such as "
                "0.0843, **0.0843**, _0.0822_ or 8.43%"
            )
        tail = re.sub(r"[↑↓▲▼△▽\s]", "", match["tail"])
        if symbols := re.sub(r"\*", "", tail):
            rules.add("symbols")
        stars = len(tail) - len(symbols)
        bold = match["bold"] is not None
        if bold and stars < 2:
            raise InputError(
                f"{where}: '{text}' opens bold and does not close it; write **0.0843**"
            )
        if not bold and stars > 1:
            raise InputError(f"{where}: '{text}' ends in '{tail}'; one * marks significance")
        if stars == (3 if bold else 1) or symbols:
            marks.add("star")
        if bold:
            marks.add("bold")
        if match["under"]:
            marks.add("underline")
        if match["spread"]:
            rules.add("spread")
        # a sign of per cent behind a signed number in brackets is that number's: 0.0843 (+3.2)%
        late = bool(match["late"]) and not re.match(r"\(\s*[+\-↑↓]", match["spread"] or "")
        in_percent = percent or bool(match["percent"]) or late
        if sum(map(str.isdigit, match["number"])) > _DIGITS:
            raise InputError(f"{where}: '{text[:20]}...' has more digits than a mean can have")
        number, decimal_comma = _decimal(match["number"], where, comma)
        shown = match["number"]
        down = bool(re.search("[↓▼▽]", match["arrow"] + match["tail"]))
        if arrows and down and shown[0] not in "+-":
            number, shown = -number, f"-{shown}"
            rules.add("arrow")
        if decimal_comma:
            rules.add("comma")
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)  # the pattern admits no NaN or infinity
        scale = Decimal(1) / Decimal(100) if in_percent else Decimal(1)
        step = float(Decimal(1).scaleb(exponent) * scale)
        if step < FLOOR:
            rules.add("floor")
        sign = "%" if match["percent"] or late else ""
        return cls(
            text=shown + sign,
            value=float(number * scale),
            unit=max(step, FLOOR),
            marks=frozenset(marks),
            step=step,
            rules=frozenset(rules),
        )


def _without_latex(text: str) -> tuple[str, set[str], set[str]]:
    """The cell without LaTeX and HTML, the marks that these set, and the rules that were used."""
    marks: set[str] = set()
    plain = html.unescape(text.strip()).replace("\\*", "*")
    plain = re.sub(r"^[\u2013\u2012](?=[\d.])", "-", plain)
    plain = re.sub(r"\{\s*\\bf(?:series)?\s*([^{}]*)\}", r"\\textbf{\1}", plain)
    plain = re.sub(r"\\(?:textcolor|colorbox)(?:\[[^\]]*\])?\{[^{}]*\}", "", plain)
    plain = re.sub(r"</?(?:b|strong)>", "**", plain)
    plain = re.sub(r"<u>(.*?)</u>", r"_\1_", plain)
    plain = re.sub(r"^_(\*\*.+\*\*)_$", r"\\underline{\1}", plain)
    plain = re.sub(r"<(sup|sub|small)>(.*?)</\1>", r"^{\2}", plain)
    plain = re.sub(rf"\{{\s*\\(?:{_SCRIPTS})\b\s*([^{{}}]*)\}}", r"^{\1}", plain)
    plain = re.sub(rf"\\(?:{_SCRIPTS})\s*\{{([^{{}}]*)\}}", r"^{\1}", plain)
    plain = re.sub(r"^\*\*\*([^*]+)\*\*\*$", r"**\1**", plain)  # bold and in italics
    plain = re.sub(r"^__([^_]+)__", r"**\1**", plain)  # Markdown's other bold, and its italics
    plain = re.sub(r"^\*([^*]+)\*$", r"\1", plain)
    for written, meant in sorted(_PLAIN.items(), key=lambda pair: -len(pair[0])):
        plain = plain.replace(written, meant)

    def unwrap(match: re.Match[str]) -> str:
        name = match[1]
        if name in _BOLD:
            marks.add("bold")
        elif name in _UNDERLINE:
            marks.add("underline")
        glued = match.start() and plain[match.start() - 1].isdigit() and match[2][:1].isdigit()
        return "" if name in _DROPPED or glued else match[2]

    before = None
    while before != plain:
        before = plain
        plain = _COMMAND.sub(unwrap, plain)
        plain = re.sub(r"[\^_]\{([^{}]*)\}", _script, plain)
        plain = re.sub(r"(?<![A-Za-z\]])\{([^{}\\]*)\}", r"\1", plain)
    plain = re.sub(r"\^([*†‡])", "†", plain)
    rules = {"latex"} if "\\" in text or "$" in text else set()
    return plain.strip(), marks, rules


def _script(match: re.Match[str]) -> str:
    """A superscript or subscript: stars and daggers are one mark, a spread stays, words go."""
    inside = match[1].strip()
    if re.fullmatch(r"[*†‡§¶]+", inside):
        return "†"
    return inside if inside.startswith(("±", "(")) else ""


def _decimal(text: str, where: str, comma: Comma) -> tuple[Decimal, bool]:
    """A number, and whether it has a decimal comma. Points and commas as the rules say."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, decimal_comma = mantissa, False
    if "," in mantissa and "." in mantissa:
        decimal_comma = mantissa.rindex(",") > mantissa.rindex(".")
    elif mantissa.count(",") == 1:
        before, after = mantissa.lstrip("+-").split(",")
        if len(after) != 3 or before in ("0", ""):
            decimal_comma = True
        elif comma == "refuse":
            raise InputError(
                f"{where}: '{text}' may be {before}.{after} or {before}{after}; write it with a "
                "point"
            )
        else:
            decimal_comma = comma == "decimal"
    point, group = (",", ".") if decimal_comma else (".", ",")
    integer, separated, fraction = whole.partition(point)
    groups = integer.lstrip("+-").split(group)
    well_grouped = len(groups) == 1 or (
        1 <= len(groups[0]) <= 3 and all(len(part) == 3 for part in groups[1:])
    )
    digits_only = point not in fraction and group not in fraction
    if not well_grouped or not digits_only or (separated and not fraction and integer == ""):
        raise InputError(
            f"{where}: '{text}' is not a number with a decimal point or comma and thousands in "
            "groups of three"
        )
    number = Decimal(integer.replace(group, "") + ("." + fraction if fraction else ""))
    return number.scaleb(int(exponent)) if exponent else number, decimal_comma


def quotient_interval(
    above: Printed,
    below: Printed,
    rounding: Rounding = Rounding.ONCE,
    rounding_below: Rounding | None = None,
) -> tuple[float, float]:
    """What rounding allows for above / below, both positive.

    rounding_below: of the divisor, if it is another one. The upper end is infinite where the
    divisor may be zero.
    """
    a_low, a_high = above.interval(rounding)
    b_low, b_high = below.interval(rounding_below or rounding)
    return max(a_low, 0.0) / b_high, a_high / b_low if b_low > 0 else float("inf")
