"""From a bundle to padded arrays: what is held out of each sequence, training windows and queries.

Of a user's sequence s[0..n-1] in time order the last item is the test target, the one before it the
validation target, and s[0..n-3] is trained on (leave-one-out, the paper's section 3.1). More items
may be held out as targets, each asked for after the true history before it: of validation, to see
through the noise of few users (docs/tuning.md); of test, for the power of a rolling split. The
other ways to divide are in `benchmark/data/splits.py`.

Glossary
    U   users, Q queries, W windows, L longest history that a model sees
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.data.splits import Division, SplitName, by_ratio, by_time, leave_out
from benchmark.errors import InputError

if TYPE_CHECKING:
    from benchmark.data.content import Bundle

Ints = NDArray[np.int64]

SHUFFLE_SEED = 20250804
"""Of the one random order that shuffled sequences have."""


@dataclass(frozen=True)
class Histories:
    """The items that users are trained on, in order."""

    items: Ints
    """User after user."""
    offsets: Ints
    """[U + 1]; user u's are items[offsets[u]:offsets[u + 1]], of some users none."""

    def frequency(self, n_items: int) -> Ints:
        """[N + 1]: how often each item is trained on; 0 of padding."""
        return np.bincount(self.items, minlength=n_items + 1)


@dataclass(frozen=True)
class Windows:
    """Pieces of training sequences; column t is an input and column t + 1 its target."""

    items: Ints
    """[W, L + 1], padded with 0 at the right."""
    first_target: Ints
    """[W], index t of the first input whose target counts: earlier targets count in an earlier
    window of the same user."""
    user: Ints
    """[W]"""
    prefixes: bool = False
    """Whether each window stands for one transition, its last: a prefix as a sample of its own."""

    @property
    def counts(self) -> NDArray[np.bool_]:
        """[W, L]: whether the target of input t counts in the loss."""
        steps = np.arange(self.items.shape[1] - 1)
        return np.asarray((steps >= self.first_target[:, None]) & (self.items[:, 1:] > 0))


@dataclass(frozen=True)
class Queries:
    """Rankings, at least one a user: predict `target` from what came before it."""

    user: Ints
    """[Q], ascending; a user's queries stand in the order of time."""
    history: Ints
    """[Q, L], the last L items before the target, padded with 0 at the right."""
    target: Ints
    """[Q]"""
    seen_items: Ints
    """Items of the whole history before the target, query after query."""
    seen_offsets: Ints
    """[Q + 1]; query q's whole history is seen_items[seen_offsets[q]:seen_offsets[q + 1]]."""
    length: Ints
    """[Q], length of the user's full sequence after filtering (targets included)."""


@dataclass(frozen=True)
class Sequences:
    """What one protocol trains on, selects on and tests on."""

    train: Windows
    validation: Queries
    test: Queries
    histories: Histories
    """What the windows are cut from."""

    def first_users(self, number: int) -> "Sequences":
        """The same split of the first `number` users alone; the catalogue stays whole."""
        kept = self.train.user < number
        train = replace(
            self.train,
            items=self.train.items[kept],
            first_target=self.train.first_target[kept],
            user=self.train.user[kept],
        )
        offsets = self.histories.offsets[: number + 1]
        return Sequences(
            train,
            _first_queries(self.validation, number),
            _first_queries(self.test, number),
            Histories(self.histories.items[: offsets[-1]], offsets),
        )


def _first_queries(queries: Queries, users: int) -> Queries:
    number = int(np.searchsorted(queries.user, users))
    offsets = queries.seen_offsets[: number + 1]
    return Queries(
        user=queries.user[:number],
        history=queries.history[:number],
        target=queries.target[:number],
        seen_items=queries.seen_items[: offsets[-1]],
        seen_offsets=offsets,
        length=queries.length[:number],
    )


