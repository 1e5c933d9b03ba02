"""Per-user scores of a row's runs, a column a seed: what every inference starts from."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from benchmark.analyse.statistics import FloatArray
from benchmark.errors import InputError
from benchmark.evaluate.metrics import History, per_user
from benchmark.runs.schema import RunResult

OTHER_DATA = "they come from different versions of the data"


def user_scores(
    runs: Sequence[RunResult],
    metric: str,
    protocol: History,
    split: Literal["validation", "test"] = "test",
) -> FloatArray:
    """[U, S] of S finished runs. Raises ValueError for a run without ranks, InputError as
    `stacked` does."""
    ranks = [run.test if split == "test" else run.validation for run in runs]
    if any(one is None for one in ranks):
        raise ValueError("a run without ranks was taken for a finished one")
    masked = protocol == "left out"
    columns = [per_user(one, metric, masked=masked) for one in ranks if one is not None]
    return stacked(columns, runs)


def stacked(columns: Sequence[FloatArray], runs: Sequence[RunResult]) -> FloatArray:
    """Columns [U] of as many runs, as [U, S]. Raises InputError where they have different numbers
    of users, and names a run of each kind."""
    by_size = {len(column): run.record for column, run in zip(columns, runs, strict=True)}
    if len(by_size) > 1:
        named = ", ".join(f"{size} with seed {one.seed}" for size, one in sorted(by_size.items()))
        raise InputError(
            f"{runs[0].record.spec.key} was ranked on different numbers of users: {named}; "
            f"{OTHER_DATA}"
        )
    return np.stack(columns, axis=1)
