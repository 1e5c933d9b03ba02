"""What may have been done when the paper's Table 2 was printed: hypotheses about its protocol.

A hypothesis turns stored runs of a row into the four metrics that the table prints. What it leaves
open are its free parameters; `benchmark/analyse/diagnosis.py` fits them on one row and predicts the
others with them.

Glossary
    U       users
    unit    fields of the protocol that the runs of a hypothesis were made with; where it does not
            ask for others, those of leave-one-out (`USUAL`)
    choice  a value for every free parameter
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.evaluate.metrics import (
    PAPER_METRICS,
    PROTOCOLS,
    competitors,
    gains,
    mean_per_user,
    places,
)
from benchmark.evaluate.one_list import per_user_of_lists
from benchmark.evaluate.popularity import places_among_popular
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult

FloatArray = npt.NDArray[np.float64]

Choice = Mapping[str, int | str]

USUAL: Mapping[str, Any] = {
    "split": "leave-one-out",
    "test_targets": 1,
    "one_list": False,
    "order": "time",
    "leak": False,
    "features": "real",
}

DEPTH = 10
"""The largest cut-off that the table prints."""

NEGATIVES = tuple(sorted({round(1.15**power) for power in range(58)}))
"""Numbers of negatives that are tried, 15 % apart from 7 on, up to 2,900. Half a step moves NDCG@10
by some 3 %."""

HISTORY = {"history": PROTOCOLS}

LABELS: Mapping[str, Sequence[str]] = {
    "HR, MRR": ("HR@5", "HR@10", "MRR@5", "MRR@10"),
    "HR, NDCG": ("HR@5", "HR@10", "NDCG@5", "NDCG@10"),
    "NDCG, NDCG": ("NDCG@5", "NDCG@10", "NDCG@5", "NDCG@10"),
}
"""What the columns labelled NDCG and MRR hold: name -> the four columns."""


@dataclass(frozen=True)
class UserMetrics:
    """The four printed metrics of every user, in the order of `PAPER_METRICS`."""

    values: FloatArray
    """[U, 4]"""
    weight: FloatArray
    """[U]: what a user counts for in the mean."""


@dataclass(frozen=True)
class Hypothesis:
    """One way in which the printed numbers could have come about."""

    name: str
    says: str
    """In one sentence."""
    free: Mapping[str, Sequence[int | str]]
    """Free parameter -> the values that are tried."""
    score: Callable[[RunResult, Choice], UserMetrics]
    unit: Mapping[str, Any]
    """Other fields of the protocol than `USUAL`."""
    popularity: bool = False
    """Whether it needs to know how popular the items above the targets are."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the free parameters that have more than one value."""
        return tuple(name for name, values in self.free.items() if len(values) > 1)

    def choices(self) -> Iterator[Choice]:
        """Every combination of values of the free parameters."""
        for values in product(*self.free.values()):
            yield dict(zip(self.free, values, strict=True))

    def fits(self, run: RunResult) -> bool:
        """Whether the run was made with what the hypothesis needs."""
        protocol = run.record.spec.protocol
        needed = {**USUAL, **self.unit}
        if any(getattr(protocol, name) != value for name, value in needed.items()):
            return False
        return run.test is not None and not (self.popularity and run.test.popularity is None)


def _from_places(
    chance: FloatArray, ranks: Ranks, names: Sequence[str] = PAPER_METRICS
) -> UserMetrics:
    """chance: [Q, DEPTH], of each place of the target."""
    gain = np.zeros((DEPTH, len(names)))
    for at, name in enumerate(names):
        own = gains(name)
        gain[: len(own), at] = own
    values = mean_per_user(chance @ gain, ranks)
    return UserMetrics(values, np.ones(len(values)))


def _left_out(choice: Choice) -> bool:
    return choice["history"] == "left out"


def _test(run: RunResult) -> Ranks:
    assert run.test is not None
    return run.test


def _full(run: RunResult, choice: Choice) -> UserMetrics:
    return _from_places(places(_test(run), DEPTH, masked=_left_out(choice)), _test(run))


def _uniform(run: RunResult, choice: Choice) -> UserMetrics:
    ranks, masked = _test(run), _left_out(choice)
    first, again = _distinct(ranks, masked=masked)
    chance = places(first, DEPTH, masked=masked, negatives=int(choice["negatives"]))
    return _from_places(chance[again], ranks)


