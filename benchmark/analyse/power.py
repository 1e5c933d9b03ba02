"""Power: the smallest difference that a comparison can show, known before anything is trained.

Two methods are ranked on the same U users, k held-out targets a user, with S seeds each. Relative
to a method's mean, its value on a target is taken for

    1 + (what all methods share there) + (the target's taste for the method)
      + (the seed's level) + (the seed's noise on the target)

What is shared cancels. The difference of two tastes on a target has the variance `taste`^2 and is
correlated by rho between two targets of one user; a seed's level has the variance `level`^2, its
noise `noise`^2, independent from target to target. The crossed bootstrap
(benchmark/analyse/bootstrap.py) then has, in expectation, for log(mean a / mean b),

    users          (taste^2 (1 + (k - 1) rho) + 2 noise^2 / S) / (k U)     U - 1 df
    either seeds   (level^2 + noise^2 / (k U)) / S                         S - 1 df

and their sum as the square of its standard error: the noise counts twice, as it does there. Degrees
of freedom are Satterthwaite's. The smallest difference that is shown with the power of the rules in
a two-sided test at their level is

    exp((t[1 - alpha / 2] + t[power]) error) - 1

which is what `Comparison.smallest_detectable` estimates once the runs are there. With few degrees
of freedom it is shown somewhat less often than the rules' 80 %: where all rests on three seeds
(3.5 degrees) in 73 % of simulated tables, on six (10 degrees) in 77 %.

The variances are a pilot's: `configs/power.yaml`, derived from the validation targets of trial
seeds, never from reported test ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from benchmark.analyse.bootstrap import degrees_of_freedom
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History, per_user
from benchmark.runs.ranks import Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunSpec
from benchmark.yaml_files import read_model

FILE = Path(__file__).parents[1] / "configs" / "power.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Strict):
    """Standard deviations relative to a method's mean, under one protocol."""

    taste: float = Field(ge=0)
    """Over targets, of the difference of two methods that is not a seed's noise."""
    noise: float = Field(ge=0)
    """Over targets, of one seed of one method."""
    level: float = Field(ge=0)
    """Over seeds, of one method's mean over all targets."""
    rho: float = Field(0.0, ge=0, le=1)
    """Correlation of `taste` between two targets of a user."""


class Pilot(_Strict):
    """What is known of one dataset before its rows are compared."""

    users: int = Field(ge=2)
    """Of the dataset, all of whom are ranked in the tables."""
    source: str
    """Which runs the spreads are derived from."""
    provisional: bool = False
    """Whether the runs are other ones than the trials of the rows to be compared."""
    histories: dict[History, Spread]
    """By protocol."""


class Power(_Strict):
    """The entries of `configs/power.yaml`."""

    metric: str
    pilots: dict[str, Pilot]
    """By dataset."""


def stored_power(path: Path = FILE) -> Power:
    """The committed pilots. Raises InputError naming the file and line for one that is damaged."""
    return read_model(path, Power)


def smallest_detectable(
    spread: Spread, *, users: int, seeds: int, targets: int = 1, rules: Rules = RULES
) -> float:
    """The smallest true relative difference of two methods that is shown with the rules' power.

    Raises InputError for fewer than two users or seeds, or no target.
    """
    if users < 2 or seeds < 2 or targets < 1:
        raise InputError(
            f"{users} users, {seeds} seeds, {targets} targets: power needs at least two users, two "
            "seeds and a target"
        )
    number = targets * users
    of_seeds = (spread.level**2 + spread.noise**2 / number) / seeds
    taste = spread.taste**2 * (1 + (targets - 1) * spread.rho)
    of_users = (taste + 2 * spread.noise**2 / seeds) / number
    variances = np.array([of_users, of_seeds, of_seeds])
    df = degrees_of_freedom(variances, np.array([users - 1.0, seeds - 1.0, seeds - 1.0]))
    quantiles = stats.t.ppf(1 - rules.alpha / 2, df) + stats.t.ppf(rules.power, df)
    return float(np.expm1(quantiles * np.sqrt(variances.sum())))


# ---- pilots from stored runs ---------------------------------------------------------------------


@dataclass(frozen=True)
class PilotRows:
    """The rows of one dataset that a pilot is derived from: their runs, two seeds at least."""

    dataset: str
    rows: Mapping[str, Sequence[RunResult]]
    trials: bool

    def derive(self, users: int, metric: str = RULES.metric) -> Pilot:
        """users: of the dataset. Raises InputError where the rows were ranked on different
        targets."""
        return Pilot(
            users=users,
            source=self._source(),
            provisional=not self.trials,
            histories={protocol: self._spread(metric, protocol) for protocol in PROTOCOLS},
        )

    def _source(self) -> str:
        records = [run.record for runs in self.rows.values() for run in runs]
        seeds = sorted({record.seed for record in records})
        profile = records[0].spec.profile
        what = "trials" if self.trials else "runs"
        whole = seeds[-1] - seeds[0] == len(seeds) - 1
        named = f"{seeds[0]}-{seeds[-1]}" if whole else ", ".join(map(str, seeds))
        rows = ", ".join(self.rows)
        return f"validation targets of {what} of profile {profile}, seeds {named}: {rows}"

    def _spread(self, metric: str, protocol: History) -> Spread:
        ranks = [
            [run.validation for run in runs if run.validation is not None]
            for runs in self.rows.values()
        ]
        if len({len(one) for row in ranks for one in row}) > 1:
            raise InputError(
                f"the rows of {self.dataset} were ranked on different numbers of targets: derive "
                "the pilot from runs of one version of the data and of one split"
            )
        values = [
            np.stack([_per_target(one, metric, protocol) for one in row], axis=1) for row in ranks
        ]
        user = ranks[0][0].user
        return spread_of(values, np.arange(len(values[0])) if user is None else user)


