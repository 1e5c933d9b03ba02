"""Tables in LaTeX and Markdown source, as fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rankaudit.errors import InputError
from rankaudit.metrics import Metric
from rankaudit.reading import Table
from rankaudit.text_table import Record

_TABULAR = re.compile(
    r"\\begin\{(?P<name>tabular[*xy]?|tabulary|longtable)\}(?P<body>.*?)\\end\{(?P=name)\}", re.S
)
_RULES = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot|centering|small"
    r"|footnotesize|scriptsize|thickhline|hdashline(?:\[[^\]]*\])?|addlinespace(?:\[[^\]]*\])?"
    r"|(?:cline|cmidrule|specialrule|rowcolor|arrayrulecolor|noalign|cdashline(?:lr)?|hhline"
    r"|X[hc]line)(?:\([^)]*\))?(?:\[[^\]]*\])?(?:\{[^{}]*\})+)"
)
_SPAN = re.compile(
    r"\\multi(?P<way>column|row)\s*(?:\[[^\]]*\])?\{(?P<count>-?\d+|\*)\}\s*(?:\[[^\]]*\])?"
    r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}\s*(?:\[[^\]]*\])?\{"
)
_HAS_NUMBER = re.compile(r"^\W*(?:\\[A-Za-z]+\{)*\W*[+-]?(?:\d+[.,]\d+|\.\d+)")
_DROPPED = re.compile(
    r"\\(?:cite[tp]?|footnote(?:mark)?|ref|label|cellcolor|rotatebox)\*?(?:\[[^\]]*\])*\s*\{[^{}]*\}"
)
_SHOWN = re.compile(r"\\(?:[A-Za-z]+)\s*\{([^{}]*)\}")


def latex_tables(text: str, where: str) -> Sequence[Table]:
    """Every tabular of a LaTeX source, or the whole source as the body of one.

    Rules (`\\hline` and the like), colours and comments are dropped; `\\multirow` fills the cells
    below it, `\\multicolumn` those beside it. The header is what stands above the first row with a
    decimal number. Raises InputError if a row has more fields than the header.
    """
    text = re.sub(r"(?<!\\)((?:\\\\)*)%.*", r"\1", text).replace("\\tabularnewline", "\\\\")
    text = _in_one_line(text)
    found = list(_TABULAR.finditer(text))
    bodies = [
        (match["body"], match.start("body"), _label(text, match.start(), match.end()))
        for match in found
    ] or [(text, 0, "")]
    tables = []
    for number, (body, start, label) in enumerate(bodies, start=1):
        name = label or (str(number) if len(bodies) > 1 else "")
        line = text.count("\n", 0, start) + 1
        table = _latex_table(body if not found else _after_columns(body), name, line, where)
        if table is not None:
            tables.append(table)
    if not tables:
        raise InputError(f"{where}: no LaTeX table with numbers was found")
    return tables


_STACKED = re.compile(r"\\(?:makecell|shortstack|thead)\s*(?:\[[^\]]*\])?\{")
_EDGE = re.compile(r"\\(begin|end)\{(?:tabular[*xy]?|tabulary|longtable)\}")


def _in_one_line(text: str) -> str:
    """The source with cells of several lines (`\\makecell{A\\\\B}`, a tabular in a cell) in one, so
    that their line breaks end no row."""
    at = 0
    while (match := _STACKED.search(text, at)) is not None:
        close = _closing(text, match.end() - 1)
        inner = text[match.end() : close].replace("\\\\", " ")
        text = text[: match.start()] + "{" + inner + text[close:]
        at = match.start() + 1
    opened: list[re.Match[str]] = []
    cells: list[tuple[int, int, str]] = []
    for edge in _EDGE.finditer(text):
        if edge[1] == "begin":
            opened.append(edge)
        elif opened and (begin := opened.pop()) and len(opened) == 1:
            inner = _after_columns(text[begin.end() : edge.start()])
            flat = re.sub(r"\\\\|&", " ", inner)
            lines = text.count("\n", begin.start(), edge.end()) - flat.count("\n")
            cells.append((begin.start(), edge.end(), flat.strip() + "\n" * max(lines, 0)))
    for start, end, cell in reversed(cells):
        text = text[:start] + cell + text[end:]
    return text


def _label(text: str, start: int, end: int) -> str:
    """The `\\label` of the float around a tabular, without `tab:`."""
    opened = text.rfind("\\begin{table", 0, start)
    if opened < 0 or "\\end{table" in text[opened:start]:
        return ""
    closed = text.find("\\end{table", end)
    match = re.search(r"\\label\{([^{}]*)\}", text[opened : closed if closed > 0 else len(text)])
    return match[1].removeprefix("tab:").removeprefix("table:") if match else ""


def _after_columns(body: str) -> str:
    """The body without the column specification (and a width) that follows `\\begin{...}`."""
    at = 0
    while True:
        match = re.compile(r"\s*(?:\[[^\]]*\])?\s*\{").match(body, at)
        if match is None:
            return body[at:]
        close = _closing(body, match.end() - 1)
        if "&" in body[at:close]:
            return body[at:]
        at = close + 1


def _closing(text: str, opening: int) -> int:
    """Where the brace that opens at `opening` closes, or the end of the text."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "\\":
            continue
        if text[at] == "{" and text[at - 1] != "\\":
            depth += 1
        elif text[at] == "}" and text[at - 1] != "\\":
            depth -= 1
            if depth == 0:
                return at
    return len(text) - 1


