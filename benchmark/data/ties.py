"""Tied timestamps: how many there are, and other orders of them.

Leave-one-out takes a user's last items as targets, so where they tie, their order decides what is
predicted.
"""

from dataclasses import dataclass, replace

import numpy as np

from benchmark.data.content import Bundle


@dataclass(frozen=True)
class TieFacts:
    """Shares between 0 and 1."""

    interactions: float
    """Interactions that share their timestamp with another of the same user."""
    last: float
    """Users whose latest timestamp has several interactions: the test target depends on order."""


def tie_facts(bundle: Bundle) -> TieFacts:
    """Count ties by the exact timestamps of the filtered interactions."""
    frame = bundle.interactions
    tied = frame.duplicated(["user", "timestamp"], keep=False)
    latest = frame["timestamp"] == frame.groupby("user")["timestamp"].transform("max")
    return TieFacts(
        interactions=float(tied.mean()),
        last=float((latest.groupby(frame["user"]).sum() > 1).mean()),
    )


def shuffled_ties(bundle: Bundle, seed: int) -> Bundle:
    """The bundle in memory, with the interactions of one user and timestamp in a random order."""
    frame = bundle.interactions
    draw = np.random.default_rng(seed).random(len(frame))
    order = np.lexsort((draw, frame["timestamp"], frame["user"]))
    shuffled = frame.iloc[order].reset_index(drop=True)
    shuffled["position"] = frame["position"].to_numpy()
    return replace(bundle, interactions=shuffled)