def spread_of(values: Sequence[FloatArray], user: np.ndarray) -> Spread:
    """Moment estimates from rows [Q, S], each with two seeds at least, on the same Q targets.

    user: [Q], ascending; whose target it is. `taste` and `rho` are medians over all pairs of rows,
    variances of seeds are means over rows; negative estimates are 0. Raises InputError for fewer
    than two rows, or a row whose mean is 0.
    """
    if len(values) < 2:
        raise InputError("a pilot needs two rows at least, each with two seeds: train more")
    if any(not v.mean() > 0 for v in values):
        raise InputError("a pilot's row has a mean of 0: nothing is relative to it")
    relative = [v / v.mean() for v in values]
    noise, level = zip(*map(_within, relative), strict=True)
    tastes, correlations = [], []
    for (x, nx), (y, ny) in combinations(zip(relative, noise, strict=True), 2):
        difference = x.mean(axis=1) - y.mean(axis=1)
        of_noise = nx / x.shape[1] + ny / y.shape[1]
        taste = max(float(difference.var(ddof=1)) - of_noise, 0.0)
        tastes.append(taste)
        correlations.append(min(_between(difference, user) / taste, 1.0) if taste else 0.0)
    return Spread(
        taste=_rounded(np.sqrt(np.median(tastes))),
        noise=_rounded(np.sqrt(np.mean(noise))),
        level=_rounded(np.sqrt(np.mean(level))),
        rho=_rounded(np.median(correlations)),
    )


def _within(x: FloatArray) -> tuple[float, float]:
    """Variances of one row's noise and of its seeds' level, from [Q, S]: two-way, no replicates."""
    targets, seeds = x.shape
    by_seed = x.mean(axis=0)
    residual = x - x.mean(axis=1, keepdims=True) - by_seed + x.mean()
    noise = float((residual**2).sum()) / ((targets - 1) * (seeds - 1))
    return noise, max(float(by_seed.var(ddof=1)) - noise / targets, 0.0)


def _between(difference: FloatArray, user: np.ndarray) -> float:
    """Variance between users of [Q] values, from one-way analysis of variance with unequal groups;
    0 where every user has one target, for then nothing is known of it."""
    first = np.flatnonzero(np.diff(user, prepend=-1))
    counts = np.diff(first, append=len(user))
    groups, total = len(counts), len(user)
    if total == groups:
        return 0.0
    means = np.add.reduceat(difference, first) / counts
    between = float((counts * (means - difference.mean()) ** 2).sum()) / (groups - 1)
    within = float(((difference - np.repeat(means, counts)) ** 2).sum()) / (total - groups)
    typical = (total - float((counts**2).sum()) / total) / (groups - 1)
    return max((between - within) / typical, 0.0)


def _per_target(ranks: Ranks, metric: str, protocol: History) -> FloatArray:
    """[Q]"""
    return per_user(replace(ranks, user=None), metric, masked=protocol == "left out")


def _rounded(value: float) -> float:
    """Four digits are more than a pilot knows."""
    return float(f"{value:.4g}")


def pilot_rows(
    runs: RunSet, profile: str, datasets: Sequence[str] | None = None
) -> list[PilotRows]:
    """The rows of every dataset that a pilot can be derived from: of each row the settings with
    the most seeds among its trials, then the longest budget, then the best validation. Where a
    dataset has no two such rows among the trials of the profile, its other runs stand in, and the
    pilot is provisional. Controls have no seeds and are left out.

    Raises InputError where nothing suits.
    """
    found: dict[tuple[str, bool], dict[str, dict[str, list[RunResult]]]] = {}
    for stored in runs.scan():
        record, result = stored.record, stored.result
        if record is None or result is None or record.status != "ok":
            continue
        spec = record.spec
        if spec.profile != profile or spec.training is None or not _is_candidate(spec):
            continue
        if datasets is not None and spec.dataset not in datasets:
            continue
        of_row = found.setdefault((spec.dataset, spec.protocol.trial), {})
        of_row.setdefault(spec.model, {}).setdefault(spec.variant, []).append(result)
    chosen = []
    for dataset in dict.fromkeys(name for name, _ in found):
        for trials in (True, False):
            rows = {
                model: max(variants.values(), key=_preference)
                for model, variants in found.get((dataset, trials), {}).items()
            }
            rows = {model: own for model, own in rows.items() if len(own) > 1}
            if len(rows) > 1:
                chosen.append(PilotRows(dataset, rows, trials))
                break
    if not chosen:
        raise InputError(
            f"{runs.root}: no dataset has two trained rows with two seeds each in profile "
            f"{profile}; run `tune` first, or name another profile"
        )
    return chosen


def _is_candidate(spec: RunSpec) -> bool:
    """A trial of the search, or a row as the tables show it."""
    if spec.protocol.trial:
        return not spec.variant.startswith("trial [")  # of a variant (benchmark/tune/variants.py)
    return spec.variant == "base"


def _preference(runs: Sequence[RunResult]) -> tuple[int, int, float]:
    training = runs[0].record.spec.training
    assert training is not None
    means = [per_user(r.validation, RULES.metric).mean() for r in runs if r.validation is not None]
    return len(runs), training.steps, float(np.mean(means))
