"""The table of the docs on what size of slip is found with which columns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rankaudit.feasibility import range_of
from rankaudit.metrics import Metric
from rankaudit.power import SLIPS, found_slips
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.rows import Row

DOCS = Path(__file__).parents[2] / "docs" / "audit-method.md"
ROWS = 200


def detection(columns: list[Metric], decimals: int, protocol: Protocol, seed: int) -> list[float]:
    """Share of slips found in `ROWS` real rows, a cell each: 4,000 users with one target whose rank
    is geometric with a hit rate of 6 to 46 % in the first ten."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(ROWS):
        rate = np.exp(rng.uniform(np.log(0.006), np.log(0.06)))
        ranks = rng.geometric(rate, 4000).astype(float)
        gains = {"NDCG": 1 / np.log2(ranks + 1), "MRR": 1 / ranks, "HR": np.ones(4000)}
        means = [np.where(ranks <= (m.cutoff or 0), gains[m.kind], 0).mean() for m in columns]
        cells = {
            m: Printed.parse(f"{v:.{decimals}f}", "") for m, v in zip(columns, means, strict=True)
        }
        metric = columns[i % len(columns)]
        ends = range_of(metric, cells, protocol, Rounding.ONCE)
        assert ends is not None
        found += found_slips(cells[metric], ends, Row("", "", "", cells, protocol=protocol))
    return [float(share) for share in np.mean(found, axis=0)]


def documented() -> list[tuple[str, list[str]]]:
    """(columns and digits and targets, percentages) of every row of the table."""
    text = DOCS.read_text(encoding="utf-8").split("what size of slip is found", 1)[1]
    rows = re.findall(r"^\| (.+? \| \d \| (?:1|any)) \| (.+) \|$", text, flags=re.MULTILINE)
    return [(name, shares.split(" | ")) for name, shares in rows]


def test_the_table_is_there() -> None:
    assert len(documented()) == 9
    assert all(len(shares) == len(SLIPS) for _, shares in documented())


@pytest.mark.slow
@pytest.mark.parametrize("number", range(9))
def test_the_table_is_what_is_measured(number: int) -> None:
    """Seeded, so to the percent; the solver's last digits may move one slip in 400."""
    name, shares = documented()[number]
    columns, decimals, targets = name.split(" | ")
    metrics = [Metric.parse(column) for column in columns.split(", ")]
    protocol = Protocol() if targets == "1" else Protocol(None)
    known = [metric for metric in metrics if metric is not None]
    measured = detection(known, int(decimals), protocol, seed=0)
    assert [float(share.rstrip(" %")) for share in shares] == pytest.approx(
        [100 * share for share in measured], abs=0.8
    )
