"""What stands behind a table's marks: the comparisons that were fixed beforehand, and what of them
history items cost. Background blocks of one dataset."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analyse.cells import CellSpec, Table
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.render.document import Block, Entry, TableRow, number, p_value, percent
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import ByMethod

HEADINGS: dict[History, str] = {"kept": "history kept", "left out": "history left out"}


def verdicts(table: Table, note: DatasetNote) -> list[Block]:
    """The subject of each family against every other member, in `Rules.metric`."""
    own = _of(table.verdicts, note.name)
    rows = []
    for protocol in PROTOCOLS:
        for at, line in enumerate(own[own["protocol"] == protocol].to_dict("records")):
            heading = "" if at else HEADINGS[protocol]
            rows.append(TableRow(_pair(line), _verdict(line), heading, not at))
    if not rows:
        return []
    headings = (
        *("difference", "95 % interval", "smallest detectable", "verdict"),
        *("Holm p", "paired t p", "Welch p", "Wilcoxon p", "Hedges g"),
    )
    notes = (
        f"Relative difference in {RULES.metric}, by the crossed bootstrap over users and seeds, of "
        "comparisons that were fixed beforehand. A verdict is that of its own interval; among so "
        "many some fall out so by chance, which Holm's p allows for: it runs over all of the "
        "table. The tests over seeds alone stand beside it and decide nothing.",
    )
    title = f"Comparisons on {note.title}"
    return [Block(title, "comparison", headings, tuple(rows), notes, detail=True)]


def price_of_history(
    table: Table, cell_specs: Sequence[CellSpec], note: DatasetNote, labels: Sequence[str]
) -> list[Block]:
    """What every row keeps of its score when history items compete, and what that does to the
    comparisons. labels: of the cell specs."""
    kept = {(r["row"], r["column"]): r for r in _of(table.retentions, note.name).to_dict("records")}
    terms = {r["versus"]: r for r in _of(table.decompositions, note.name).to_dict("records")}
    subjects = {(r["row"], r["column"]) for r in terms.values()}
    compared = len(subjects) == 1  # one subject: its differences have columns beside the rows
    rows = []
    for cell_spec, label in zip(cell_specs, labels, strict=True):
        own = kept.get((cell_spec.row, cell_spec.key.column))
        if own is None:
            continue
        texts = [number(own["retention"], 3), _ends(own["low"], own["high"])]
        if compared:
            line = terms.get(cell_spec.key.label)
            names = ("kept", "left_out", "retention")
            texts += [_term(line, name) if line is not None else "" for name in names]
        rows.append(TableRow(label, tuple(Entry(text) for text in texts)))
    if not rows:
        return []
    headings: tuple[str, ...] = ("kept / left out", "95 % interval")
    notes = [
        f"kept / left out: the share of its {RULES.metric} that a row keeps when the items of the "
        "user's own history compete, with its interval over users and seeds."
    ]
    if compared:
        ((row, _),) = subjects
        headings += ("difference, history kept", "difference, left out", "price of history items")
        notes.append(
            f"Differences are {row}'s from the row; log(A/B) kept = log(A/B) left out + log of the "
            "ratio of what both keep. That last term, the price of history items, describes and is "
            "no cause."
        )
    title = f"What history items cost on {note.title}"
    return [Block(title, "row", headings, tuple(rows), tuple(notes), detail=True)]


def variant_effects(
    table: Table,
    cell_specs: Sequence[CellSpec],
    note: DatasetNote,
    labels: Sequence[str],
    shown: ByMethod,
) -> Block:
    """Every method as it is against its variants. labels: of the cell specs."""
    base = shown.labels["base"]
    rows = []
    own = _of(table.verdicts, note.name)
    for cell_spec, label in zip(cell_specs, labels, strict=True):
        lines = own[(own["row"] == cell_spec.row) & (own["versus"] == cell_spec.key.label)]
        if lines.empty:
            continue
        by_protocol = {r["protocol"]: r for r in lines.to_dict("records")}
        entries = []
        for protocol in PROTOCOLS:
            line = by_protocol[protocol]
            entries += [
                Entry(percent(line["difference"])),
                Entry(_interval(line["low"], line["high"])),
            ]
        rows.append(TableRow(f"{base} against: {label}", tuple(entries)))
    headings = tuple(
        text for protocol in PROTOCOLS for text in (HEADINGS[protocol], "95 % interval")
    )
    notes = (
        f"Relative difference in {RULES.metric} of each method as it is ({base}) from the same "
        "method otherwise; intervals over users and seeds.",
    )
    return Block(
        f"What {shown.adds} on {note.title}",
        "comparison",
        headings,
        tuple(rows),
        notes,
        terminal=False,
    )


def _of(frame: pd.DataFrame, dataset: str) -> pd.DataFrame:
    if frame.empty:
        return frame
    return frame[(frame["dataset"] == dataset) & (frame["metric"] == RULES.metric)]


def _pair(line: dict[Any, Any]) -> str:
    return f"{line['row']} {line['column']}".rstrip() + f" vs {line['versus']}"


def _verdict(line: dict[Any, Any]) -> tuple[Entry, ...]:
    said = {"replicated": "better", "contradicted": "not better"}
    verdict = said.get(line["verdict"], line["verdict"])
    if line["note"]:
        verdict = f"{verdict}: {line['note']}" if verdict else line["note"]
    texts = (
        *(percent(line["difference"]), _interval(line["low"], line["high"])),
        *(percent(line["smallest_detectable"]), verdict, p_value(line["p_holm"])),
        *(p_value(line["p_paired"]), p_value(line["p_welch"]), p_value(line["p_wilcoxon"])),
        number(line["effect_hedges"], 2),
    )
    return tuple(Entry(text) for text in texts)


def _term(line: dict[Any, Any], name: str) -> str:
    value, low, high = np.expm1([line[name], line[f"{name}_low"], line[f"{name}_high"]])
    return f"{percent(float(value))} {_interval(float(low), float(high))}".rstrip()


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{percent(low)}, {percent(high)}]"


def _ends(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{number(low, 3)}, {number(high, 3)}]"
