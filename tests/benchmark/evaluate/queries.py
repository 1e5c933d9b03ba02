"""Queries made by hand or drawn, for the tests of evaluation."""

import numpy as np
import torch

from benchmark.data.sequences import Queries


def make_queries(targets: list[int], seen: list[list[int]], length: int = 4) -> Queries:
    """Queries whose histories are the last `length` of the seen items."""
    history = np.zeros((len(targets), length), np.int64)
    for user, items in enumerate(seen):
        history[user, : len(items[-length:])] = items[-length:]
    return Queries(
        user=np.arange(len(targets)),
        history=history,
        target=np.array(targets, np.int64),
        seen_items=np.array([item for items in seen for item in items], np.int64),
        seen_offsets=np.cumsum([0, *map(len, seen)]),
        length=np.array([len(items) + 1 for items in seen], np.int64),
    )


def draw_queries(rng: np.random.Generator, users: int, items: int) -> Queries:
    """Random targets and histories, with repeats in the history and targets met before."""
    targets = rng.integers(1, items + 1, users).tolist()
    seen = [rng.integers(1, items + 1, rng.integers(1, 12)).tolist() for _ in range(users)]
    for user in range(0, users, 5):
        seen[user].append(targets[user])
    return make_queries(targets, seen)


def scorer(table: torch.Tensor, queries: Queries):
    """A model that scores query q by row q of a table [..., Q, N]: queries are asked for in the
    order of their histories' lengths."""
    order = np.argsort((queries.history > 0).sum(1), kind="stable")
    position = 0

    def score(history: torch.Tensor) -> torch.Tensor:
        nonlocal position
        rows = table[..., order[position : position + len(history)], :]
        position += len(history)
        return rows

    return score
