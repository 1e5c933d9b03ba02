"""Which protocol could have produced the printed levels.

Of every hypothesis (`benchmark/analyse/hypotheses.py`) the free parameters are fitted on one row,
SASRec, and predict the four printed metrics of the other rows of the dataset; the same choice then
predicts all rows of the other datasets. Predictions and printed numbers are compared by one loss,
in units of what may be expected to differ where the protocol is right:

    level   log NDCG@10, ours less printed, over LEVEL_TOLERANCE
    shape   the same for log(NDCG@5 / NDCG@10), log(MRR@10 / NDCG@10) and log(MRR@5 / MRR@10), over
            SHAPE_TOLERANCE
    loss    sqrt(mean of level^2 + mean of shape^2), over the rows

A loss of at most 1 is compatible with what is printed: no more is said, since other protocols may
be so too. One whose whole interval is above 1 is not. Intervals come from the crossed bootstrap's
draws of users and seeds; parameters are fitted anew in every resample.

Glossary
    U users, S seeds, C choices of the free parameters, R resamples
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.analyse.bootstrap import in_units, resampled_means, seed_weights
from benchmark.analyse.hypotheses import HYPOTHESES, Choice, Hypothesis, UserMetrics
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PAPER_METRICS
from benchmark.runs.schema import RunResult

FloatArray = npt.NDArray[np.float64]

FITTED_ON = "SASRec"
TABLE = "2"
"""Of the paper: whose printed numbers are looked at."""

RESAMPLES = 1_000

LEVEL_TOLERANCE = float(np.log(1.25))
"""Two independent implementations of one method under one protocol, ours and RecBole's, differ by
1 to 31 % in NDCG@10 on these data, BERT4Rec by most (docs/comparison); features and widths may
differ here as well."""

SHAPE_TOLERANCE = 0.05
"""The printed rows of one dataset lie within 4 % of their middle in NDCG@5 / NDCG@10 and in
MRR@10 / NDCG@10, however good the row; the shape belongs to the protocol rather than to the
method."""

Verdict = Literal["compatible", "not compatible", "undecided", "not reached"]

Key = tuple[str, str]
"""Dataset and row."""


@dataclass(frozen=True)
class Loss:
    """How far predicted rows are from the printed ones, and the ends of the 95 % interval."""

    value: float
    low: float
    high: float
    level: float
    """Root mean square of log NDCG@10, ours less printed; not divided by its tolerance."""
    shape: float
    """The same of the three shapes."""
    rows: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Compatible up to 1; not compatible where the whole interval is above 1. Noise only ever
        adds to a loss, so one above 1 whose interval reaches it is undecided."""
        if self.value <= 1:
            return "compatible"
        return "not compatible" if self.low > 1 else "undecided"


@dataclass(frozen=True)
class Prediction:
    """One row under a hypothesis, with the choice that was fitted on `FITTED_ON`."""

    values: FloatArray
    """[4], in the order of `PAPER_METRICS`."""
    low: FloatArray
    high: FloatArray
    seeds: int
    printed: FloatArray | None
    """[4]; None of a row that the paper does not print."""


@dataclass(frozen=True)
class Fit:
    """A hypothesis on one dataset."""

    hypothesis: Hypothesis
    dataset: str
    choice: Choice = field(default_factory=dict)
    fitted: Loss | None = None
    """Of the row that it was fitted on; None where that has no runs."""
    others: Loss | None = None
    """Of the other rows of the dataset."""
    elsewhere: Mapping[str, Loss] = field(default_factory=dict)
    """Other dataset -> the same choice on all its rows."""
    together: Loss | None = None
    """Of everything that was predicted: the other rows here and all rows elsewhere."""
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    """Row -> what is predicted of it here."""

    @property
    def verdict(self) -> Verdict:
        """Over everything that was predicted."""
        return "not reached" if self.together is None else self.together.verdict


