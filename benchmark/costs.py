"""How long a run will take, before it is begun."""

from collections.abc import Sequence

import numpy as np

from benchmark.data.config import Counts
from benchmark.runs.schema import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.settings.registry import methods


def estimate(spec: RunSpec, counts: Counts, records: Sequence[RunRecord]) -> float:
    """Seconds of one seed on one core.

    The method's `cost` (milliseconds a position at width 64, measured) times the positions in the
    budget and the width's ratio to 64 is good to a factor of two or three; finished runs of the
    row, whatever their budgets and widths, tell the factor.
    """
    timed = [(r.timings.training + r.timings.evaluation, _by_cost(r.spec, counts)) for r in records]
    factors = [seconds / expected for seconds, expected in timed if seconds]
    return _by_cost(spec, counts) * (float(np.mean(factors)) if factors else 1.0)


def _by_cost(spec: RunSpec, counts: Counts) -> float:
    if spec.training is None:
        return 5.0
    length = spec.protocol.max_length
    users = min(spec.protocol.max_users or counts.users, counts.users)
    method = methods()[spec.model]
    positions = min(max(counts.interactions / counts.users - 3, 1), length)
    if getattr(method.cls, "fixed_length", False):
        positions = length
    batch = min(spec.training.batch_size, users)
    width = max(spec.config.get("align_dim", 0), spec.config.get("dim", 64)) / 64
    return 1e-3 * method.cost * positions * batch * spec.training.steps * width
