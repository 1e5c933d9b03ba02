"""Every two rows of a table against one another, worked out beforehand for the report's picker.

Plain data for the page's script. Of a pair (A, B) stand there, by `FIELDS`, logs of the ratio A / B
with the ends of their intervals, so that B against A is the same with the signs turned, and numbers
of users. The numbers are those of `benchmark.analyse`: `CrossedBootstrap.compare`,
`decompose_scores` and `user_outcomes`, over the resamples that the whole table shares.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.cells import CellSpec, Table
from benchmark.analyse.decomposition import decompose_scores
from benchmark.analyse.outcomes import user_outcomes
from benchmark.analyse.rules import RULES
from benchmark.analyse.verdict import NO_GAIN, verdict_verb
from benchmark.evaluate.metrics import PROTOCOLS, SHOWN_METRICS
from benchmark.render.document import p_value
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import category

METRICS = (RULES.metric, *(metric for metric in SHOWN_METRICS if metric != RULES.metric))
"""In the order in which they are offered."""

_TERMS = ("kept", "left_out", "price")
FIELDS = (
    *(f"{term}{end}" for term in _TERMS for end in ("", "_low", "_high")),
    *("detectable_kept", "detectable_left_out"),
    *(
        f"{outcome}_{protocol}{end}"
        for protocol in ("kept", "left_out")
        for outcome in ("win", "tie", "loss")
        for end in ("", "_low", "_high")
    ),
)
"""Of a pair (A, B): log(A / B) with the history kept and left out, and the log of the ratio of
their retentions, the price of history items; the smallest detectable relative difference under
either protocol; numbers of users whom A serves better, alike and worse, of the dataset's."""


def pairs_of_dataset(
    table: Table, cell_specs: Sequence[CellSpec], note: DatasetNote, *, sliced: bool
) -> dict[str, Any] | None:
    """The rows of one dataset and all their pairs; None where fewer than two have runs.

    `rows` are in the order of the table. `pairs` holds, by metric, the pairs (0, 1), (0, 2) ...
    (1, 2) ... of those rows, each the values of `FIELDS` and, where it has no interval, the reason
    after them. sliced: whether only some users take part, whose comparisons carry no verdict.
    """
    scores = table.scores.get((note.name, None, "test"))
    if scores is None:
        return None
    own = [c for c in cell_specs if c.score(RULES.metric, "kept") in scores.values]
    if len(own) < 2:
        return None
    return {
        "title": note.title,
        "users": scores.n_users,
        "rows": [_row(cell_spec, scores) for cell_spec in own],
        "pairs": {
            metric: [_pair(scores, a, b, metric) for a, b in combinations(own, 2)]
            for metric in METRICS
        },
        "verdicts": _verdicts(table, note.name, sliced=sliced),
    }


def _row(cell_spec: CellSpec, scores: CrossedBootstrap) -> dict[str, Any]:
    shown = scores.values[cell_spec.score(RULES.metric, "kept")].shape[1]
    return {
        "name": cell_spec.key.label,
        "control": category(cell_spec.run_key) == "control",
        "seeds": shown,
        "asked": len(cell_spec.runs),
        "means": {
            metric: [_rounded(scores.mean(cell_spec.score(metric, p))) for p in PROTOCOLS]
            for metric in METRICS
        },
    }


def _pair(scores: CrossedBootstrap, a: CellSpec, b: CellSpec, metric: str) -> list[Any]:
    """Values of `FIELDS`, None for NaN, and the reason where there is no interval."""
    parts = decompose_scores(scores, str(a.run_key), str(b.run_key), metric)
    found: list[float] = []
    for term in (parts.kept, parts.left_out, parts.retention):
        found += [term.value, term.low, term.high]
    compared = [scores.compare(a.score(metric, p), b.score(metric, p)) for p in PROTOCOLS]
    found += [result.smallest_detectable for result in compared]
    for protocol in PROTOCOLS:
        of_a, of_b = (scores.values[c.score(metric, protocol)] for c in (a, b))
        outcomes = user_outcomes(of_a, of_b, scores.rules)
        for share in (outcomes.win, outcomes.tie, outcomes.loss):
            found += [round(scores.n_users * x) for x in (share.value, share.low, share.high)]
    reason = next((text for text in (*(r.note for r in compared if _open(r.low)), parts.note)), "")
    return [*map(_rounded, found), *([reason] if reason else [])]


def _verdicts(table: Table, dataset: str, *, sliced: bool) -> dict[str, dict[str, str]]:
    """ "A|B" -> protocol -> what is said of the comparison, of those that were fixed beforehand."""
    frame = table.verdicts
    if not frame.empty:
        frame = frame[(frame["dataset"] == dataset) & (frame["metric"] == RULES.metric)]
    found: dict[str, dict[str, str]] = {}
    for line in frame.to_dict("records"):
        a = f"{line['row']} {line['column']}".rstrip()
        found.setdefault(f"{a}|{line['versus']}", {})[line["protocol"]] = (
            "no verdict: only the first users of the dataset take part"
            if sliced
            else _said(line, a)
        )
    return found


def _said(line: dict[Any, Any], a: str) -> str:
    if _open(line["p"]):
        return f"no verdict: {line['note']}"
    verb = verdict_verb(line["verdict"], line["high"])
    text = f"{a} {verb} {line['versus']}"
    p = p_value(line["p_holm"])
    p = p if p.startswith("<") else f"= {p}"
    if verb in ("beats", "is worse than") and line["p_holm"] >= RULES.alpha:
        text += f" by its own 95 % interval, not once all of the table are counted (Holm p {p})"
    elif verb != NO_GAIN:  # p is that of no difference, which this does not speak of
        text += f" (Holm p {p})"
    return f"{text}; {line['note']}" if line["note"] else text


def _open(value: float) -> bool:
    return math.isnan(value)


def _rounded(value: float) -> float | int | None:
    """Six significant digits, as the long CSV has them; None, JSON's null, for what is no number:
    NaN, or the log of a ratio with a zero in it."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None
