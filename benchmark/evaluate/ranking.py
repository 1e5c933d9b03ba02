"""Scores -> ranks. The only place where a held-out item meets a model's scores.

The target's score is read from the same row of the same matrix as its competitors', so that a tie
is a tie in float32 and no rounding of a second computation can make or break one. Infinite scores
are ordered as IEEE 754 orders them (several infinities tie); a NaN has no order and is an error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.sequences import Ints, Queries
from benchmark.runs.ranks import PENALTIES, Ranks

__all__ = ["NanScores", "Ranks", "queries_at_once", "rank_targets", "rank_targets_stacked"]


SCORE_BYTES = 2**29
"""Size of the scores [S, B, N] of a batch of queries; counting and listing need up to five times
that. One seed's 512 queries fit it up to 262,144 items; of a larger catalogue, fewer queries are
scored at once. A query's scores are never divided: a million items are 4 MB a query."""


class NanScores(FloatingPointError):
    """A model scored NaN. The message names the seed's place in the stack and the first user."""

    def __init__(self, users: list[int], place: int | None = None) -> None:
        self.users = users
        who = "the model" if place is None else f"model {place} of the stack"
        super().__init__(
            f"{who} scores NaN for {len(users)} user(s), the first in row {users[0]} of the "
            "queries: training has diverged; lower the learning rate or clip gradients"
        )


