"""How the sequences of users are divided: what is trained on, selected on and tested on.

    leave-one-out   the last items of a user are test targets, those before them validation targets
                    (several of a user: a rolling split)
    ratio           the last tenth of a user's items is tested, the tenth before it validates: 8:1:1
                    within users (section 3.1), rounded as RecBole does
    global-time     one moment for all users: training ends before the last fifth of all
                    interactions, the next tenth validates, the last tenth tests

Glossary
    U   users, M interactions
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError

Ints = NDArray[np.int64]

SplitName = Literal["leave-one-out", "ratio", "global-time"]


@dataclass(frozen=True)
class Division:
    """Places in every user's sequence, counted from 0; each [U]."""

    train: Ints
    """Items before this place are trained on."""
    validation: Ints
    """Place of the first validation target."""
    n_validation: Ints
    test: Ints
    """Place of the first test target."""
    n_test: Ints


def leave_out(length: Ints, validation_targets: int, test_targets: int) -> Division:
    """The last `test_targets` items are tested, the `validation_targets` before them validate. A
    user too short for that keeps two items to train on, gives up validation targets first, and has
    at least one of each. length: [U], at least 3."""
    test = np.clip(length - 3, 1, test_targets)
    validation = np.clip(length - test - 2, 1, validation_targets)
    train = length - test - validation
    return Division(train, train, validation, length - test, test)


def by_ratio(length: Ints) -> Division:
    """A tenth of the items, rounded down and at least one, is tested, and as many validate.
    length: [U], at least 3."""
    tenth = np.maximum(length // 10, 1)
    train = length - 2 * tenth
    return Division(train, train, tenth, length - tenth, tenth)


def by_time(
    times: NDArray[Any], offsets: Ints, validation_targets: int, test_targets: int
) -> Division:
    """Of the items from a moment on, a user's first `test_targets` are tested; validation alike.

    The moments are those of the interactions at 8/10 and 9/10 of all; interactions of the same time
    fall on the same side. A user's very first item is no target, for it has no history; a user with
    nothing after a moment has no target there. times: [M], in the order of the sequences; offsets:
    [U + 1]. Raises InputError where all interactions have one time.
    """
    ordered = np.sort(times)
    first, second = ordered[len(ordered) * 8 // 10], ordered[len(ordered) * 9 // 10]
    if not ordered[0] < first < second:
        raise InputError(
            "a global-time split needs interactions at different times; here those at the first, "
            "8/10 and 9/10 of all do not differ"
        )
    train, end = (_count_before(times, offsets, moment) for moment in (first, second))
    length = np.diff(offsets)
    validation, test = np.maximum(train, 1), np.maximum(end, 1)
    return Division(
        train,
        validation,
        np.clip(end - validation, 0, validation_targets),
        test,
        np.clip(length - test, 0, test_targets),
    )


def _count_before(times: NDArray[Any], offsets: Ints, moment: Any) -> Ints:
    """[U]: items before the moment; sequences are in the order of time."""
    before = np.concatenate([[0], np.cumsum(times < moment)])
    return np.asarray(before[offsets[1:]] - before[offsets[:-1]])
