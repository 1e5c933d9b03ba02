"""A run's arrays as bytes, small enough for the references to be committed.

An npz, each array in the smallest integer type that holds it; references are compressed with LZMA,
which is a sixth smaller than numpy's own and takes ten times as long. Counts are kept as the small
numbers that they are made of:

    <split>_equal                         as in `Ranks`
    <split>_above                         [B, Q]: as in `Ranks`, byte by byte, the lowest first:
                                          bytes of one place are alike and pack by themselves
    <split>_history_above                 [B, Q]: what leaving the history out takes away, byte by
                                          byte, the queries in the order of `_by_expected_history`
    <split>_history_equal                 what leaving the history out takes away
    <split>_popularity                    [6, Q]: three sums, and what the history takes away from
                                          each
    <split>_history                       how many items of the user's whole sequence the history
                                          lacks
    <split>_lowered                       [Q, C]: by how much each constant takes away more than the
                                          one before it, the queries in the order of what leaving
                                          the history out takes away from `above`
    <split>_user, _history                of several queries a user: how much each is above the one
                                          before; a user's first is kept whole

Files of schema 5 have `above`, `history_above` and `lowered` as numbers in the order of the
queries; those of schema 4 have in `history` how many items it holds, in the same way; those of
schema 3 and before have `user`, `history` and `popularity` as they are in `Ranks`.
"""

import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.schema import Artefacts, RunRecord, RunResult

_Split = Literal["validation", "test"]

UNREADABLE = (
    *(LookupError, ValueError, TypeError, OSError, EOFError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(RuntimeError, NotImplementedError),  # encrypted, or packed in a way that zipfile lacks
)
"""What reading a file of arrays raises where it is none, or not one of a run."""

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


def pack(result: RunResult, *, dense: bool = False) -> bytes:
    """dense: as small as it goes, for references. Raises ValueError for a run that is not finished,
    which has no arrays."""
    if result.validation is None or result.length is None:
        raise ValueError("only a finished run has arrays")
    arrays: dict[str, npt.NDArray[Any]] = {"length": result.length}
    for split in _splits(result.record):
        ranks = result.validation if split == "validation" else result.test
        assert ranks is not None  # RunResult sees to it
        parts = _parts(ranks, result.length)
        arrays |= {f"{split}_{name}": array for name, array in parts.items()}
    small = {name: array.astype(_smallest(array)) for name, array in arrays.items()}
    return to_npz(small, dense=dense)


def unpack(data: bytes, record: RunRecord, artefacts: Artefacts) -> RunResult:
    """The run again. Raises one of `UNREADABLE` for bytes that no run was packed into."""
    arrays = {}
    for name, array in from_npz(data).items():
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} holds no whole numbers")
        arrays[name] = array.astype(np.int32)
    splits = {}
    for split in _splits(record):
        own = {
            name.removeprefix(f"{split}_"): array
            for name, array in arrays.items()
            if name.startswith(f"{split}_")
        }
        splits[split] = _ranks(own, arrays["length"], schema=record.schema_version)
        _refuse_impossible(splits[split], split)
    return RunResult(record, splits["validation"], splits.get("test"), arrays["length"], artefacts)


def _refuse_impossible(ranks: Ranks, split: _Split) -> None:
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


def to_npz(arrays: Mapping[str, npt.NDArray[Any]], *, dense: bool = False) -> bytes:
    """A file that `numpy.load` reads; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    compression = zipfile.ZIP_LZMA if dense else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def from_npz(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """By name. Raises one of `UNREADABLE` for other bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as npz:
        return {name: npz[name] for name in npz.files}


def _splits(record: RunRecord) -> tuple[_Split, ...]:
    """Those that a finished run of the spec has ranks of."""
    return ("validation",) if record.spec.protocol.trial else ("validation", "test")