def hold_out(
    bundle: "Bundle",
    max_length: int,
    *,
    stride: int | None = None,
    prefixes: bool = False,
    split: SplitName = "leave-one-out",
    validation_targets: int = 1,
    test_targets: int = 1,
    one_list: bool = False,
    shuffled: bool = False,
    leak: bool = False,
) -> Sequences:
    """Divide every user's sequence and cut what is trained on into windows of L + 1 items.

    split, validation_targets, test_targets: as in `benchmark/data/splits.py`. one_list: all test
    targets of a user are asked for after what stands before the first of them, as one list of
    recommendations would be; else each after the true history before it. shuffled: what users are
    trained on, and the histories of queries within their window, stand in random order. leak: the
    whole sequences are trained on, targets included; what is asked for stays the same.

    A user who fits has one window. A longer one has windows that start every `stride` items
    (default L // 2), the last one aligned with the end of the sequence; a window's targets count
    from where the one before it ended, so every training transition counts exactly once, and every
    target of a later window has at least L - stride items of context. `prefixes` gives instead one
    window for every training transition, with its last target alone counted: the augmentation of
    the RecBole family, as an all-position loss sees it.

    Raises InputError if the window, the stride, a number of targets or the split is impossible, or
    a user has fewer than three interactions where each is to have all three parts.
    """
    if max_length < 1:
        raise InputError(f"max_length is {max_length}: a window needs at least one item")
    if stride is None:
        stride = max(max_length // 2, 1)
    if not 1 <= stride <= max_length:
        raise InputError(f"stride is {stride}: it must lie between 1 and max_length {max_length}")
    if min(validation_targets, test_targets) < 1:
        raise InputError(
            f"{validation_targets} validation and {test_targets} test targets a user: each split "
            "needs at least one"
        )
    items, offsets = bundle.sequences()
    division = _divide(bundle, offsets, split, validation_targets, test_targets)
    trained = np.diff(offsets) if leak else division.train
    histories = _histories(items, offsets, trained)
    if shuffled:
        histories = _shuffled(histories)
    cut = _prefixes if prefixes else _windows
    start, stop, first_target, user_of = cut(trained, max_length, stride)
    first = histories.offsets[user_of] + start
    train = Windows(
        _gather(histories.items, first, stop - start, max_length + 1),
        first_target,
        user_of,
        prefixes,
    )
    validation = _queries(
        items, offsets, max_length, division.validation, division.n_validation, one_list=False
    )
    test = _queries(items, offsets, max_length, division.test, division.n_test, one_list=one_list)
    if shuffled:
        validation, test = (_shuffled_within_window(q) for q in (validation, test))
    return Sequences(train, validation, test, histories)


def _divide(
    bundle: "Bundle", offsets: Ints, split: SplitName, validation_targets: int, test_targets: int
) -> Division:
    length = np.diff(offsets)
    if split == "global-time":
        times = bundle.interactions["timestamp"].to_numpy()
        return by_time(times, offsets, validation_targets, test_targets)
    if (length < 3).any():
        user = int(np.argmax(length < 3))
        raise InputError(
            f"{bundle.path}: user {user} has {length[user]} interactions; {split} needs 3 "
            "(one each for training, validation and test): build the dataset with a core >= 3"
        )
    if split == "ratio":
        return by_ratio(length)
    return leave_out(length, validation_targets, test_targets)


def _histories(items: Ints, offsets: Ints, train: Ints) -> Histories:
    """The first `train[u]` items of every user."""
    user = np.repeat(np.arange(len(train)), np.diff(offsets))
    kept = np.arange(len(items)) - offsets[user] < train[user]
    return Histories(items[kept], np.concatenate([[0], np.cumsum(train)]))


def _shuffled(histories: Histories) -> Histories:
    """The same items of every user in random order."""
    user = np.repeat(np.arange(len(histories.offsets) - 1), np.diff(histories.offsets))
    chance = np.random.default_rng(SHUFFLE_SEED).random(len(user))
    return replace(histories, items=histories.items[np.lexsort((chance, user))])


def _shuffled_within_window(queries: Queries) -> Queries:
    """The same items in every query's window in random order."""
    chance = np.random.default_rng(SHUFFLE_SEED).random(queries.history.shape)
    order = np.argsort(np.where(queries.history > 0, chance, 2.0), axis=1)  # padding stays last
    return replace(queries, history=np.take_along_axis(queries.history, order, axis=1))


def _windows(length: Ints, L: int, stride: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Start, stop (in the user's sequence), first and user of every window; length: [U]."""
    # a further window for every started stride beyond the first window's L + 1 items
    extra = np.maximum(-(-(length - (L + 1)) // stride), 0)
    number = np.where(length >= 2, 1 + extra, 0)
    user = np.repeat(np.arange(len(length)), number)
    index = np.arange(len(user)) - np.repeat(np.cumsum(number) - number, number)
    start = np.minimum(index * stride, np.maximum(length[user] - (L + 1), 0))
    stop = np.minimum(start + L + 1, length[user])
    # the window before started at (index - 1) * stride and its last target stood L further
    first_target = np.where(index == 0, 0, (index - 1) * stride + L - start)
    return start, stop, first_target, user


def _prefixes(length: Ints, L: int, stride: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The same for one window a transition; the stride plays no part."""
    number = np.maximum(length - 1, 0)
    user = np.repeat(np.arange(len(length)), number)
    target = 1 + np.arange(len(user)) - np.repeat(np.cumsum(number) - number, number)
    start = np.maximum(target - L, 0)
    return start, target + 1, target - start - 1, user


def _queries(
    items: Ints, offsets: Ints, L: int, start: Ints, number: Ints, *, one_list: bool
) -> Queries:
    """Of user u the `number[u]` items from place `start[u]` on; both [U]."""
    length = np.diff(offsets)
    user = np.repeat(np.arange(len(length)), number)
    index = np.arange(len(user)) - np.repeat(np.cumsum(number) - number, number)
    place = start[user] + index
    before = start[user] if one_list else place
    first = offsets[user]
    oldest = np.maximum(before - L, 0)
    seen_offsets = np.concatenate([[0], np.cumsum(before)])
    position = np.arange(seen_offsets[-1]) - np.repeat(seen_offsets[:-1], before)
    return Queries(
        user=user,
        history=_gather(items, first + oldest, before - oldest, L),
        target=items[first + place],
        seen_items=items[np.repeat(first, before) + position],
        seen_offsets=seen_offsets,
        length=length[user],
    )


def _gather(items: Ints, start: Ints, count: Ints, width: int) -> Ints:
    """[rows, width]: `count` items from `start` on, padded with 0 at the right."""
    column = np.arange(width)
    index = np.minimum(start[:, None] + column, len(items) - 1)
    return np.where(column < count[:, None], items[index], 0)
