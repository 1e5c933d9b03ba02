"""What the claims are tested on: one dataset's arms, their scores on parts of the users or of the
targets, and what a test answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.columns import stacked
from benchmark.analyse.contrasts import Arm
from benchmark.analyse.effects import Effect, Word
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History, per_user
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult

METRICS = (RULES.metric, "NDCG@5", "MRR@5")
"""Of verdicts, and those that the sentences on changes state."""
LONG_TAIL = "long tail"
TAIL = 0.8
"""Share of the items, the least trained on, that are the long tail."""

Ints = npt.NDArray[np.int64]


LayerCosts = Mapping[str, Mapping[int, float]]
"""Kind of layer ("Mamba layer") -> length of the sequences -> CPU seconds of its passes forward and
backward."""


def layer_costs(path: Path) -> LayerCosts:
    """From the table that `scale` writes; empty where it is not there. Raises InputError for a
    damaged one."""
    if not path.is_file():
        return {}
    try:
        frame = pd.read_csv(path)
        own = frame[frame["part"].str.endswith(" layer")]
        found: dict[str, dict[int, float]] = {}
        for part, length, seconds in own[["part", "window", "cpu_seconds"]].itertuples(index=False):
            found.setdefault(str(part), {})[int(length)] = float(seconds)
        return found
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a table of costs ({error}); run `scale` again") from error


@dataclass(frozen=True)
class Finding:
    """What runs say of one claim, on one dataset under one protocol."""

    word: Word
    said: str
    metric: str = RULES.metric
    p: float = float("nan")
    """That what the claim compares is equal; NaN where nothing was tested."""
    effect: Effect | None = None
    """The comparison that decides; positive is in favour."""
    arms: tuple[str, ...] = ()
    """What it rests on."""


@dataclass
class Here:
    """One dataset as the claims see it."""

    dataset: str
    arms: Mapping[str, Arm]
    places: Mapping[tuple[str, str], str]
    """(display item, the paper's row) -> arm."""
    barred: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(display item, the paper's row) -> why it says nothing on this dataset."""
    frequency: Mapping[str, Ints] = field(default_factory=dict)
    """"target": [Q], how often each test target is trained on; "items": the same of every item.
    Empty where the dataset's bundle is not there."""
    snapshots: Sequence[RunResult] = ()
    """FindRec's runs that hold states before and after training."""
    costs: LayerCosts = field(default_factory=dict)
    """Empty where they were not measured."""
    rules: Rules = RULES
    _scores: dict[str, CrossedBootstrap] = field(default_factory=dict)

    def scores(self, group: str = "") -> CrossedBootstrap:
        """Of all users, of a length bucket ("5-10"), or of the targets in the `LONG_TAIL`."""
        if group not in self._scores:
            try:
                values = {
                    Score(arm.name, metric, protocol): stacked(
                        [self._values(run, metric, protocol, group) for run in arm.runs], arm.runs
                    )
                    for arm in self.arms.values()
                    if arm.runs
                    for metric in (METRICS if group == "" else (RULES.metric, "NDCG@5"))
                    for protocol in PROTOCOLS
                }
                self._scores[group] = CrossedBootstrap(values, self.rules)
            except ValueError as error:
                raise InputError(f"runs on {self.dataset} cannot be compared: {error}") from error
        return self._scores[group]

    def _values(self, run: RunResult, metric: str, protocol: str, group: str) -> FloatArray:
        if run.test is None or run.length is None:
            raise ValueError("a run without ranks was taken for a finished one")
        masked = protocol == "left out"
        if group == LONG_TAIL:
            return values_in(run.test, metric, self.in_tail(), masked=masked)
        values = per_user(run.test, metric, masked=masked)
        if group:
            bucket = next(b for b in self.rules.buckets if b.label == group)
            values = values[bucket.holds(run.length)]
        return values

    def in_tail(self) -> npt.NDArray[np.bool_]:
        """[Q]: whether the target is in the long tail."""
        limit = np.quantile(self.frequency["items"], TAIL)
        return np.asarray(self.frequency["target"] <= limit)

    def signs(
        self, plus: Sequence[str], minus: Sequence[str], metric: str, protocol: History
    ) -> dict[Score, int]:
        """Arms' names -> signs of a contrast."""
        return {
            Score(self.arms[name].name, metric, protocol): sign
            for names, sign in ((plus, 1), (minus, -1))
            for name in names
        }

    def lacking(self, names: Sequence[str]) -> list[str]:
        """Those of the arms without all their seeds."""
        return [n for n in names if n not in self.arms or not self.arms[n].complete]


def values_in(
    ranks: Ranks, metric: str, inside: npt.NDArray[np.bool_], *, masked: bool
) -> FloatArray:
    """Per-user means over some of the targets alone; users without any of them are left out.
    inside: [Q]. Raises ValueError for another number of targets."""
    if len(inside) != len(ranks):
        raise ValueError(f"{len(inside)} targets are classed, and {len(ranks)} were ranked")
    user = np.arange(len(ranks)) if ranks.user is None else ranks.user
    part = Ranks(
        ranks.above[inside],
        ranks.equal[inside],
        ranks.above_masked[inside],
        ranks.equal_masked[inside],
        ranks.n_candidates_masked[inside],
        ranks.n_items,
        user=user[inside].astype(np.int32),
    )
    return per_user(part, metric, masked=masked)
