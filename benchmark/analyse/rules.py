"""The rules of inference: everything that a verdict depends on besides the data.

Without scipy, which a worker that trains does not need: every record holds the hash of the rules.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Bucket:
    """Users by the length of their full sequence after filtering, low <= length < high."""

    low: int
    high: int | None

    @property
    def label(self) -> str:
        """As the paper prints it: "5-10", "10-30", ">30". The last holds length 30 as well."""
        return f">{self.low}" if self.high is None else f"{self.low}-{self.high}"

    def holds(self, length: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """[U] bool: which users belong to it."""
        inside = length >= self.low
        return inside if self.high is None else inside & (length < self.high)


@dataclass(frozen=True)
class Rules:
    """Everything that a verdict depends on besides the data. Fixed before the runs that they judge:
    every run's record holds `RULES_HASH`."""

    version: int = 2
    """Raised when the method itself changes. 2: both protocols; bold by the confidence set of the
    best; verdicts only for comparisons that were fixed beforehand."""
    metric: str = "NDCG@10"
    """Of every verdict; in other metrics there are intervals."""
    verdict_tables: tuple[str, ...] = ("table2", "table3", "table5")
    """Where comparisons were fixed beforehand, and have verdicts under both protocols: the paper's
    method against every other trained row (in every length bucket), the full model against each
    ablation. Everything else has intervals only."""
    alpha: float = 0.05
    smallest_effect: float = 0.01
    """Smallest relative difference of interest."""
    power: float = 0.8
    """At which the smallest detectable effect is stated."""
    resamples: int = 10_000
    bootstrap_seed: int = 20250803
    """The first day of KDD '25; any number would do."""
    minimum_seeds: int = 6
    """For stars and verdicts. With five, a two-sided Wilcoxon test cannot reach 0.05."""
    win_margin: float = 0.05
    """A user is a win, or a loss, where the mean over seeds of the metric differs by more. One of
    six seeds that finds the target at the last place of ten moves NDCG@10 by 0.289 / 6 = 0.048."""
    buckets: tuple[Bucket, ...] = (Bucket(5, 10), Bucket(10, 30), Bucket(30, None))

    def hash(self) -> str:
        """SHA-256 over the values."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


RULES = Rules()
RULES_HASH = RULES.hash()