def _smallest(array: npt.NDArray[Any]) -> np.dtype[Any]:
    """The smallest integer type that holds all of it."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    return np.result_type(np.min_scalar_type(low), np.min_scalar_type(high))


def _parts(ranks: Ranks, length: IntArray) -> dict[str, npt.NDArray[Any]]:
    history = ranks.n_items - ranks.n_candidates_masked
    sequence = _sequence(length, len(ranks), ranks.user)
    lacking = sequence - history
    history_above = ranks.above - ranks.above_masked
    parts: dict[str, npt.NDArray[Any]] = {
        "items": np.asarray(ranks.n_items),
        "above": _planes(ranks.above),
        "equal": ranks.equal,
        "history_above": _planes(history_above[_by_expected_history(ranks.above, sequence)]),
        "history_equal": ranks.equal - ranks.equal_masked,
        "history": lacking,
    }
    if ranks.user is not None:
        parts["user"] = np.diff(ranks.user, prepend=0)
        parts["history"] = lacking - _before(lacking, ranks.user)
    if ranks.popularity is not None:
        kept, left_out = ranks.popularity[:3], ranks.popularity[3:]
        parts["popularity"] = np.concatenate([kept, kept - left_out])
    if ranks.lowered is not None:
        falls = -np.diff(ranks.lowered, axis=1, prepend=history_above[:, None])
        parts["lowered"] = falls[np.argsort(history_above, kind="stable")]
    for name in ("top", "top_masked"):
        if (optional := getattr(ranks, name)) is not None:
            parts[name] = optional
    return {name: part for name, part in parts.items() if name not in _MAY_BE_ZERO or part.any()}


def _ranks(parts: Mapping[str, IntArray], length: IntArray, *, schema: int) -> Ranks:
    n_items = int(parts["items"])
    above, history_above = parts["above"], parts["history_above"]
    zeros = np.zeros(above.shape[-1], np.int32)
    equal, history_equal, history = (parts.get(name, zeros) for name in _MAY_BE_ZERO)
    user, popularity, lowered = (parts.get(name) for name in ("user", "popularity", "lowered"))
    if schema >= _RISES_SINCE and user is not None:
        user = np.cumsum(user, dtype=np.int32)
        history = _summed(history, user)
    sequence = _sequence(length, len(equal), user)
    if schema >= _LACKING_SINCE:
        history = sequence - history
    if schema >= _PLANES_SINCE:
        above = _from_planes(above)
        order = _by_expected_history(above, sequence)
        history_above = _sorted_back(_from_planes(history_above), order)
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
        n_candidates_masked=n_items - history,
        n_items=n_items,
        top=parts.get("top"),
        top_masked=parts.get("top_masked"),
        popularity=popularity,
        user=user,
        lowered=lowered,
    )


def _planes(values: IntArray) -> npt.NDArray[np.uint8]:
    """[B, Q]: byte by byte, the lowest first, of as many bytes as the largest of them takes."""
    width = _smallest(values).itemsize
    return np.stack([(values >> 8 * byte & 0xFF).astype(np.uint8) for byte in range(width)])


def _from_planes(planes: IntArray) -> IntArray:
    """[Q]: the numbers whose bytes these are. Raises ValueError for what holds no bytes in rows."""
    rows = planes.ndim == 2 and 1 <= len(planes) <= 4
    if not rows or (planes < 0).any() or (planes > 0xFF).any():
        raise ValueError("counts that are no rows of bytes")
    place = 256 ** np.arange(len(planes), dtype=np.int64)
    return (place @ planes).astype(np.int32)


def _sorted_back(values: IntArray, order: npt.NDArray[np.intp]) -> IntArray:
    """[Q, ...]: what `values[order]` was taken of."""
    back = np.empty_like(values)
    back[order] = values
    return back


def _by_expected_history(above: IntArray, sequence: IntArray) -> npt.NDArray[np.intp]:
    """[Q]: the queries in the order of how many history items would be above the target if those
    were spread evenly over the ranking. Neighbours in it have like counts, which pack better."""
    return np.argsort(above.astype(np.int64) * (sequence + 1), kind="stable")


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
