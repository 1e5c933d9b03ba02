"""Table 1 from the bundles: ours, the paper's as printed, and the paper's decoded."""

from collections.abc import Sequence

import pandas as pd

from benchmark.data.config import Counts
from benchmark.data.content import Bundle
from benchmark.paper import load_cells

STATISTICS = ("users", "items", "interactions", "sparsity", "average_length")
_TOLERANCE = {"users": 0, "items": 0, "interactions": 0, "sparsity": 0.005, "average_length": 0.005}
"""Counts must be equal; the others are printed with two decimals."""


def statistics(counts: Counts) -> dict[str, float]:
    """The columns of Table 1: counts, sparsity in per cent, mean length of a user's sequence."""
    cells = counts.users * counts.items
    return {
        "users": counts.users,
        "items": counts.items,
        "interactions": counts.interactions,
        "sparsity": 100 * (1 - counts.interactions / cells),
        "average_length": counts.interactions / counts.users,
    }


def table1(bundles: Sequence[Bundle], printed: pd.DataFrame | None = None) -> pd.DataFrame:
    """Columns dataset, statistic, ours, printed, decoded, difference, agrees.

    decoded: the printed user and item counts each less one, for they count RecBole's padding id;
    sparsity and length recomputed from the counts so corrected. difference is ours less decoded;
    agrees says whether it is within the printed rounding. The last four are missing for a dataset
    that the paper does not have. printed: the paper's cells, load_cells() by default.
    """
    cells = load_cells() if printed is None else printed
    cells = cells[cells["table"].astype(str) == "1"]
    values = {
        (dataset, metric): float(value)
        for dataset, metric, value in zip(
            cells["dataset"], cells["metric"], cells["value"], strict=True
        )
    }
    rows = []
    for bundle in bundles:
        ours = statistics(bundle.meta.counts)
        paper: dict[str, float] = {}
        decoded: dict[str, float] = {}
        if (bundle.name, "users") in values:
            paper = {name: values[bundle.name, name] for name in STATISTICS}
            decoded = statistics(
                Counts(
                    users=int(paper["users"]) - 1,
                    items=int(paper["items"]) - 1,
                    interactions=int(paper["interactions"]),
                )
            )
        for name in STATISTICS:
            difference = ours[name] - decoded[name] if decoded else None
            rows.append(
                {
                    "dataset": bundle.name,
                    "statistic": name,
                    "ours": ours[name],
                    "printed": paper.get(name),
                    "decoded": decoded.get(name),
                    "difference": difference,
                    "agrees": None if difference is None else abs(difference) <= _TOLERANCE[name],
                }
            )
    return pd.DataFrame(rows)