def diagnose(
    runs: Mapping[str, Mapping[str, Sequence[RunResult]]], printed: pd.DataFrame
) -> list[Fit]:
    """Every hypothesis on every dataset that the paper prints, in the order of `HYPOTHESES`.

    runs: dataset -> row -> its finished runs of any unit.
    printed: as `benchmark.paper.load_cells` gives it. What has no runs is "not reached".
    """
    paper = {key: values for dataset in runs for key, values in _printed(printed, dataset)}
    known = [dataset for dataset in runs if (dataset, FITTED_ON) in paper]
    fits = []
    for hypothesis in HYPOTHESES:
        tried = {
            dataset: {
                row: Tried(row, hypothesis, own)
                for row, every in runs[dataset].items()
                if (own := [run for run in every if hypothesis.fits(run)])
            }
            for dataset in known
        }
        fits += [_fit(hypothesis, dataset, tried, paper) for dataset in known]
    return fits


class Tried:
    """The runs of one row, scored under the choices that are asked for."""

    def __init__(self, row: str, hypothesis: Hypothesis, runs: Sequence[RunResult]) -> None:
        self.row, self.hypothesis, self.runs = row, hypothesis, runs
        self.choices = list(hypothesis.choices())
        self._scored: dict[int, list[UserMetrics]] = {}
        self._resampled: dict[int, FloatArray] = {}

    def mean(self, choice: int) -> FloatArray:
        """[4], over users and seeds."""
        return np.mean([_mean(run) for run in self._of(choice)], axis=0)

    def resampled(self, choices: Sequence[int]) -> FloatArray:
        """[R, choices, 4]: users drawn on values averaged over seeds, seeds on values averaged over
        users, as the crossed bootstrap draws them; of one seed, users alone."""
        lacking = [choice for choice in choices if choice not in self._resampled]
        if lacking:
            self._resampled |= dict(zip(lacking, self._draw(lacking), strict=True))
        return np.stack([self._resampled[choice] for choice in choices], axis=1)

    def _draw(self, choices: Sequence[int]) -> list[FloatArray]:
        """[R, 4] of each choice."""
        columns = []
        for choice in choices:
            own = self._of(choice)
            by_user = np.mean([run.values for run in own], axis=0)
            weight = own[0].weight[:, None]
            columns += [by_user * weight, weight]
        drawn = resampled_means(
            np.concatenate(columns, axis=1), resamples=RESAMPLES, seed=RULES.bootstrap_seed
        ).reshape(RESAMPLES, len(choices), 5)
        means = list(np.moveaxis(drawn[..., :4] / drawn[..., 4:], 1, 0))
        if len(self.runs) > 1:
            chosen = seed_weights(len(self.runs), RESAMPLES, RULES.bootstrap_seed, self.row)
            for at, choice in enumerate(choices):
                by_seed = np.array([_mean(run) for run in self._of(choice)])
                means[at] = means[at] + chosen @ (by_seed - by_seed.mean(0))
        return means

    def _of(self, choice: int) -> list[UserMetrics]:
        if choice not in self._scored:
            chosen = self.choices[choice]
            scored = (self.hypothesis.score(run, chosen) for run in self.runs)
            self._scored[choice] = [_grouped(found) for found in scored]
        return self._scored[choice]


def _grouped(found: UserMetrics) -> UserMetrics:
    """The same means and draws from what a resample draws, which is fewer than a million users."""
    weight = in_units(found.weight[:, None])
    if len(weight) == len(found.weight):
        return found
    return UserMetrics(in_units(found.values * found.weight[:, None]) / weight, weight[:, 0])


def _printed(cells: pd.DataFrame, dataset: str) -> Iterator[tuple[Key, FloatArray]]:
    """Every row of the dataset with its four printed metrics."""
    own = cells[
        (cells["table"] == TABLE) & (cells["dataset"] == dataset) & (cells["row"] != "Improv.")
    ]
    table = own.pivot(index="row", columns="metric", values="value")
    for row in table.index:
        yield (dataset, str(row)), table.loc[row, list(PAPER_METRICS)].to_numpy(np.float64)


# ---------------------------------------------------------------- the loss


