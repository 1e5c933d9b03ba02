"""The answer of a table in a line a dataset: does the paper's method beat the best other row?

The best other row is the one with the best validation, of each protocol by itself, so that no test
rank has a say in whom the method is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import Comparison, CrossedBootstrap, Score
from benchmark.analyse.statistics import RULES, FloatArray, Rules
from benchmark.evaluate.metrics import History, per_user
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult

HISTORIES: Mapping[History, str] = {"kept": "history kept", "left out": "left out"}
"""Protocol -> as the lines say it."""


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
    for protocol, said in HISTORIES.items():
        others = {name: runs for name, runs in rows.items() if name != method}
        other = best_on_validation(others, protocol, rules)
        scores = {  # named as in the tables, so that the draws of the seeds are theirs
            name: Score(str(rows[name][0].record.spec.key), rules.metric, protocol)
            for name in (method, other)
        }
        values = {
            score: _values([run.test for run in rows[name]], rules.metric, protocol)
            for name, score in scores.items()
        }
        result = CrossedBootstrap(values, rules).compare(scores[method], scores[other])
        found.append(AgainstBest(other, said, result))
    return found


def best_on_validation(
    rows: Mapping[str, Sequence[RunResult]], protocol: History, rules: Rules = RULES
) -> str:
    """The row with the best mean on validation, over users and its finished seeds.

    rows: name -> finished runs, one at least. Raises ValueError where there is no row, or a run
    has no ranks on validation.
    """
    means = {
        name: float(np.mean(_values([run.validation for run in runs], rules.metric, protocol)))
        for name, runs in rows.items()
    }
    return max(means, key=lambda name: means[name])


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
        verb = verdict_verb(one.result.verdict, one.result.high)
        clauses.append(f"{verb} {one.other} ({one.protocol}: {_figures(one.result)})")
    return f"{dataset}: {method} {' and '.join(clauses)}"


def verdict_verb(verdict: str, high: float) -> str:
    """What a verdict says of a method and another one; high: upper end of the interval of their
    difference."""
    if verdict == "replicated":
        return "beats"
    if verdict == "contradicted":
        return "is worse than" if high < 0 else "does not beat"
    return "is not shown to beat"


def _figures(result: Comparison) -> str:
    if np.isnan(result.low):
        return f"{result.note or 'no interval'}"
    low, high = (f"{100 * end:+.1f}" for end in (result.low, result.high))
    return f"{100 * result.difference:+.1f} %, {low} to {high}"


def _values(ranks: Sequence[Ranks | None], metric: str, protocol: History) -> FloatArray:
    """[U, S]. Raises ValueError for a run without ranks, or unequal users."""
    if any(one is None for one in ranks):
        raise ValueError("a run without ranks was taken for a finished one")
    masked = protocol == "left out"
    return np.stack([per_user(r, metric, masked=masked) for r in ranks if r is not None], axis=1)
