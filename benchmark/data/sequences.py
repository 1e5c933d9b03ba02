"""From a bundle to padded arrays: what is held out of each sequence, training windows and queries.

Of a user's sequence s[0..n-1] in time order the last item is the test target, the one before it the
validation target, and s[0..n-3] is trained on (leave-one-out, the paper's section 3.1). More items
may be held out as targets, each asked for after the true history before it: of validation, to see
through the noise of few users (docs/tuning.md); of test, for the power of a rolling split.

Glossary
    U   users, Q queries, W windows, L longest history that a model sees
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError

if TYPE_CHECKING:
    from benchmark.data.content import Bundle

Ints = NDArray[np.int64]


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

    def first_users(self, number: int) -> "Sequences":
        """The same split of the first `number` users alone; the catalogue stays whole."""
        kept = self.train.user < number
        train = replace(
            self.train,
            items=self.train.items[kept],
            first_target=self.train.first_target[kept],
            user=self.train.user[kept],
        )
        return Sequences(
            train, _first_queries(self.validation, number), _first_queries(self.test, number)
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
    validation_targets: int = 1,
    test_targets: int = 1,
) -> Sequences:
    """Hold the last items of every user out and cut the rest into training windows of L + 1 items.

    The last `test_targets` items of a user are test targets, the `validation_targets` before them
    validation targets. A user too short for that keeps two items to train on, gives up validation
    targets first, and has at least one of each.

    A user who fits has one window. A longer one has windows that start every `stride` items
    (default L // 2), the last one aligned with the end of the sequence; a window's targets count
    from where the one before it ended, so every training transition counts exactly once, and every
    target of a later window has at least L - stride items of context. `prefixes` gives instead one
    window for every training transition, with its last target alone counted: the augmentation of
    the RecBole family, as an all-position loss sees it.

    Raises InputError if the window, the stride or a number of targets is impossible or a user has
    fewer than three interactions.
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
    length = np.diff(offsets)
    if (length < 3).any():
        user = int(np.argmax(length < 3))
        raise InputError(
            f"{bundle.path}: user {user} has {length[user]} interactions; leave-one-out needs 3 "
            "(one each for training, validation and test): build the dataset with a core >= 3"
        )
    test = np.clip(length - 3, 1, test_targets)
    validation = np.clip(length - test - 2, 1, validation_targets)
    cut = _prefixes if prefixes else _windows
    start, stop, first_target, user_of = cut(length - test - validation, max_length, stride)
    train = Windows(
        _gather(items, offsets[user_of] + start, stop - start, max_length + 1),
        first_target,
        user_of,
        prefixes,
    )
    return Sequences(
        train=train,
        validation=_queries(items, offsets, max_length, validation, after=test),
        test=_queries(items, offsets, max_length, test, after=np.zeros_like(test)),
    )


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


def _queries(items: Ints, offsets: Ints, L: int, targets: Ints, after: Ints) -> Queries:
    """Of user u the `targets[u]` items that stand before the last `after[u]`; both [U]."""
    length = np.diff(offsets)
    user = np.repeat(np.arange(len(length)), targets)
    index = np.arange(len(user)) - np.repeat(np.cumsum(targets) - targets, targets)
    before = (length - after - targets)[user] + index
    first = offsets[user]
    start = np.maximum(before - L, 0)
    seen_offsets = np.concatenate([[0], np.cumsum(before)])
    position = np.arange(seen_offsets[-1]) - np.repeat(seen_offsets[:-1], before)
    return Queries(
        user=user,
        history=_gather(items, first + start, before - start, L),
        target=items[first + before],
        seen_items=items[np.repeat(first, before) + position],
        seen_offsets=seen_offsets,
        length=length[user],
    )


def _gather(items: Ints, start: Ints, count: Ints, width: int) -> Ints:
    """[rows, width]: `count` items from `start` on, padded with 0 at the right."""
    column = np.arange(width)
    index = np.minimum(start[:, None] + column, len(items) - 1)
    return np.where(column < count[:, None], items[index], 0)
