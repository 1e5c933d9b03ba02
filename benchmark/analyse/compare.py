"""Two results folders side by side: what differs, cell by cell, with intervals."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, SHOWN_METRICS, History, per_user
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunKey

COLUMNS = (
    *("profile", "dataset", "model", "variant", "metric", "protocol"),
    *("mean_a", "mean_b", "n_a", "n_b", "difference", "low", "high", "p", "note"),
)


def compare_runs(
    a: RunSet,
    b: RunSet,
    *,
    metrics: Sequence[str] = SHOWN_METRICS,
    rules: Rules = RULES,
) -> pd.DataFrame:
    """Every spec but trials that either folder has a finished run of, under both protocols, columns
    `COLUMNS`.

    difference is that of b relative to a, mean_b / mean_a - 1, on the test split, with the crossed
    bootstrap's interval and p (users shared, seeds independent). `note` says why one is missing: no
    finished run on one side, other data, or too few seeds. Raises InputError if neither folder has
    a finished run.
    """
    runs_a, runs_b = _finished(a), _finished(b)
    if not runs_a and not runs_b:
        raise InputError(f"neither {a.root} nor {b.root} holds a finished run")
    lines = []
    for key in sorted({*runs_a, *runs_b}):
        note = _obstacle(runs_a.get(key, []), runs_b.get(key, []))
        for metric, protocol in itertools.product(metrics, PROTOCOLS):
            own = [_columns(runs.get(key, []), metric, protocol) for runs in (runs_a, runs_b)]
            means = [
                float(np.mean([c.mean() for c in columns])) if columns else np.nan
                for columns in own
            ]
            difference, low, high, p, why = np.nan, np.nan, np.nan, np.nan, note
            if not note:
                x, y = (np.stack(columns, axis=1) for columns in own)
                result = CrossedBootstrap({"a": x, "b": y}, rules).compare("b", "a")
                difference, low, high = result.difference, result.low, result.high
                p, why = result.p, result.note
            counts = tuple(map(len, own))
            lines.append((*key, metric, protocol, *means, *counts, difference, low, high, p, why))
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    frame.attrs["left_out"] = [
        stored.no_result
        for run_set in (a, b)
        for stored in run_set.scan()
        if stored.status in ("damaged", "failed")
    ]
    return frame


def _finished(run_set: RunSet) -> dict[RunKey, list[RunResult]]:
    runs: dict[RunKey, list[RunResult]] = defaultdict(list)
    for stored in run_set.scan():
        if stored.status == "complete" and stored.result is not None:
            spec = stored.result.record.spec
            if not spec.protocol.trial:
                runs[spec.key].append(stored.result)
    return dict(runs)


def _columns(runs: list[RunResult], metric: str, protocol: History) -> list[FloatArray]:
    """[U] of each run, test split"""
    masked = protocol == "left out"
    return [per_user(run.test, metric, masked=masked) for run in runs if run.test is not None]


def _obstacle(a: list[RunResult], b: list[RunResult]) -> str:
    """Why two rows cannot be compared; "" where they can."""
    if not a or not b:
        return f"no finished run in {'the first' if not a else 'the second'} folder"
    if len({run.record.hashes.data for run in (*a, *b)}) > 1:
        return "other data: the users are not the same"
    if len({len(run.length) for run in (*a, *b) if run.length is not None}) > 1:
        return "other numbers of users"
    return ""
