"""The answer of a table in a line a dataset: does the paper's method beat the best other row?

The best other row is the one with the best validation, of each protocol by itself, so that no test
rank has a say in whom the method is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import Comparison, CrossedBootstrap
from benchmark.analyse.statistics import RULES, FloatArray, Rules
from benchmark.evaluate.metrics import per_user
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult

HISTORIES: Mapping[str, bool] = {"history kept": False, "left out": True}
"""Protocol, as the lines say it -> whether the history is masked."""


@dataclass(frozen=True)
class AgainstBest:
    """A method against the best other row of one dataset, under one protocol."""

    other: str
    protocol: str
    result: Comparison


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
    for protocol, masked in HISTORIES.items():
        validation = {
            name: float(np.mean(_values([r.validation for r in runs], rules.metric, masked)))
            for name, runs in rows.items()
        }
        other = max((name for name in rows if name != method), key=lambda name: validation[name])
        values = {
            name: _values([run.test for run in rows[name]], rules.metric, masked)
            for name in (method, other)
        }
        result = CrossedBootstrap(values, rules).compare(method, other)
        found.append(AgainstBest(other, protocol, result))
    return found


def verdict_line(
    dataset: str, method: str, found: Sequence[AgainstBest], rules: Rules = RULES
) -> str:
    """One sentence: "beauty: FindRec is not shown to beat SASRec (history kept: +4.0 %, -2.1 to
    +10.4) and is worse than NOVA (left out: -11.2 %, -16.0 to -5.9)"."""
    few = min(min(one.result.n_seeds) for one in found)
    if few < rules.minimum_seeds:
        return f"{dataset}: no verdict on {few} seeds, it needs {rules.minimum_seeds}"
    clauses = []
    for one in found:
        clauses.append(f"{_verb(one.result)} {one.other} ({one.protocol}: {_figures(one.result)})")
    return f"{dataset}: {method} {' and '.join(clauses)}"


def _verb(result: Comparison) -> str:
    if result.verdict == "replicated":
        return "beats"
    if result.verdict == "contradicted":
        return "is worse than" if result.high < 0 else "does not beat"
    return "is not shown to beat"


def _figures(result: Comparison) -> str:
    if np.isnan(result.low):
        return f"{result.note or 'no interval'}"
    low, high = (f"{100 * end:+.1f}" for end in (result.low, result.high))
    return f"{100 * result.difference:+.1f} %, {low} to {high}"


def _values(ranks: Sequence[Ranks | None], metric: str, masked: bool) -> FloatArray:
    """[U, S]. Raises ValueError for a run without ranks, or unequal users."""
    if any(one is None for one in ranks):
        raise ValueError("a run without ranks was taken for a finished one")
    return np.stack([per_user(r, metric, masked=masked) for r in ranks if r is not None], axis=1)