def queries_at_once(n_items: int, seeds: int = 1) -> int:
    """How many queries are scored together: 512, or as many as `SCORE_BYTES` allow."""
    return max(1, min(512, SCORE_BYTES // (4 * n_items * seeds)))


def rank_targets(
    score: Callable[[Tensor], Tensor],
    queries: Queries,
    *,
    top: int = 50,
    popularity: Ints | None = None,
    lowered: bool = False,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> Ranks:
    """Ranks of every query's target under one model.

    score: histories [B, L] int64 -> scores [B, N], where column i - 1 belongs to item i.
    top: length of the stored top lists (less where N is smaller); 0 keeps none.
    popularity: [N + 1], how often each item is trained on, for `Ranks.popularity`; None keeps none.
    lowered: whether to count `Ranks.lowered`, which takes one more pass over the scores.
    Raises NanScores (a FloatingPointError) where any score is NaN, ValueError for scores of a wrong
    shape or a target outside 1..N.
    """
    (ranks,) = rank_targets_stacked(
        lambda history: score(history)[None],
        queries,
        top=top,
        popularity=popularity,
        lowered=lowered,
        batch_size=batch_size,
        device=device,
    )
    if isinstance(ranks, NanScores):
        raise NanScores(ranks.users)
    return ranks


@torch.no_grad()
def rank_targets_stacked(
    score: Callable[[Tensor], Tensor],
    queries: Queries,
    *,
    top: int = 50,
    popularity: Ints | None = None,
    lowered: bool = False,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> list[Ranks | NanScores]:
    """Ranks of every query's target under each model of a stack.

    score: histories [B, L] int64 -> scores [S, B, N]. Returns S entries in the order of the stack;
    a model that scores NaN gets its NanScores in place of ranks, the others are not touched by it.
    Raises ValueError as `rank_targets` does.
    """
    if not len(queries.target):
        raise ValueError("there are no queries to rank: the split is empty")
    order, place_of = _by_length(queries)
    rows, items = _history(queries)
    number = np.bincount(rows, minlength=len(queries.target))
    weight = None if popularity is None else torch.as_tensor(popularity[1:], device=device).double()
    parts = [
        _count(score(batch.history), batch, top, weight, lowered=lowered)
        for batch in _batches(queries, order, rows, items, batch_size, device)
    ]
    counts = torch.cat([part.counts for part in parts], dim=-1).cpu().numpy()[..., place_of]
    above_lowered = torch.cat([part.lowered for part in parts], dim=-1).cpu().numpy()[..., place_of]
    nan = torch.cat([part.nan for part in parts], dim=-1).cpu().numpy()[..., place_of]
    best = torch.cat([part.top for part in parts], dim=2).cpu().numpy()[:, :, place_of]
    trained_on = None
    if weight is not None:
        joined = torch.cat([part.popularity for part in parts if part.popularity is not None], -1)
        trained_on = joined.cpu().numpy()[..., place_of].astype(np.int32)
    n_items = parts[0].n_items
    candidates = (n_items - number).astype(np.int32)

    user = queries.user.astype(np.int32) if (np.diff(queries.user) == 0).any() else None

    def ranks(place: int) -> Ranks | NanScores:
        if nan[place].any():
            return NanScores(np.flatnonzero(nan[place]).tolist(), place)
        above, equal, above_masked, equal_masked = counts[:, place]
        return Ranks(
            above=above,
            equal=equal,
            above_masked=above_masked,
            equal_masked=equal_masked,
            n_candidates_masked=candidates,
            n_items=n_items,
            top=best[0, place] if best.shape[-1] else None,
            top_masked=best[1, place] if best.shape[-1] else None,
            popularity=None if trained_on is None else trained_on[:, place],
            user=user,
            lowered=np.ascontiguousarray(above_lowered[:, place].T) if lowered else None,
        )

    return [ranks(place) for place in range(len(nan))]


@dataclass(frozen=True)
class _Batch:
    history: Tensor
    """[B, L]"""
    target: Tensor
    """[B], column of each target."""
    span: tuple[int, int]
    """Smallest and largest column among them, on the host."""
    seen_rows: Tensor
    """[M], row in the batch of each (user, item) met before, without repeats or targets."""
    seen_items: Tensor
    """[M], its column."""


@dataclass(frozen=True)
class _Counts:
    counts: Tensor
    """[4, S, B] int32: above, equal, above masked, equal masked."""
    lowered: Tensor
    """[C, S, B] int32: history items above the target, their scores lowered by each penalty; C is 0
    where that is not counted."""
    nan: Tensor
    """[S, B] bool"""
    top: Tensor
    """[2, S, B, K] int32: the history kept, and left out."""
    popularity: Tensor | None
    """[6, S, B] float64: as in `Ranks`."""
    n_items: int


def _by_length(queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    """The queries in order of their histories' lengths, so that a batch of them wastes no padding,
    and where each stands in that order."""
    order = np.argsort((queries.history > 0).sum(1), kind="stable")
    return order, np.argsort(order)


def _history(queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    """(row, item) of everything that masking removes: each item once, and never the target."""
    rows = np.repeat(np.arange(len(queries.target)), np.diff(queries.seen_offsets))
    items = np.asarray(queries.seen_items)
    base = int(items.max(initial=0)) + 1
    pairs = np.unique(rows * base + items)
    rows, items = np.divmod(pairs, base)
    kept = items != np.asarray(queries.target)[rows]
    return rows[kept], items[kept]


def _batches(
    queries: Queries,
    order: np.ndarray,
    rows: np.ndarray,
    items: np.ndarray,
    size: int,
    device: torch.device | str,
) -> Iterator[_Batch]:
    """Batches of queries on the device, in the given order; `rows` are ascending."""
    starts = np.searchsorted(rows, np.arange(len(order) + 1))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        target = queries.target[part] - 1
        number = starts[part + 1] - starts[part]
        seen_rows = np.repeat(np.arange(len(part)), number)
        within = np.arange(len(seen_rows)) - np.repeat(np.cumsum(number) - number, number)
        seen_items = items[np.repeat(starts[part], number) + within]
        yield _Batch(
            history=torch.as_tensor(queries.history[part], device=device),
            target=torch.as_tensor(target, device=device),
            span=(int(target.min()), int(target.max())),
            seen_rows=torch.as_tensor(seen_rows, device=device),
            seen_items=torch.as_tensor(seen_items - 1, device=device),
        )


def _count(
    scores: Tensor, batch: _Batch, top: int, weight: Tensor | None, *, lowered: bool
) -> _Counts:
    """Counts of one batch, scores [S, B, N]; weight: [N], items' popularity, None to keep none of
    it. Waits for the device only to see if a tie crosses the end of a top list."""
    if scores.ndim != 3 or scores.shape[1] != len(batch.target):
        raise ValueError(
            f"scores have shape {list(scores.shape)}, expected [models, {len(batch.target)}, items]"
        )
    seeds, users, n_items = scores.shape
    if batch.span[0] < 0 or batch.span[1] >= n_items:
        raise ValueError(f"a target lies outside the items 1..{n_items} that are scored")
    target = scores.gather(2, batch.target.expand(seeds, users)[..., None])
    above = torch.count_nonzero(scores > target, dim=2)
    equal = torch.count_nonzero(scores == target, dim=2) - 1

    k = min(top, n_items)
    seen = scores[:, batch.seen_rows, batch.seen_items]
    reference = target[:, batch.seen_rows, 0]
    zeros = torch.zeros_like(above)
    seen_above = zeros.index_add(1, batch.seen_rows, (seen > reference).long())
    seen_equal = zeros.index_add(1, batch.seen_rows, (seen == reference).long())
    after_penalty = zeros.new_empty((0, *zeros.shape))
    if lowered:
        margin, unit = seen - reference, scores.std(dim=2, correction=0)[:, batch.seen_rows]
        after_penalty = torch.stack(
            [
                zeros.index_add(1, batch.seen_rows, (margin > penalty * unit).long())
                for penalty in PENALTIES
            ]
        )
    return _Counts(
        counts=torch.stack([above, equal, above - seen_above, equal - seen_equal]).int(),
        lowered=after_penalty.int(),
        nan=torch.isnan(scores).any(dim=2),
        top=torch.stack([_top(scores, k), _top_masked(scores, batch, k)]),
        popularity=None if weight is None else _popularity(scores, target, batch, weight),
        n_items=n_items,
    )


def _popularity(scores: Tensor, target: Tensor, batch: _Batch, weight: Tensor) -> Tensor:
    """[6, S, B] float64, in which sums of counts are exact; target: [S, B, 1], the targets' scores,
    weight: [N]."""
    own = weight[batch.target]
    above = (scores > target).double() @ weight
    equal = (scores == target).double() @ weight - own
    others = (weight.sum() - own).expand_as(above)
    seen, reference = scores[:, batch.seen_rows, batch.seen_items], target[:, batch.seen_rows, 0]
    lost = weight[batch.seen_items].expand_as(seen)
    zeros = torch.zeros_like(above)
    of_history = [
        zeros.index_add(1, batch.seen_rows, lost * which)
        for which in (seen > reference, seen == reference, torch.ones_like(seen, dtype=torch.bool))
    ]
    kept = torch.stack([above, equal, others])
    return torch.cat([kept, kept - torch.stack(of_history)])


def _top_masked(scores: Tensor, batch: _Batch, k: int) -> Tensor:
    """`_top` without the history; 0 where nothing is left to list. [S, B, k] int32"""
    if k == 0:
        return _top(scores, 0)
    left = scores.clone()
    left[:, batch.seen_rows, batch.seen_items] = -torch.inf
    seen = torch.zeros(scores.shape[1:], dtype=torch.bool, device=scores.device)
    seen[batch.seen_rows, batch.seen_items] = True
    best = _top(left, k)
    listed = seen.expand_as(scores).gather(2, best.long() - 1)
    return best.masked_fill(listed, 0)


def _top(scores: Tensor, k: int) -> Tensor:
    """Ids of the k best items of every row, [S, B, k] int32: by score, ties by smaller id.

    `torch.topk` promises no order among ties. Rows where a tie crosses the end of the list are
    sorted whole; elsewhere putting the list itself in order is enough.
    """
    n_items = scores.shape[-1]
    if k == 0:
        return scores.new_empty((*scores.shape[:-1], 0), dtype=torch.int32)
    values, columns = scores.topk(min(k + 1, n_items), dim=-1)
    by_id = columns[..., :k].sort(dim=-1).values
    order = scores.gather(-1, by_id).sort(dim=-1, descending=True, stable=True).indices
    best = by_id.gather(-1, order)
    if k < n_items:
        crossing = values[..., k - 1] == values[..., k]
        if bool(crossing.any()):
            whole = scores[crossing].sort(dim=-1, descending=True, stable=True).indices
            best[crossing] = whole[:, :k]
    return (best + 1).int()
