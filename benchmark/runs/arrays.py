"""A run's arrays as bytes, small enough for the references to be committed.

An npz, each array in the smallest integer type that holds it. Counts are kept as the small numbers
that they are made of:

    <split>_equal                         as in `Ranks`
    <split>_above                         [B, Q]: as in `Ranks`, in rows of bytes, the queries in
                                          the order of `SortedQueries.order`
    <split>_history_above                 [B, Q]: what leaving the history out takes away, in rows
                                          of bytes, in the order of `SortedQueries.history_order`
    <split>_history_equal                 what leaving the history out takes away
    <split>_popularity                    [6, Q]: three sums, and what the history takes away from
                                          each
    <split>_lowered                       [Q, C]: by how much each constant takes away more than the
                                          one before it, the queries in the order of what leaving
                                          the history out takes away from `above`

References leave to the table of their split (`benchmark/runs/split_table.py`) what all its runs
have in common, and are compressed with LZMA. Any other file stands alone and has that itself:

    <split>_items                         N
    <split>_history                       how many items of the user's whole sequence the history
                                          lacks
    <split>_user, _history                of several queries a user: how much each is above the one
                                          before; a user's first is kept whole
    length                                [U]

Files of schema 5 have `above`, `history_above` and `lowered` as numbers in the order of the
queries; those of schema 4 have in `history` how many items it holds, in the same way; those of
schema 3 and before have `user`, `history` and `popularity` as they are in `Ranks`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.runs.npz import from_planes, integers_from_npz, smallest, to_npz, to_planes
from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.schema import Artefacts, RunRecord, RunResult
from benchmark.runs.split_table import SPLITS, SortedQueries, Split, SplitTable

_RISES_SINCE = 4
"""Schema of the first records whose arrays are kept as rises and differences."""
_LACKING_SINCE = 5
"""Schema of the first records that keep what a history lacks: of users who repeat no item it is the
same number for all, and what it holds tells their lengths once more."""
_PLANES_SINCE = 6
"""Schema of the first records that keep counts above in rows of bytes, and what the history takes
away sorted: a run is 14 % smaller on MovieLens-1M."""
_MAY_BE_ZERO = ("equal", "history_equal", "history")
"""Left out where they are 0 throughout, as of scores without ties and of users who repeat no item:
a name in the file takes as much as a hundred ranks."""


def pack(result: RunResult, table: SplitTable | None = None) -> bytes:
    """table: that of the run's split, for references; without one the file stands alone. Raises
    ValueError for a run that is not finished, which has no arrays, and for another split's table.
    """
    if result.validation is None or result.length is None:
        raise ValueError("only a finished run has arrays")
    if table is not None and not table.fits(result):
        raise ValueError("the table is of another split than the run")
    arrays: dict[str, npt.NDArray[Any]] = {"length": result.length} if table is None else {}
    for split in _splits(result.record):
        ranks = result.validation if split == "validation" else result.test
        assert ranks is not None  # RunResult sees to it
        if table is None:
            sequence = _sequence(result.length, len(ranks), ranks.user)
            parts = _common(ranks, sequence) | _counts(ranks, _alone(ranks, sequence))
        else:
            parts = _counts(ranks, table.queries[split])
        arrays |= {
            f"{split}_{name}": array
            for name, array in parts.items()
            if name not in _MAY_BE_ZERO or array.any()
        }
    small = {name: smallest(array) for name, array in arrays.items()}
    return to_npz(small, dense=table is not None)


def unpack(
    data: bytes, record: RunRecord, artefacts: Artefacts, table: SplitTable | None = None
) -> RunResult:
    """The run again. table: the one that it was packed with. Raises one of `UNREADABLE` for bytes
    that no run was packed into."""
    arrays = integers_from_npz(data)
    length = arrays["length"] if table is None else table.length
    splits = {}
    for split in _splits(record):
        own = {
            name.removeprefix(f"{split}_"): array
            for name, array in arrays.items()
            if name.startswith(f"{split}_")
        }
        if table is None:
            queries = _own_queries(own, length, schema=record.schema_version)
        else:
            queries = table.queries[split]
        splits[split] = _ranks(own, queries, schema=record.schema_version)
        _refuse_impossible(splits[split], split)
    return RunResult(record, splits["validation"], splits.get("test"), length, artefacts)


def _refuse_impossible(ranks: Ranks, split: Split) -> None:
    """Raises ValueError for counts that no ranking gives: a checksum says that a file is whole, not
    who wrote it."""
    for above, equal, beside in (
        (ranks.above, ranks.equal, ranks.n_items - ranks.above),
        (ranks.above_masked, ranks.equal_masked, ranks.n_candidates_masked - ranks.above_masked),
    ):
        if (above < 0).any() or (equal < 0).any() or (equal >= beside).any():
            raise ValueError(f"{split} has ranks outside the catalogue")
    if (ranks.above_masked > ranks.above).any() or (ranks.equal_masked > ranks.equal).any():
        raise ValueError(f"{split} has ranks that get worse where the history is left out")


def _splits(record: RunRecord) -> tuple[Split, ...]:
    """Those that a finished run of the spec has ranks of."""
    return ("validation",) if record.spec.protocol.trial else SPLITS


def _counts(ranks: Ranks, queries: SortedQueries) -> dict[str, npt.NDArray[Any]]:
    """What is a run's own."""
    history_above = ranks.above - ranks.above_masked
    parts: dict[str, npt.NDArray[Any]] = {
        "above": to_planes(ranks.above[queries.order]),
        "equal": ranks.equal,
        "history_above": to_planes(history_above[queries.history_order(ranks.above)]),
        "history_equal": ranks.equal - ranks.equal_masked,
    }
    if ranks.popularity is not None:
        kept, left_out = ranks.popularity[:3], ranks.popularity[3:]
        parts["popularity"] = np.concatenate([kept, kept - left_out])
    if ranks.lowered is not None:
        falls = -np.diff(ranks.lowered, axis=1, prepend=history_above[:, None])
        parts["lowered"] = falls[np.argsort(history_above, kind="stable")]
    for name in ("top", "top_masked"):
        if (optional := getattr(ranks, name)) is not None:
            parts[name] = optional
    return parts


