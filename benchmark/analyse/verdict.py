"""The answer of a table in a line a dataset: does the paper's method beat the best other row?

The best other row is the one with the best validation, of each protocol by itself, so that no test
rank has a say in whom the method is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import Comparison, CrossedBootstrap, Score
from benchmark.analyse.columns import user_scores
from benchmark.analyse.rules import RULES, Rules
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.runs.schema import RunResult


@dataclass(frozen=True)
class AgainstBest:
    """A method against the best other row of one dataset, under one protocol."""

    other: str
    protocol: History
    result: Comparison
    gaining: str = ""
    """The row that loses, if its budget is known to be too short."""


def against_best(
    method: str, rows: Mapping[str, Sequence[RunResult]], rules: Rules = RULES
) -> list[AgainstBest]:
    """The method against the row that is best on validation, one entry a protocol.

    rows: name -> finished runs of one dataset, a run a seed, the method's among them. Raises
    ValueError where there is no other row, or rows were ranked on different users.
    """
    if set(rows) <= {method}:
        raise ValueError(f"{method} has no other row to be compared with")
    found = []
    for protocol in PROTOCOLS:
        others = {name: runs for name, runs in rows.items() if name != method}
        other = best_on_validation(others, protocol, rules)
        # named as in the tables, whose draws these are
        names = {
            name: Score(str(rows[name][0].record.spec.key), rules.metric, protocol)
            for name in (method, other)
        }
        values = {
            score: user_scores(rows[name], rules.metric, protocol) for name, score in names.items()
        }
        result = CrossedBootstrap(values, rules).compare(names[method], names[other])
        loser = {"replicated": other, "contradicted": method}.get(result.verdict)
        known = loser is not None and rows[loser][0].record.spec.convergence == "gaining"
        found.append(AgainstBest(other, protocol, result, loser if known and loser else ""))
    return found


def best_on_validation(
    rows: Mapping[str, Sequence[RunResult]], protocol: History, rules: Rules = RULES
) -> str:
    """The row with the best mean on validation, over users and its finished seeds.

    rows: name -> finished runs, one at least. Raises ValueError where there is no row, or a run
    has no ranks on validation.
    """
    means = {
        name: float(user_scores(runs, rules.metric, protocol, "validation").mean())
        for name, runs in rows.items()
    }
    return max(means, key=lambda name: means[name])


def verdict_line(
    dataset: str, method: str, found: Sequence[AgainstBest], rules: Rules = RULES
) -> str:
    """One sentence: "beauty: FindRec is not shown to beat SASRec (history kept: +4.0 %, -2.1 to
    +10.4) and is worse than NOVA (left out: -11.2 %, -16.0 to -5.9)". Figures are the relative
    difference and the ends of its interval."""
    few = min(min(one.result.n_seeds) for one in found)
    if few < rules.minimum_seeds:
        return f"{dataset}: no verdict on {few} seeds, it needs {rules.minimum_seeds}"
    text, verb, other = f"{dataset}: {method}", "", ""
    for one in found:
        figures = f"{_NAMES[one.protocol]}: {_figures(one)}"
        own = verdict_verb(one.result.verdict, one.result.high)
        if own != verb:
            text += f"{' and' if verb else ''} {own} {one.other} ({figures})"
        elif one.other != other:
            text += f" {_JOINS[own]} {one.other} ({figures})"
        else:
            text = f"{text.removesuffix(')')}; {figures})"
        verb, other = own, one.other
    return text


_NAMES: dict[History, str] = {"kept": "history kept", "left out": "left out"}

_JOINS = {
    "beats": "and",
    "is worse than": "and",
    "does not gain 1 % over": "nor",
    "is not shown to beat": "nor",
    "cannot be compared with": "nor",
}


NO_GAIN = "does not gain 1 % over"


def verdict_verb(verdict: str, high: float) -> str:
    """What a verdict says of a method and another one. high: upper end of the interval of their
    relative difference, NaN where there is none."""
    if np.isnan(high):
        return "cannot be compared with"
    if verdict == "replicated":
        return "beats"
    if verdict == "contradicted":
        return "is worse than" if high < 0 else NO_GAIN
    return "is not shown to beat"


def _figures(one: AgainstBest) -> str:
    result = one.result
    if np.isnan(result.low):
        return result.note
    low, high = (f"{100 * end:+.1f}" for end in (result.low, result.high))
    note = f", {one.gaining} was still gaining at its budget" if one.gaining else ""
    return f"{100 * result.difference:+.1f} %, {low} to {high}{note}"
