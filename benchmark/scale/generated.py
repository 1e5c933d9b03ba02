"""Data of a given size, for measuring costs: what a step costs does not depend on what items mean.

Items are drawn with replacement by Zipf popularity (rank^-0.9), users' lengths are log-normal
(sigma 0.8, at least 3). Planted data (benchmark/data/planted) draw each item from a full
distribution over the catalogue and are for thousands of users, not millions.
"""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data.bundle import write_bundle
from benchmark.data.config import DatasetConfig, Modality
from benchmark.data.content import Bundle
from benchmark.data.features import FeatureTable
from benchmark.data.meta import Provenance

Ints = NDArray[np.int64]

SIGMA = 0.8
"""Of the logarithm of users' lengths; Amazon's and MicroLens's lengths are about as uneven."""
SHORTEST = 3
ZIPF = 0.9


def sequences(
    interactions: int, items: int, mean_length: float, seed: int = 0
) -> tuple[Ints, Ints]:
    """(items 0 .. items - 1 of one user after the other, lengths); about `interactions` of them."""
    rng = np.random.default_rng(seed)
    users = max(1, round(interactions / mean_length))
    drawn = rng.lognormal(np.log(mean_length) - SIGMA**2 / 2, SIGMA, users)
    lengths = np.maximum(SHORTEST, np.rint(drawn)).astype(np.int64)
    chance = np.arange(1, items + 1, dtype=np.float64) ** -ZIPF
    cumulative = np.cumsum(chance)
    draws = rng.random(int(lengths.sum())) * cumulative[-1]
    return np.searchsorted(cumulative, draws).clip(max=items - 1), lengths


def write_generated(
    root: Path, interactions: int, items: int, mean_length: float, width: int
) -> Bundle:
    """The bundle root/generated, with text features [items, width] in float16 if width > 0."""
    taken, lengths = sequences(interactions, items, mean_length)
    user = np.repeat(np.arange(len(lengths)), lengths)
    user_ids = np.array([f"u{k}" for k in range(len(lengths))], dtype=object)
    item_ids = np.array([f"i{k}" for k in range(items)], dtype=object)
    frame = pd.DataFrame(
        {"user": user_ids[user], "item": item_ids[taken], "timestamp": np.arange(len(taken))}
    )
    tables: dict[Modality, FeatureTable] = {}
    if width:
        values = np.random.default_rng(1).standard_normal((items, width), dtype=np.float32)
        tables["text"] = FeatureTable(
            ids=item_ids.tolist(),
            values=values.astype(np.float16),
            present=np.ones(items, dtype=bool),
            layers=(),
            provenance=Provenance(encoder="generated", model="noise", created=date(2025, 8, 3)),
        )
    config = DatasetConfig(
        name="generated", title="Generated", grade="C", interactions=[], licence="generated"
    )
    return write_bundle(config, frame, None, tables, root=root, source="generated", inputs={})