def _distinct(ranks: Ranks, *, masked: bool) -> tuple[Ranks, npt.NDArray[np.intp]]:
    """One query of each kind, and the kind [Q] of every query: among uniform negatives, a million
    users whose targets have the same numbers of items above, equal and in all fare alike."""
    above, equal, others = (c.astype(np.int64) for c in competitors(ranks, masked=masked))
    kinds = (above * (ranks.n_items + 1) + equal) * (ranks.n_items + 1) + others
    _, first, again = np.unique(kinds, return_index=True, return_inverse=True)
    counts = (
        ranks.above[first],
        ranks.equal[first],
        ranks.above_masked[first],
        ranks.equal_masked[first],
        ranks.n_candidates_masked[first],
    )
    return Ranks(*counts, ranks.n_items), again


def _popular(run: RunResult, choice: Choice) -> UserMetrics:
    number, ranks = int(choice["negatives"]), _test(run)
    chance = places_among_popular(ranks, DEPTH, number, masked=_left_out(choice))
    return _from_places(chance, ranks)


def _many_rankings(run: RunResult, choice: Choice) -> UserMetrics:
    ranks = _test(run)
    found = _from_places(places(ranks, DEPTH, masked=_left_out(choice)), ranks)
    if choice["mean over"] == "rankings" and ranks.user is not None:
        number = np.unique(ranks.user, return_counts=True)[1].astype(np.float64)
        return replace(found, weight=number)
    return found


def _one_list(run: RunResult, choice: Choice) -> UserMetrics:
    ranks, masked = _test(run), _left_out(choice)
    values = [per_user_of_lists(ranks, name, masked=masked) for name in PAPER_METRICS]
    return UserMetrics(np.stack(values, axis=1), np.ones(len(values[0])))


def _validation(run: RunResult, choice: Choice) -> UserMetrics:
    assert run.validation is not None
    return _from_places(places(run.validation, DEPTH, masked=_left_out(choice)), run.validation)


def _mislabelled(run: RunResult, choice: Choice) -> UserMetrics:
    chance = places(_test(run), DEPTH, masked=_left_out(choice))
    return _from_places(chance, _test(run), LABELS[str(choice["labels"])])


def _tie_order(run: RunResult, choice: Choice) -> UserMetrics:
    """The target first of its tie, or last."""
    ranks = _test(run)
    last = choice["target"] == "last"
    zero = np.zeros_like(ranks.equal)
    ordered = replace(
        ranks,
        above=ranks.above + last * ranks.equal,
        above_masked=ranks.above_masked + last * ranks.equal_masked,
        equal=zero,
        equal_masked=zero,
    )
    return _from_places(places(ordered, DEPTH, masked=_left_out(choice)), ranks)


HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "full ranking, kept",
        "Leave-one-out; the target is ranked among all items, the history among them.",
        {"history": ("kept",)},
        _full,
        {},
    ),
    Hypothesis(
        "full ranking, left out",
        "Leave-one-out; the target is ranked among all items that the user has not met.",
        {"history": ("left out",)},
        _full,
        {},
    ),
    Hypothesis(
        "uniform negatives",
        "Leave-one-out; the target is ranked among n items that are drawn uniformly.",
        HISTORY | {"negatives": NEGATIVES},
        _uniform,
        {},
    ),
    Hypothesis(
        "popular negatives",
        "Leave-one-out; the target is ranked among n items that are drawn by popularity.",
        HISTORY | {"negatives": NEGATIVES},
        _popular,
        {},
        popularity=True,
    ),
    Hypothesis(
        "8:1:1, many rankings",
        "The last tenth of each user is tested, each item in a full ranking of its own.",
        HISTORY | {"mean over": ("users", "rankings")},
        _many_rankings,
        {"split": "ratio"},
    ),
    Hypothesis(
        "8:1:1, one list",
        "The last tenth of each user is tested, all of it relevant in one full ranking.",
        HISTORY,
        _one_list,
        {"split": "ratio", "one_list": True},
    ),
    Hypothesis(
        "validation reported",
        "Leave-one-out; the numbers are those of the validation targets.",
        HISTORY,
        _validation,
        {},
    ),
    Hypothesis(
        "targets in training",
        "Leave-one-out; the model was trained on the test targets too.",
        HISTORY,
        _full,
        {"leak": True},
    ),
    Hypothesis(
        "columns mislabelled",
        "Leave-one-out, full ranking; the columns labelled NDCG and MRR hold HR and MRR, HR and "
        "NDCG, or NDCG twice.",
        HISTORY | {"labels": tuple(LABELS)},
        _mislabelled,
        {},
    ),
    Hypothesis(
        "order of ties",
        "Leave-one-out, full ranking; the target stands first, or last, among equal scores.",
        HISTORY | {"target": ("first", "last")},
        _tie_order,
        {},
    ),
)
