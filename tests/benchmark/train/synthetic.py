"""Small synthetic sequences in which the next item follows from the last one."""

import numpy as np

from benchmark.data.sequences import Queries, Windows


def sequences(users=48, items=30, length=12, seed=0, shortest=3) -> tuple[Windows, Queries]:
    """Windows [users, length + 1] and one query each; item i is mostly followed by i + 1."""
    rng = np.random.default_rng(seed)
    full = np.zeros((users, length + 1), dtype=np.int64)
    lengths = rng.integers(shortest, length + 2, users)
    for u, n in enumerate(lengths):
        steps = np.where(rng.random(n) < 0.9, 1, rng.integers(1, items, n))
        full[u, :n] = (rng.integers(items) + np.cumsum(steps)) % items + 1
    target = full[np.arange(users), lengths - 1]
    history = full[:, :length].copy()
    history[np.arange(length) >= (lengths - 1)[:, None]] = 0
    train = full.copy()
    train[np.arange(length + 1) >= (lengths - 1)[:, None]] = 0
    seen = [history[u, : n - 1] for u, n in enumerate(lengths)]
    windows = Windows(train, np.zeros(users, dtype=np.int64), np.arange(users))
    queries = Queries(
        user=np.arange(users),
        history=history,
        target=target,
        seen_items=np.concatenate(seen),
        seen_offsets=np.concatenate([[0], np.cumsum([len(s) for s in seen])]),
        length=lengths,
    )
    return windows, queries
