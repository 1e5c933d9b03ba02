"""The report's page on the paper's claims: the pair of verdicts first, then what explains it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.effects import verdict_on
from benchmark.plan import experiments
from benchmark.render.document import Block, percent
from benchmark.render.tables.build import BuiltTable

SECTIONS = {
    "primary": "Is FindRec above every other row?",
    "retention": "What does the history cost each row?",
    "machinery": "Does the machinery help?",
    "claims": "The paper’s claims",
    "readings": "Readings of the paper",
    "specifications": "Every combination of four open choices",
    "four-ways": "FindRec, four ways",
    "diagnose": "Which protocol could have given the printed levels?",
    "power": "What could be shown",
}
"""In the page's order; the experiment or command that each shows -> its heading."""


_FURTHER = {"retention": ("retention-doses",)}
"""Pictures beside the one that has the section's name."""


@dataclass(frozen=True)
class PairLine:
    """A claim about the best row under one protocol."""

    claim: str
    history: str
    word: str
    margin: str
    """Over the row that is best on validation, with its interval; "" without runs."""


@dataclass(frozen=True)
class Pair:
    """P1 and P2 on one dataset, and what they say together."""

    dataset: str
    sentence: str
    lines: tuple[PairLine, ...]


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    figures: tuple[str, ...]
    """Names of its pictures that are drawn."""
    missing: str
    """Why nothing is shown; "" where something is."""


def pairs(tables: Sequence[BuiltTable], titles: dict[str, str]) -> list[Pair]:
    """Of the table `primary`, where it has runs. titles: of datasets, by name."""
    judged = next((t.judged for t in tables if t.document.name == "primary" and has_runs(t)), None)
    if judged is None:
        return []
    found = []
    for dataset in dict.fromkeys(one.dataset for one in judged.best):
        own = {one.protocol: one for one in judged.best if one.dataset == dataset}
        lines = []
        for one in own.values():
            margin = ""
            if one.margin is not None:
                value, low, high = one.margin.relative
                interval = "" if np.isnan(low) else f" ({percent(low)} to {percent(high)})"
                margin = f"{percent(value)}{interval} over {one.strongest}"
            lines.append(PairLine(one.claim, f"history {one.protocol}", one.word, margin))
        subject = own["kept"].subject
        sentence = verdict_on(own["kept"].word, own["left out"].word, subject)
        found.append(Pair(titles.get(dataset, dataset), sentence, tuple(lines)))
    return found


def sections(
    tables: Sequence[BuiltTable], figures: Sequence[str], power: Block, *, ledger: bool
) -> list[Section]:
    """The page's sections; of a table its blocks without details. ledger: whether `claims` ran."""
    by_name = {table.document.name: table for table in tables}
    found = []
    for name, title in SECTIONS.items():
        if name not in (*experiments(), "claims", "power"):
            continue
        blocks: tuple[Block, ...] = (power,) if name == "power" else ()
        missing = ""
        table = by_name.get(name)
        if table is not None and has_runs(table):
            blocks = tuple(block for block in table.document.blocks if not block.detail)
        elif name not in ("power", "claims") or (name == "claims" and not ledger):
            missing = f"./reproduce.sh {name}"
        own = () if missing else tuple(f for f in (name, *_FURTHER.get(name, ())) if f in figures)
        found.append(Section(name, title, blocks, own, missing))
    return found


def has_runs(table: BuiltTable) -> bool:
    """Whether any run stands behind it."""
    return any(table.shown.values())
