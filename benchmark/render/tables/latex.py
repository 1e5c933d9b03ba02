"""Documents as LaTeX that fits an A4 page with margins of 2 cm, in packages that every TeX has.

A block is set in 7 pt. Its widths are estimated from the number of characters: columns of long text
wrap, and a block that is still too wide, or longer than a page, becomes several tables that repeat
its labels. tests/benchmark/render/test_latex.py compiles every table and reads TeX's own measure.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.render.document import Block, Document, Entry, TableRow

PACKAGES = ("array", "booktabs", "amssymb")

WIDTH = 478.0
"""Points: A4 less two margins of 2 cm is 483.7."""
_CHARACTER = 4.0
"""Points of a digit of 7 pt; lower-case letters have less on average."""
_NARROW = ".,:;' \u2009\u00a0"
"""Characters of about half that width."""
_SMALL = 0.87
"""Of 5 pt beside 7 pt; small type is wider for its size."""
_BOLD = 1.15
_SEPARATION = 3.0
"""Points at either side of a column, LaTeX's \\tabcolsep."""
_WRAPPED = 26
"""A column with a cell of more characters wraps."""
_NARROWEST = 95.0
"""Points that a column of text needs."""
_LINES = 58
"""Lines of 7 pt on a page, with caption and notes."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "β": r"$\beta$",
    "Δ": r"$\Delta$",
    "×": r"$\times$",
    "²": r"$^2$",
    "∞": r"$\infty$",
    "→": r"$\to$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "\u2009": r"\,",
    "\u00a0": r"\,",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"$^\S$",
    "*": r"$^{*}$",
    "¶": r"$^\P$",
    "★": r"$^\bigstar$",
}


@dataclass(frozen=True)
class _Column:
    """One column of ours with what stands beside it."""

    at: int
    """Index of its entries in a row."""
    heading: str
    paper: bool
    difference: bool
    width: float
    """Points, of all its parts with their separation; of a column that wraps, the least."""
    wrapped: bool

    @property
    def parts(self) -> int:
        return 1 + self.paper + self.difference


def to_latex(document: Document) -> str:
    """A `table*` or more for every block, captioned by what it shows: a number is LaTeX's to
    give. Notes follow in a list."""
    parts = [f"% \\usepackage{{{','.join(PACKAGES)}}}; fits A4 with margins of 2 cm"]
    for block in document.blocks:
        title = f"{document.subject}. {block.title}" if block.title else document.subject
        label = _label_width(block)
        shares = _shares([_column(block, at) for at in range(len(block.headings))], label)
        pages = _pages(block.rows)
        for number, (columns, rows) in enumerate((c, r) for c in shares for r in pages):
            last = number == len(shares) * len(pages) - 1
            caption = title if number == 0 else f"{title} (continued)"
            notes = block.notes if last else ()
            parts += _table(block, caption, columns, rows, label, notes)
    notes = [f"{mark}: {meaning}" for mark, meaning in document.legend()]
    notes += [*document.notes, *document.problems]
    parts += [r"\begin{itemize}\scriptsize\raggedright"] * bool(notes)
    parts += [f"\\item {_breakable(note)}" for note in notes]
    parts += [r"\end{itemize}"] * bool(notes)
    return "\n".join(parts) + "\n"


def _table(
    block: Block,
    caption: str,
    columns: Sequence[_Column],
    rows: Sequence[TableRow],
    label: float,
    notes: Sequence[str],
) -> list[str]:
    fixed = label + sum(c.width for c in columns if not c.wrapped)
    wrapped = sum(c.wrapped for c in columns)
    room = (WIDTH - fixed) / wrapped - 2 * _SEPARATION if wrapped else 0.0
    spec = _paragraph(label - 2 * _SEPARATION) if _wraps_labels(block) else "l"
    headings = [_latex(block.row_heading)]
    for column in columns:
        spec += _paragraph(room) if column.wrapped else "r"
        spec += "r" * (column.parts - 1)
        headings += [_latex(column.heading), *["paper"] * column.paper]
        headings += [r"$\Delta$"] * column.difference
    width = 1 + sum(column.parts for column in columns)
    return [
        r"\begin{table*}",
        rf"\centering\scriptsize\setlength{{\tabcolsep}}{{{_SEPARATION:g}pt}}",
        r"\setlength{\belowcaptionskip}{4pt}",
        f"\\caption{{{_breakable(caption)}}}",
        f"\\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *_lines(columns, rows, width),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"\\par\\raggedright {_breakable(note)}" for note in notes),
        r"\end{table*}",
        "",
    ]


def _paragraph(width: float) -> str:
    """A column of ragged text. width: points."""
    return rf">{{\raggedright\arraybackslash}}p{{{width:.1f}pt}}"


def _lines(columns: Sequence[_Column], rows: Sequence[TableRow], width: int) -> Iterator[str]:
    for index, row in enumerate(rows):
        if index and (row.rule or row.heading):
            yield r"\midrule"
        if row.heading:
            yield f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{_latex(row.heading)}}}}} \\\\"
        cells = [_breakable(row.label)]
        for column in columns:
            entry = row.entries[column.at]
            cells.append(_entry(entry, wrapped=column.wrapped))
            cells += [_latex(entry.paper)] * column.paper
            cells += [_latex(entry.difference)] * column.difference
        yield " & ".join(cells) + r" \\"


def _entry(entry: Entry, *, wrapped: bool) -> str:
    text = _breakable(entry.text) if wrapped else _latex(entry.text)
    if entry.bold:
        text = f"\\textbf{{{text}}}"
    if entry.underline:
        text = f"\\underline{{{text}}}"
    spread = f" {{\\tiny $\\pm$ {entry.spread}}}" if entry.spread else ""
    return f"{text}{spread}{_latex(entry.symbols)}"


# ---------------------------------------------------------------- what fits


def _column(block: Block, at: int) -> _Column:
    entries = [row.entries[at] for row in block.rows]
    longest = max((len(entry.text) for entry in entries), default=0)
    paper, difference = block.has_paper(at), block.has_difference(at)
    wrapped = longest > _WRAPPED
    if wrapped:
        width = _NARROWEST + 2 * _SEPARATION
    else:
        width = max([_points(block.headings[at]), *(_entry_points(e) for e in entries)])
        width += 2 * _SEPARATION
    for shown, heading, texts in (
        (paper, "paper", [e.paper for e in entries]),
        (difference, "D", [e.difference for e in entries]),
    ):
        if shown:
            width += max(map(_points, (heading, *texts))) + 2 * _SEPARATION
    return _Column(at, block.headings[at], paper, difference, width, wrapped)


def _entry_points(entry: Entry) -> float:
    spread = _SMALL * _points(f" ± {entry.spread}") + 2.0 if entry.spread else 0.0
    own = _points(entry.text) * (_BOLD if entry.bold else 1.0)
    return own + spread + _points(entry.symbols)


def _points(text: str) -> float:
    """Signs such as minus and capitals are wider than digits."""
    wide = sum(character.isupper() or character in "+−±%" for character in text)
    narrow = sum(character in _NARROW for character in text)
    return _CHARACTER * (len(text) + 0.4 * wide - 0.45 * narrow)


def _wraps_labels(block: Block) -> bool:
    return max(map(len, _labels(block))) > 2 * _WRAPPED


def _labels(block: Block) -> list[str]:
    return [block.row_heading, *(row.label for row in block.rows)]


def _label_width(block: Block) -> float:
    if _wraps_labels(block):
        return 1.6 * _NARROWEST + 2 * _SEPARATION
    return max(map(_points, _labels(block))) + 2 * _SEPARATION


def _shares(columns: Sequence[_Column], label: float) -> list[list[_Column]]:
    """Columns for one table after another, as many in each as its width holds."""
    shares: list[list[_Column]] = [[]]
    left = WIDTH - label
    for column in columns:
        if shares[-1] and column.width > left:
            shares.append([])
            left = WIDTH - label
        shares[-1].append(column)
        left -= column.width
    return shares


def _pages(rows: Sequence[TableRow]) -> list[Sequence[TableRow]]:
    """Rows for one page after another; a cell of many characters counts as several lines."""
    pages: list[list[TableRow]] = [[]]
    used = 0.0
    for row in rows:
        longest = max((len(entry.text) for entry in row.entries), default=0)
        lines = 1 + max(longest - _WRAPPED, 0) // 24 + bool(row.heading)
        if pages[-1] and used + lines > _LINES:
            pages.append([])
            used = 0.0
        pages[-1].append(row)
        used += lines
    return [*pages]


# ---------------------------------------------------------------- characters


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _breakable(text: str) -> str:
    """Paths, hashes and names with hyphens may break after a mark, others as LaTeX does it."""
    words = []
    for word in text.split(" "):
        parts = re.split(r"(?<=[/_=:,.-])(?=.)", word) if len(word) > 16 else [word]
        words.append(r"\allowbreak{}".join(map(_latex, parts)))
    return " ".join(words)
