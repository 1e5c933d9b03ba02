"""Ranking metrics: their names, and what a hit adds to each under the definitions in use.

For a ranking with m relevant items, a hit at position r after c earlier hits adds

    NDCG@k     1 / log2(r + 1) / ideal,  ideal = sum of 1 / log2(i + 1) over i = 1 .. min(m, k)
    MRR@k, HR  1 / r, 1            for the first hit (c = 0)
    Recall@k   1 / m               Precision@k   1 / k
    MAP@k      (c + 1) / r / min(m, k)

if r <= k, and nothing below the cut-off. `DEFINITIONS` lists what people compute under the same
names instead.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

DEFINITIONS: dict[str, tuple[str, str]] = {
    "ndcg_ideal_k": ("NDCG", "NDCG divided by the ideal of k relevant items, whatever m is"),
    "ndcg_of_hits": ("NDCG", "NDCG divided by the ideal of the hits that were made (as in NGCF)"),
    "map_over_m": ("MAP", "average precision divided by m, not min(m, k) (as in trec_eval)"),
    "mrr_all_hits": ("MRR", "reciprocal ranks summed over all relevant items"),
    "recall_min": ("Recall", "Recall divided by min(k, m)"),
    "recall_micro": ("Recall", "Recall as all hits over all relevant items (micro average)"),
}
"""Other definitions: the metric that each is about, and what it says."""

_NAMES = {
    "ndcg": "NDCG", "n": "NDCG", "normalizeddiscountedcumulativegain": "NDCG",
    "mrr": "MRR", "m": "MRR", "rr": "MRR", "meanreciprocalrank": "MRR",
    "hr": "HR", "hit": "HR", "hits": "HR", "hitrate": "HR", "hitratio": "HR", "h": "HR",
    "recall": "Recall", "rec": "Recall", "r": "Recall",
    "precision": "Precision", "prec": "Precision", "p": "Precision",
    "map": "MAP", "ap": "MAP", "meanaverageprecision": "MAP",
}  # fmt: skip


_NAME = re.compile(r"([A-Za-z][A-Za-z \-_]*?)[ \-_]*(?:@[ \-_]*)?(\d{1,9})?")


@dataclass(frozen=True)
class Metric:
    """A ranking metric at a cut-off; `cutoff` is None for an MRR over the whole ranking."""

    kind: str
    cutoff: int | None

    @classmethod
    def parse(cls, name: str) -> Metric | None:
        """Read `NDCG@10`, `Hits@5`, `N@10`, `ndcg_10`, `MRR`; None if the name is no known metric.

        Letters alone count: case, spaces, hyphens and underscores do not.
        """
        match = _NAME.fullmatch(name.strip())
        if match is None:
            return None
        kind = _NAMES.get(re.sub(r"[ \-_]", "", match[1]).lower())
        if kind is None or (match[2] is None and kind != "MRR"):
            return None
        if match[2] is None and match[1].lower() != "mrr" and len(match[1]) < 3:
            return None  # a lone letter is no whole-ranking MRR
        cutoff = int(match[2]) if match[2] else None
        return None if cutoff == 0 else cls(kind, cutoff)

    def __str__(self) -> str:
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    def of_hit(
        self,
        position: int,
        earlier: int,
        relevant: float,
        definitions: frozenset[str] = frozenset(),
        declared: int | None = None,
    ) -> float:
        """What a hit at `position` adds after `earlier` hits, of `relevant` items in all.

        relevant: m, possibly infinite. definitions: names of `DEFINITIONS` in force (the micro
        average is not a matter of one ranking and is left to `rankings`).
        declared: hits within the cut-off in all, which `ndcg_of_hits` divides by.
        """
        if self.cutoff is not None and position > self.cutoff:
            return 0.0
        if self.kind == "MRR":
            return 1.0 / position if earlier == 0 or "mrr_all_hits" in definitions else 0.0
        assert self.cutoff is not None
        match self.kind:
            case "HR":
                return 1.0 if earlier == 0 else 0.0
            case "Recall":
                most = min(relevant, self.cutoff) if "recall_min" in definitions else relevant
                return 1.0 / most
            case "Precision":
                return 1.0 / self.cutoff
            case "MAP":
                over = relevant if "map_over_m" in definitions else min(relevant, self.cutoff)
                return (earlier + 1) / position / over
            case _:
                if "ndcg_ideal_k" in definitions:
                    best: float = self.cutoff
                elif "ndcg_of_hits" in definitions:
                    best = declared if declared else 1
                else:
                    best = min(relevant, self.cutoff)
                return 1.0 / math.log2(position + 1) / ideal(int(best))


@cache
def ideal(count: int) -> float:
    """Discounted gain of `count` relevant items in the first positions."""
    return sum(1.0 / math.log2(i + 1) for i in range(1, count + 1))
