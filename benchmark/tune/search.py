"""The search of one row on one dataset: what to try next, given what has been tried.

1. Rates, then dropouts, at the second rung with the first seed: from the start to the neighbours of
   the best so far, until both are worse or the trials are used up. One point serves both protocols:
   the one with the highest geometric mean of NDCG@10 with the history kept and left out.
2. The ladder of budgets at the best rate and the next lower, first seed; the ladder with the better
   best rung is taken.
3. Where its best rung is not the largest, the row overfits with time, which the second rung could
   not tell: the ladder at the next larger dropout, and on, while its best rung is better.
4. The ladder again for the other seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.runs.spec import Convergence
from benchmark.tune.grid import Point, Trial, Tuning
from benchmark.tune.ladder import Budget, choose

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """A trial's metric per user, [U], under both protocols; none of a failed one."""

    values: Mapping[History, FloatArray] | None = None

    @property
    def score(self) -> float:
        """Geometric mean of both protocols' means; 0 of a failed trial."""
        if self.values is None:
            return 0.0
        return float(np.sqrt(np.prod([self.values[p].mean() for p in PROTOCOLS])))


@dataclass(frozen=True)
class Choice:
    """What the trials of a row on a dataset decide."""

    point: Point
    budgets: Mapping[History, Budget]

    @property
    def steps(self) -> int:
        """The larger of the two protocols' budgets."""
        return max(budget.rung for budget in self.budgets.values())

    @property
    def convergence(self) -> Convergence:
        """Of the row: that of the protocol that has shown least."""
        found = {budget.convergence for budget in self.budgets.values()}
        order: tuple[Convergence, ...] = ("gaining", "not shown", "shown")
        return next(c for c in order if c in found)


class Search:
    """The state of one row on one dataset."""

    def __init__(
        self,
        tuning: Tuning,
        rungs: Sequence[int],
        tried: Mapping[Trial, Tried],
        floor: Mapping[History, FloatArray] | None,
        fixed: Point | None = None,
    ) -> None:
        """tried: all trials of the row that have ended; floor: Popularity's metric per user; fixed:
        a point that stands without a search."""
        self.fixed = fixed
        self.tuning, self.rungs, self.tried, self.floor = tuning, tuple(rungs), tried, floor
        self.seed = tuning.seeds[0]

    def wanted(self) -> list[Trial]:
        """What can be run now; empty when all is decided. Budgets of one trunk come one by one, the
        shorter first, since the longer goes on from it."""
        top = self.top()
        if isinstance(top, list):
            return top
        more = [self._next(top, seed) for seed in self.tuning.seeds[1:]]
        return [trial for trial in more if trial is not None]

    def points(self) -> list[Point]:
        """Points that have been tried by the search, in the order of the grid."""
        ended = {t.point for t in self.tried if self._searched(t)}
        return sorted(ended)

    def point(self) -> Point | list[Trial]:
        """The best point, or the trials that it takes to know."""
        if self.fixed is not None:
            return self.fixed
        grid, start = self.tuning.grid, self.tuning.start
        at = start
        for axis, values in (("lr", grid.lr), ("dropout", grid.dropout)):
            found = self._climb(at, axis, values)
            if isinstance(found, list):
                return found
            at = found
        return at

    def top(self) -> Point | list[Trial]:
        """The point whose ladder has the best rung, or the trials that it takes to know; of equal
        ones the lower rate and the smaller dropout."""
        point = self.point()
        if isinstance(point, list):
            return point
        at_rates = [Point(lr, point.dropout) for lr in self._rates(point)]
        missing = [t for p in at_rates if (t := self._next(p, self.seed)) is not None]
        if missing:
            return missing
        best = max(sorted(at_rates), key=self._peak)
        for dropout in self.tuning.grid.dropout:
            if dropout <= best.dropout or self._score(best, self.rungs[-1]) == self._peak(best):
                continue
            larger = best._replace(dropout=dropout)
            trial = self._next(larger, self.seed)
            if trial is not None:
                return [trial]
            if self._peak(larger) <= self._peak(best):
                break
            best = larger
        return best

    def choice(self) -> Choice | None:
        """None while something is wanted, and where every seed of a rung has failed."""
        best = self.top()
        if isinstance(best, list) or self.wanted() or self.floor is None:
            return None
        budgets: dict[History, Budget] = {}
        for protocol in PROTOCOLS:
            columns: dict[int, FloatArray] = {}
            for rung in self.rungs:
                own = [self.tried[Trial(best, rung, seed)] for seed in self.tuning.seeds]
                found = [t.values[protocol] for t in own if t.values is not None]
                if len(found) < len(own):
                    return None
                columns[rung] = np.stack(found, axis=1)
            budgets[protocol] = choose(
                columns, self.floor[protocol], gain=self.tuning.gain, level=self.tuning.level
            )
        return Choice(best, budgets)

    # ------------------------------------------------------------------------------------------

    def _trial(self, point: Point) -> Trial:
        return Trial(point, self.rungs[1], self.seed)

    def _searched(self, trial: Trial) -> bool:
        return trial.steps == self.rungs[1] and trial.seed == self.seed

    def _climb(self, start: Point, axis: str, values: Sequence[float]) -> Point | list[Trial]:
        """Along one field from a point: the best of it and its neighbours, theirs in turn."""
        best = start
        while True:
            at = values.index(getattr(best, axis))
            near = [best._replace(**{axis: v}) for v in values[max(at - 1, 0) : at + 2]]
            missing = [self._trial(p) for p in near if self._trial(p) not in self.tried]
            left = self.tuning.trials - len(self.points())
            if missing and left > 0:
                return missing[:left]
            known = [p for p in near if self._trial(p) in self.tried]
            better = max(known, key=lambda p: self.tried[self._trial(p)].score)
            if better == best:
                return best
            best = better

    def _rates(self, point: Point) -> list[float]:
        """The point's rate and the next lower."""
        at = self.tuning.grid.lr.index(point.lr)
        return [point.lr, *self.tuning.grid.lr[max(at - 1, 0) : at]]

    def _next(self, point: Point, seed: int) -> Trial | None:
        """The shortest budget that is missing."""
        trials = [Trial(point, rung, seed) for rung in self.rungs]
        return next((trial for trial in trials if trial not in self.tried), None)

    def _score(self, point: Point, rung: int) -> float:
        """Of the first seed."""
        return self.tried[Trial(point, rung, self.seed)].score

    def _peak(self, point: Point) -> float:
        """Of the first seed's ladder."""
        return max(self._score(point, rung) for rung in self.rungs)