def _latex_table(body: str, name: str, line: int, where: str) -> Table | None:
    rows: list[tuple[int, list[str]]] = []
    below: dict[int, tuple[int, str]] = {}  # column: rows still to fill, and with what
    at = 0
    for part in [*re.finditer(r"(.*?)\\\\(?:\s*\[[^\]]*\])?|(.+)\Z", body, re.S)]:
        raw = part[0]
        content = _RULES.sub("", re.sub(r"\\\\(?:\s*\[[^\]]*\])?\Z", "", raw))
        first = line + body.count("\n", 0, at + len(raw) - len(raw.lstrip()))
        at = part.end()
        if not content.strip():
            continue
        fields, above = _latex_fields(content, below)
        for column, number, shown in above:
            for _, earlier in rows[-number:]:
                if column < len(earlier) and not earlier[column]:
                    earlier[column] = shown
        rows.append((first, fields))
    width = max((len(fields) for _, fields in rows), default=0)
    return _assemble(rows, width, name, "latex", where)


def _latex_fields(
    content: str, below: dict[int, tuple[int, str]]
) -> tuple[list[str], list[tuple[int, int, str]]]:
    """A row's fields, and what fills the rows above it: column, number of rows, text."""
    fields: list[str] = []
    upwards: list[tuple[int, int, str]] = []
    for text in re.split(r"(?<!\\)&", content):
        text, columns, rows = _spans(text.strip())
        for _ in range(columns):
            column = len(fields)
            left, above = below.get(column, (0, ""))
            if left > 0:
                below[column] = (left - 1, above)
                text_here = text or above
            else:
                text_here = text
            if rows > 1:
                below[column] = (rows - 1, text)
            elif rows < -1:
                upwards.append((column, -rows - 1, text))
            fields.append(text_here)
    return fields, upwards


def _spans(text: str) -> tuple[str, int, int]:
    """A cell without `\\multicolumn` and `\\multirow`, and how many columns and rows it takes; the
    rows are below 0 where it spans those above it."""
    columns = rows = 1
    while (match := _SPAN.search(text)) is not None:
        close = _closing(text, match.end() - 1)
        count = 1 if match["count"] == "*" else int(match["count"])
        if match["way"] == "column":
            columns = abs(count)
        else:
            rows = count
        text = (text[: match.start()] + text[match.end() : close] + text[close + 1 :]).strip()
    return text, columns, rows


def markdown_tables(text: str, where: str) -> Sequence[Table]:
    """Every Markdown table of a text: a header, a line of `|---|`, and rows."""
    lines = text.split("\n")
    tables: list[Table] = []
    for i, line in enumerate(lines):
        if i == 0 or not re.fullmatch(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*", line):
            continue
        if "|" not in line or "|" not in lines[i - 1]:
            continue
        rows = [(i, _markdown_fields(lines[i - 1]))]
        for j in range(i + 1, len(lines)):
            if "|" not in lines[j]:
                break
            rows.append((j + 1, _markdown_fields(lines[j])))
        width = len(rows[0][1])
        table = _assemble(rows, width, str(len(tables) + 1), "markdown", where, header_rows=1)
        if table is not None:
            tables.append(table)
    if len(tables) == 1:
        (only,) = tables
        return [Table("", only.source, only.header, only.records, only.header_line)]
    return tables


def _markdown_fields(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [field.strip().replace("\\|", "|") for field in re.split(r"(?<!\\)\|", inner)]


def _assemble(
    rows: Sequence[tuple[int, list[str]]],
    width: int,
    name: str,
    source: str,
    where: str,
    header_rows: int | None = None,
) -> Table | None:
    """Header and records; None where there is no header or nothing below it."""
    if header_rows is None:
        header_rows = next(
            (i for i, (_, fields) in enumerate(rows) if any(map(_HAS_NUMBER.match, fields))), None
        )
        if header_rows is None or header_rows == 0:
            return None
        # A heading over the first rows, such as a dataset's name, is not part of the header.
        while header_rows > 1 and not _is_header(rows[header_rows - 1][1]):
            header_rows -= 1
    if source == "latex":
        width = max(len(fields) for _, fields in rows[:header_rows])
    records = []
    for line, fields in rows[header_rows:]:
        if len(fields) > width:
            raise InputError(
                f"{where}, line {line}: {len(fields)} fields, but the header has {width}"
            )
        records.append(Record(line, line, [*fields, *[""] * (width - len(fields))]))
    if not records:
        return None
    levels = [[*fields, *[""] * (width - len(fields))] for _, fields in rows[:header_rows]]
    header = tuple(tuple(level[column] for level in levels) for column in range(width))
    return Table(name, source, header, tuple(records), header_line=rows[0][0])


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a row above the numbers heads columns: several different texts, or a metric."""
    texts = {text for text in fields if text}
    return len(texts) > 1 or any(Metric.parse(plain(text)) for text in texts)


def plain(text: str) -> str:
    """A name without LaTeX, Markdown marks, arrows and footnote symbols."""
    text = text.replace("\\%", "%").replace("\\_", "_").replace("\\&", "&").replace("\\#", "#")
    text = text.replace("$", "").replace("~", " ").replace("\\$", "$")
    text = _DROPPED.sub("", text)
    before = None
    while before != text:
        before = text
        text = _SHOWN.sub(r"\1", text)
    text = re.sub(r"\^\{?[*†‡+\\a-z]*\}?", "", text)
    text = re.sub(r"\\(?:bf|it|uparrow|downarrow|dagger|ddagger|quad|textsuperscript)\b", "", text)
    text = re.sub(r"[{}↑↓]|\*\*|</?\w+ ?/?>", "", text).replace("()", "")
    text = re.sub(r"^([*_]{1,2})(.+)\1$", r"\2", text.strip())
    return re.sub(r"\s+", " ", text).strip(" \\")


def distinct(texts: Sequence[str]) -> Iterator[str]:
    """The texts that are not empty, each once, in order."""
    yield from dict.fromkeys(text for text in texts if text)
