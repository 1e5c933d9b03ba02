"""Sizes of the datasets as Tables 1 and 4 have them, counted from the bundles, beside the paper's.

The printed counts of users and items are one too high each, for they include RecBole's padding id.
Nothing here loads features.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from benchmark.data.config import Counts
from benchmark.data.meta import (
    BundleMeta,
    check_file,
    default_root,
    is_current,
    read_frame,
    read_meta,
)
from benchmark.data.splits import by_time
from benchmark.paper import load_cells

STATISTICS = ("users", "items", "interactions", "sparsity", "average_length")
DIGITS = {"sparsity": 2, "average_length": 2}
"""Decimals that the paper prints; counts have none."""

_TOLERANCE = {"users": 0, "items": 0, "interactions": 0, "sparsity": 0.005, "average_length": 0.005}
"""Counts must be equal; the others are printed with two decimals."""

Verdict = Literal["agrees", "padded", "differs", ""]
"""Of a printed number: equal to the digit; one too high by the padding id; neither; not printed."""


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


def table1(metas: Sequence[BundleMeta], printed: pd.DataFrame | None = None) -> pd.DataFrame:
    """Columns dataset, statistic, ours, printed, decoded, difference, agrees.

    decoded: the printed user and item counts each less one, sparsity and length recomputed from the
    counts so corrected. difference is ours less decoded; agrees says whether it is within the
    printed rounding. The last four are missing for a dataset that the paper does not have.
    printed: the paper's cells, load_cells() by default.
    """
    values = _printed("1", printed)
    rows = []
    for meta in metas:
        ours = statistics(meta.counts)
        paper: dict[str, float] = {}
        decoded: dict[str, float] = {}
        if (meta.name, "", "users") in values:
            paper = {name: values[meta.name, "", name] for name in STATISTICS}
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
                    "dataset": meta.name,
                    "statistic": name,
                    "ours": ours[name],
                    "printed": paper.get(name),
                    "decoded": decoded.get(name),
                    "difference": difference,
                    "agrees": None if difference is None else abs(difference) <= _TOLERANCE[name],
                }
            )
    return pd.DataFrame(rows)


def table4(
    metas: Sequence[BundleMeta],
    buckets: Mapping[str, tuple[int, int | None]],
    *,
    root: Path | None = None,
    printed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Columns dataset, length, statistic, ours, printed, gap, verdict; buckets without users are
    left out, and "Total" is the last.

    buckets: label -> (low, high): users whose full sequence has low <= length < high items; None is
    no upper end. gap is the printed number less ours, both rounded as printed; verdict a `Verdict`.
    root: folder of the bundles. Raises InputError where a bundle's interactions are damaged.
    """
    values = _printed("4", printed)
    rows = []
    for meta in metas:
        for label, counts in _by_length(_interactions(meta, root), buckets).items():
            if not counts.users:
                continue
            ours = statistics(counts)
            for name in STATISTICS:
                if name == "average_length":  # Table 4 does not print it
                    continue
                paper = values.get((meta.name, label, name), math.nan)
                gap, verdict = _compared(ours[name], paper, name)
                rows.append((meta.name, label, name, ours[name], paper, gap, verdict))
    columns = ["dataset", "length", "statistic", "ours", "printed", "gap", "verdict"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class TimeSplit:
    """Whom and what a split at one moment for all users leaves to learn from and to ask for."""

    users: int
    trained_users: int
    """With an interaction before the first moment."""
    test_users: int
    """With a test target."""
    unseen_users: int
    """Of `test_users`, those of whom nothing is trained on."""
    targets: int
    unseen_targets: int
    """Test targets whose item is never trained on."""
    items: int
    unseen_items: int
    """Items of the catalogue that are never trained on."""


def time_split(frame: pd.DataFrame, *, targets: int = 1, max_users: int | None = None) -> TimeSplit:
    """Count what `benchmark.data.splits.by_time` makes of a dataset.

    frame: its interactions, sorted by user and position. targets: the most test targets of a user.
    max_users: keep so many first users alone, once the moments are found. Raises InputError as
    `by_time` does.
    """
    length = np.bincount(frame["user"].to_numpy())
    offsets = np.concatenate([[0], np.cumsum(length)])
    division = by_time(frame["timestamp"].to_numpy(), offsets, 1, targets)
    kept = slice(max_users)
    train, test, asked = division.train[kept], division.test[kept], division.n_test[kept]
    items = frame["item"].to_numpy()
    user = frame["user"].to_numpy()
    place = np.arange(len(items)) - offsets[user]
    own = user < len(train)
    user, place, own_items = user[own], place[own], items[own]
    seen = np.unique(own_items[place < train[user]])
    is_target = (place >= test[user]) & (place < (test + asked)[user])
    catalogue = len(np.unique(items))
    return TimeSplit(
        users=len(train),
        trained_users=int((train > 0).sum()),
        test_users=int((asked > 0).sum()),
        unseen_users=int(((asked > 0) & (train == 0)).sum()),
        targets=int(asked.sum()),
        unseen_targets=int((~np.isin(own_items[is_target], seen)).sum()),
        items=catalogue,
        unseen_items=catalogue - len(seen),
    )


def stored_time_split(
    name: str, root: Path | None, *, targets: int = 1, max_users: int | None = None
) -> TimeSplit | None:
    """`time_split` of a bundle; None where the bundle is not there. root: folder of the bundles.
    Raises InputError where the bundle is damaged."""
    path = (root or default_root()) / name
    if not is_current(path, name):
        return None
    return time_split(_interactions(read_meta(path), root), targets=targets, max_users=max_users)


def _printed(table: str, cells: pd.DataFrame | None) -> dict[tuple[str, str, str], float]:
    """(dataset, length bucket, statistic) -> printed value; Table 1 has no buckets."""
    cells = load_cells() if cells is None else cells
    own = cells[cells["table"].astype(str) == table]
    rows = own["row"] if table == "4" else [""] * len(own)
    keys = zip(own["dataset"], rows, own["metric"], strict=True)
    return dict(zip(keys, own["value"].astype(float), strict=True))


def _interactions(meta: BundleMeta, root: Path | None) -> pd.DataFrame:
    path, file = (root or default_root()) / meta.name, "interactions.parquet"
    check_file(path, meta, file)
    return read_frame(path, file)


def _by_length(
    frame: pd.DataFrame, buckets: Mapping[str, tuple[int, int | None]]
) -> dict[str, Counts]:
    length = frame.groupby("user")["item"].transform("size").to_numpy(np.int32)
    found = {}
    for label, (low, high) in buckets.items():
        inside = length >= low if high is None else (length >= low) & (length < high)
        found[label] = _counts(frame[inside])
    return found | {"Total": _counts(frame)}


def _counts(frame: pd.DataFrame) -> Counts:
    users, items = int(frame["user"].nunique()), int(frame["item"].nunique())
    return Counts(users=users, items=items, interactions=len(frame))


def _compared(ours: float, printed: float, name: str) -> tuple[float, Verdict]:
    if math.isnan(printed):
        return math.nan, ""
    digits = DIGITS.get(name, 0)
    gap = round(printed, digits) - round(ours, digits)
    if abs(gap) < 0.5 * 10**-digits:
        return gap, "agrees"
    if gap == 1 and name in ("users", "items"):
        return gap, "padded"
    return gap, "differs"