def _ranks(parts: Mapping[str, IntArray], queries: SortedQueries, *, schema: int) -> Ranks:
    above, history_above = parts["above"], parts["history_above"]
    zeros = np.zeros(len(queries), np.int32)
    equal, history_equal = parts.get("equal", zeros), parts.get("history_equal", zeros)
    popularity, lowered = parts.get("popularity"), parts.get("lowered")
    if schema >= _PLANES_SINCE:
        above = _sorted_back(from_planes(above), queries.order)
        order = queries.history_order(above)
        history_above = _sorted_back(from_planes(history_above), order)
        if lowered is not None:
            falls = _sorted_back(lowered, np.argsort(history_above, kind="stable"))
            lowered = history_above[:, None] - np.cumsum(falls, axis=1, dtype=np.int32)
    if schema >= _RISES_SINCE and popularity is not None:
        kept = popularity[:3]
        popularity = np.concatenate([kept, kept - popularity[3:]])
    return Ranks(
        above=above,
        equal=equal,
        above_masked=above - history_above,
        equal_masked=equal - history_equal,
        n_candidates_masked=queries.n_candidates_masked,
        n_items=queries.n_items,
        top=parts.get("top"),
        top_masked=parts.get("top_masked"),
        popularity=popularity,
        user=queries.user,
        lowered=lowered,
    )


def _sorted_back(values: IntArray, order: npt.NDArray[np.intp]) -> IntArray:
    """[Q, ...]: what `values[order]` was taken of. Raises ValueError for other queries."""
    if len(values) != len(order):
        raise ValueError(f"counts of {len(values)} queries, of a split that has {len(order)}")
    back = np.empty_like(values)
    back[order] = values
    return back


# ---------------------------------------------------------------- of a file that stands alone


def _alone(ranks: Ranks, sequence: IntArray) -> SortedQueries:
    """Of a run of which no other is known: no query is harder than another, and the history is
    spread evenly over the ranking."""
    zeros = np.zeros(len(ranks), np.int32)
    return SortedQueries(
        ranks.n_items, ranks.n_candidates_masked, ranks.user, expected=zeros, weight=sequence + 1
    )


def _common(ranks: Ranks, sequence: IntArray) -> dict[str, npt.NDArray[Any]]:
    """What a run has in common with the others of its split."""
    lacking = sequence - (ranks.n_items - ranks.n_candidates_masked)
    parts: dict[str, npt.NDArray[Any]] = {"items": np.asarray(ranks.n_items), "history": lacking}
    if ranks.user is not None:
        parts["user"] = np.diff(ranks.user, prepend=0)
        parts["history"] = lacking - _before(lacking, ranks.user)
    return parts


def _own_queries(parts: Mapping[str, IntArray], length: IntArray, *, schema: int) -> SortedQueries:
    """The same as `_alone`, of its parts."""
    n_items, user = int(parts["items"]), parts.get("user")
    zeros = np.zeros(parts["above"].shape[-1], np.int32)
    history = parts.get("history", zeros)
    if schema >= _RISES_SINCE and user is not None:
        user = np.cumsum(user, dtype=np.int32)
        history = _summed(history, user)
    sequence = _sequence(length, len(zeros), user)
    if schema >= _LACKING_SINCE:
        history = sequence - history
    return SortedQueries(n_items, n_items - history, user, expected=zeros, weight=sequence + 1)


def _sequence(length: IntArray, queries: int, user: IntArray | None) -> IntArray:
    """[Q]: the length of the sequence of each query's user, which the histories are set against; 0
    in a split of other users than those whose lengths are kept, as one moment for all makes."""
    first = np.diff(user, prepend=-1) != 0 if user is not None else np.ones(queries, bool)
    if first.sum() != len(length):
        return np.zeros(queries, np.int32)
    return length[np.cumsum(first) - 1]


def _before(values: IntArray, user: IntArray) -> IntArray:
    """[Q]: the value of the same user's query before, 0 for the first of each user."""
    shifted = np.concatenate([np.zeros(1, values.dtype), values[:-1]])
    return np.where(np.diff(user, prepend=-1) == 0, shifted, 0)


def _summed(rises: IntArray, user: IntArray) -> IntArray:
    """[Q]: the sum of a user's rises up to each query, which undoes `values - _before(values)`."""
    total = np.cumsum(rises, dtype=np.int64)
    first = np.flatnonzero(np.diff(user, prepend=-1))
    before = (total - rises)[first]
    return (total - np.repeat(before, np.diff(first, append=len(rises)))).astype(np.int32)