def parts(predicted: FloatArray, printed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Level [...] and the three shapes [..., 3] as log differences, ours less printed; of metrics
    [..., 4] in the order of `PAPER_METRICS`. A metric of 0 is infinitely far."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ndcg5, ndcg10, mrr5, mrr10 = np.moveaxis(np.log(predicted) - np.log(printed), -1, 0)
        shapes = np.stack([ndcg5 - ndcg10, mrr10 - ndcg10, mrr5 - mrr10], axis=-1)
    return ndcg10, np.nan_to_num(shapes, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def squares(
    predicted: Mapping[Key, FloatArray], printed: Mapping[Key, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Mean squares of level and shape over the predicted rows, each [...] from metrics [..., 4]."""
    found = [parts(values, printed[key]) for key, values in predicted.items()]
    level = np.mean([own**2 for own, _ in found], axis=0)
    return level, np.mean([(own**2).mean(-1) for _, own in found], axis=0)


def loss_of(level: FloatArray, shape: FloatArray) -> FloatArray:
    """From the mean squares of level and shape."""
    return np.asarray(np.sqrt(level / LEVEL_TOLERANCE**2 + shape / SHAPE_TOLERANCE**2))


# ---------------------------------------------------------------- fitting and predicting


def _fit(
    hypothesis: Hypothesis,
    dataset: str,
    tried: Mapping[str, Mapping[str, Tried]],
    printed: Mapping[Key, FloatArray],
) -> Fit:
    here = tried[dataset]
    if FITTED_ON not in here:
        return Fit(hypothesis, dataset)
    own, at_fit = here[FITTED_ON], (dataset, FITTED_ON)
    everything = range(len(own.choices))
    means = np.stack([own.mean(choice) for choice in everything])
    best = int(np.argmin(loss_of(*squares({at_fit: means}, printed))))
    again = np.argmin(loss_of(*squares({at_fit: own.resampled(everything)}, printed)), axis=1)
    shown = {(dataset, row): one for row, one in tried[dataset].items()} | {
        (name, row): one
        for name, rows in tried.items()
        for row, one in rows.items()
        if (name, row) in printed
    }
    point = {key: one.mean(best) for key, one in shown.items()}
    drawn = {key: _chosen(one, again) for key, one in shown.items()}
    judged = [key for key in shown if key in printed and key != at_fit]

    def loss(keys: Sequence[Key]) -> Loss | None:
        if not keys:
            return None
        return _loss({k: point[k] for k in keys}, {k: drawn[k] for k in keys}, printed)

    predictions = {}
    for row, one in here.items():
        key = (dataset, row)
        low, high = _ends(drawn[key])
        predictions[row] = Prediction(point[key], low, high, len(one.runs), printed.get(key))
    return Fit(
        hypothesis,
        dataset,
        own.choices[best],
        loss([at_fit]),
        loss([key for key in judged if key[0] == dataset]),
        {
            name: found
            for name in tried
            if name != dataset
            and (found := loss([key for key in judged if key[0] == name])) is not None
        },
        loss(judged),
        predictions,
    )


def _chosen(one: Tried, again: npt.NDArray[np.int64]) -> FloatArray:
    """[R, 4]: every resample under the choice that was fitted in it. again: [R]."""
    choices, place = np.unique(again, return_inverse=True)
    return one.resampled(choices.tolist())[np.arange(RESAMPLES), place]


def _loss(
    point: Mapping[Key, FloatArray],
    drawn: Mapping[Key, FloatArray],
    printed: Mapping[Key, FloatArray],
) -> Loss:
    level, shape = squares(point, printed)
    low, high = _ends(loss_of(*squares(drawn, printed)))
    names = tuple(f"{row} on {dataset}" for dataset, row in point)
    return Loss(
        float(loss_of(level, shape)),
        float(low),
        float(high),
        float(np.sqrt(level)),
        float(np.sqrt(shape)),
        names,
    )


def _ends(values: FloatArray) -> FloatArray:
    """[2, ...]: the middle 95 % of the resamples [R, ...]. Order statistics, since infinite values
    have no mean."""
    ordered = np.sort(values, axis=0)
    cut = round(RULES.alpha / 2 * (len(values) - 1))
    return np.stack([ordered[cut], ordered[len(values) - 1 - cut]])


def _mean(run: UserMetrics) -> FloatArray:
    return np.asarray(run.weight @ run.values / run.weight.sum())
