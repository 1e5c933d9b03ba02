"""Is every one of several differences positive: does a method beat all others at once?

Supported (intersection-union, Berger 1982): each difference is above 0 by its own test. Each test
has to reject, so that no correction among them is needed, and the p-value is the largest of theirs.

Refuted: some difference is smaller than what is claimed. That is a search for the worst of several,
so the upper bounds hold for all differences at once. With T the centred resamples of a difference
over its standard error, q is the 1 - alpha quantile of the largest |T| of all of them (max-T,
Westfall and Young 1993; with one method against many it is Dunnett's 1955), and each bound takes q
on the scale of its own Student's t, as in `benchmark/analyse/best.py`. Had the method truly a gain
of g over every other one, the bounds would exclude g over any of them with probability alpha / 2 at
most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.effects import Effect, Word, effect_of


@dataclass(frozen=True)
class AllAbove:
    """Several differences, all of which are claimed to be positive; logs of ratios."""

    effects: tuple[Effect, ...]
    upper: tuple[float, ...]
    """Simultaneous upper bounds, NaN where a difference has none."""
    p_below: float
    """Two-sided, of the lowest difference being 0 or more, adjusted for all of them."""

    @property
    def p(self) -> float:
        """Below alpha exactly where every lower bound is above 0: the largest of the two-sided p of
        differences above 0; 1 where one is not above 0, NaN where one has no interval."""
        p = np.array([effect.p if effect.value > 0 else 1.0 for effect in self.effects])
        unknown = any(np.isnan(effect.low) for effect in self.effects)
        return float("nan") if unknown or not len(p) else float(p.max())

    @property
    def p_either(self) -> float:
        """That all are above 0 or that some is below it, whichever the data speak for."""
        return float(np.fmin(self.p, self.p_below))

    @property
    def weakest(self) -> int:
        """Which difference has the lowest lower bound: the one that decides support."""
        lows = [effect.low for effect in self.effects]
        return int(np.nanargmin(lows)) if not np.isnan(lows).all() else 0

    def deciding(self, word: Word) -> int:
        """The difference that a word rests on: where the claim is contradicted the one with the
        lowest upper bound, else `weakest`."""
        contradicted = word in ("opposite", "refuted", "smaller than 1 %")
        if contradicted and not np.isnan(self.upper).all():
            return int(np.nanargmin(self.upper))
        return self.weakest

    def word_of_order(self, smallest_effect: float, minimum_seeds: int) -> Word:
        """The same without a word of its own for a refuted claim: "opposite" if some difference is
        below 0, "smaller than 1 %" if some is below the smallest effect of interest."""
        word = self.word(smallest_effect, minimum_seeds)
        if word != "refuted":
            return word
        return "opposite" if self.refuted_by(0.0) else "smaller than 1 %"

    def word(self, smallest_effect: float, minimum_seeds: int) -> Word:
        """Before any correction for other claims."""
        if any(min(e.n_seeds, default=0) < minimum_seeds for e in self.effects):
            return "not reached"
        if all(effect.low > 0 for effect in self.effects):
            return "supported"
        return "refuted" if self.refuted_by(smallest_effect) else "undecided"

    def refuted_by(self, gain: float) -> list[int]:
        """The differences whose simultaneous upper bound excludes a relative gain."""
        return [at for at, upper in enumerate(self.upper) if upper < np.log1p(gain)]


def all_above(
    scores: CrossedBootstrap, signs: Sequence[Mapping[Any, int]], *, alpha: float | None = None
) -> AllAbove:
    """The differences of log means that `signs` name, all of them from the same resamples. alpha:
    level of the simultaneous bounds, the rules' if None."""
    rules = scores.rules
    found = [scores.contrast(one) for one in signs]
    largest = np.zeros(rules.resamples)
    for one, contrast in zip(signs, found, strict=True):
        if contrast.note or contrast.error == 0:
            continue
        resampled = scores.resampled(one)
        centred = np.abs(resampled - resampled.mean()) / contrast.error
        np.maximum(largest, centred, out=largest)
    tail = float(stats.norm.sf(np.quantile(largest, 1 - (alpha or rules.alpha))))
    upper = tuple(
        float("nan") if c.note else c.value + float(stats.t.isf(tail, c.df)) * c.error
        for c in found
    )
    lowest = min((c.normal_deviate for c in found if not c.note), default=np.nan)
    share = (np.sum(largest >= -lowest) + 1) / (len(largest) + 1)
    p_below = float("nan") if np.isnan(lowest) else float(share) if lowest < 0 else 1.0
    return AllAbove(tuple(effect_of(c, scores.n_users, rules) for c in found), upper, p_below)
