"""How far a constant alone would suppress the items of a user's history.

With the history kept, a row is paid for ranking history items low, which takes no knowledge of what
comes next. Here every history item's score is lowered by one and the same c, in standard deviations
of the scores of the query: no new model, one number a row, chosen by NDCG@10 on validation with the
history kept. What two rows differ by after that, the history cannot explain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.analyse.columns import stacked
from benchmark.analyse.rules import RULES
from benchmark.analyse.statistics import FloatArray
from benchmark.evaluate.metrics import per_user
from benchmark.runs.ranks import PENALTIES, Ranks
from benchmark.runs.schema import RunResult

CHOICES = (0.0, *PENALTIES, np.inf)
"""No constant, those that were counted, and one that leaves the history out."""


@dataclass(frozen=True)
class Suppressed:
    """One row with the constant that suits it best on validation."""

    penalty: float
    """Standard deviations of a query's scores; infinite where leaving the history out is best."""
    values: FloatArray
    """[U, S] of the test targets, the history kept and its scores lowered."""


def with_penalty(ranks: Ranks, penalty: float) -> Ranks:
    """The ranks with the history kept, its scores lowered by one of `CHOICES`. Raises ValueError
    for another penalty, and for ranks of which lowered scores were not counted."""
    if penalty == 0:
        return ranks
    if np.isinf(penalty):
        return replace(ranks, above=ranks.above_masked, equal=ranks.equal_masked)
    if ranks.lowered is None or penalty not in PENALTIES:
        raise ValueError(f"history scores lowered by {penalty} were not counted for these ranks")
    left = ranks.lowered[:, PENALTIES.index(penalty)]
    return replace(ranks, above=ranks.above_masked + left, equal=ranks.equal_masked)


def are_lowered(ranks: Ranks | None) -> bool:
    """Whether the ranks under lowered scores were counted and are stored."""
    return ranks is not None and ranks.lowered is not None


def suppress(runs: Sequence[RunResult], metric: str = RULES.metric) -> Suppressed:
    """A row's finished runs, one at least, under the penalty that is best on their validation; the
    smaller one where several are equal. Where the counts of a split are not stored it is infinite,
    which is always among the best. Raises ValueError for a run without ranks."""
    tests = [run.test for run in runs if run.test is not None]
    if len(tests) < len(runs):
        raise ValueError("a run without ranks was taken for a finished one")
    if all(are_lowered(run.validation) and are_lowered(run.test) for run in runs):
        best = max(CHOICES, key=lambda penalty: _on_validation(runs, penalty, metric))
    else:  # no penalty leaves fewer items above a target than leaving the history out does
        best = np.inf
    values = [per_user(with_penalty(test, best), metric) for test in tests]
    return Suppressed(best, stacked(values, runs))


def _on_validation(runs: Sequence[RunResult], penalty: float, metric: str) -> float:
    """Mean over users and seeds."""
    ranked = [run.validation for run in runs if run.validation is not None]
    return float(np.mean([per_user(with_penalty(v, penalty), metric).mean() for v in ranked]))
