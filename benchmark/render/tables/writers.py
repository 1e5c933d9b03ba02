"""Documents as Markdown and on the terminal."""

import re
from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.render.document import Block, Document, Entry, TableRow

# ---------------------------------------------------------------- Markdown


def to_markdown(document: Document) -> str:
    """GitHub's Markdown; background blocks are folded."""
    parts = [f"# {document.title}", ""]
    for block in document.blocks:
        if block.detail:
            parts += ["<details>", f"<summary>{block.title}</summary>", ""]
        elif block.title:
            parts += [f"## {block.title}", ""]
        parts += [*markdown_grid(block), ""]
        parts += [f"{_escaped(note)}\n" for note in block.notes]
        if block.detail:
            parts += ["</details>", ""]
    parts += [f"- {mark}: {_escaped(meaning)}" for mark, meaning in document.legend()]
    parts += [f"- {_escaped(note)}" for note in document.notes]
    if document.problems:
        parts += ["", "Runs that are not in the numbers, or only with a mark:", ""]
        parts += [f"- {_escaped(problem)}" for problem in document.problems]
    return "\n".join(parts).rstrip() + "\n"


def markdown_grid(block: Block) -> list[str]:
    headings, align = [block.row_heading], [":--"]
    for at, heading in enumerate(block.headings):
        extra = ["paper"] * block.has_paper(at) + ["Δ"] * block.has_difference(at)
        headings += [heading, *extra]
        align += ["--:"] * (1 + len(extra))
    rows = [headings, align]
    width = len(headings)
    for row in block.rows:
        if row.heading:
            rows.append([f"*{row.heading}*", *[""] * (width - 1)])
        cells = [_escaped(row.label)]
        for at, entry in enumerate(row.entries):
            cells.append(_markdown_entry(entry))
            cells += [entry.paper] * block.has_paper(at)
            cells += [entry.difference] * block.has_difference(at)
        rows.append(cells)
    return ["| " + " | ".join(row) + " |" for row in rows]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of texts, and an empty line; "Not reached." without rows."""
    if not rows:
        return ["Not reached.", ""]
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in lines] + [""]


def _markdown_entry(entry: Entry) -> str:
    text = _escaped(entry.text)
    if entry.bold:
        text = f"**{text}**"
    if entry.underline:
        text = f"<u>{text}</u>"
    spread = f" ± {entry.spread}" if entry.spread else ""
    return f"{text}{spread}{entry.symbols.replace('*', chr(92) + '*')}"


def _escaped(text: str) -> str:
    return re.sub(r"([|*<_])", r"\\\1", text)


# ---------------------------------------------------------------- terminal

_NARROW = 3
"""A block with so many columns of ours at most has room for the paper's beside them."""


def to_terminal(document: Document) -> Group:
    """For 80 columns and more. The paper's numbers and the differences from them have columns of
    their own in a narrow block, and stand under ours in a wide one."""
    parts: list[RichTable | Text | Padding] = [Text(document.title, style="bold")]
    for block in document.blocks:
        if block.terminal and not block.detail:
            parts.append(_rich_grid(block))
            parts += [Padding(Text(note), (0, 1)) for note in block.notes]
    notes = [Text(f"{mark}  {meaning}", style="dim") for mark, meaning in document.legend()]
    notes += [Text(note, style="dim") for note in document.notes]
    notes += [Text(problem, style="red") for problem in document.problems[:8]]
    if len(document.problems) > 8:
        notes.append(Text(f"and {len(document.problems) - 8} more; see the written table", "red"))
    return Group(*parts, *(Padding(note, (0, 1)) for note in notes))


def _rich_grid(block: Block) -> RichTable:
    table = RichTable(
        title=block.title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        pad_edge=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    beside = len(block.headings) <= _NARROW
    table.add_column(block.row_heading)  # labels wrap before numbers are cut
    for at, heading in enumerate(block.headings):
        extra = ["paper"] * block.has_paper(at) + ["Δ"] * block.has_difference(at)
        for own in (heading, *extra) if beside else (heading,):
            table.add_column(own, justify="right", no_wrap=True)
    for index, row in enumerate(block.rows):
        if index and row.rule and not row.heading:
            table.add_section()
        if row.heading:
            if index:
                table.add_row()
            table.add_row(Text(row.heading, style="italic dim"))
        label = Text(row.label)
        if any(entry.bold for entry in row.entries):
            label.stylize("bold")
        if beside:
            table.add_row(label, *_rich_line(block, row))
            continue
        table.add_row(label, *(_rich_entry(entry) for entry in row.entries))
        if _has_second(row):
            second = Text("  paper", style="dim")
            table.add_row(second, *(_rich_second(entry) for entry in row.entries))
    return table


def _rich_line(block: Block, row: TableRow) -> Iterable[Text]:
    """A row's entries, each followed by the paper's number and the difference if any row has
    one."""
    for at, entry in enumerate(row.entries):
        yield _rich_entry(entry)
        if block.has_paper(at):
            yield Text(entry.paper, style="dim")
        if block.has_difference(at):
            yield _rich_difference(entry)


def _has_second(row: TableRow) -> bool:
    return any(entry.paper for entry in row.entries)


def _rich_entry(entry: Entry) -> Text:
    if not entry.spread and not entry.key:
        return Text(entry.text)
    style = " ".join(["bold"] * entry.bold + ["underline"] * entry.underline)
    known = entry.text[:1].isdigit()
    text = Text(entry.text, style=style if known else "dim")
    if entry.spread:
        text.append(f" ±{entry.spread.removeprefix('0')}", style="not bold not underline dim")
    return text.append(entry.symbols, style="not underline cyan")


def _rich_second(entry: Entry) -> Text:
    text = Text(entry.paper, style="dim")
    return text.append(" ").append(_rich_difference(entry)) if entry.difference else text


def _rich_difference(entry: Entry) -> Text:
    better = entry.difference.startswith("+")
    return Text(entry.difference, style="green not dim" if better else "yellow not dim")
