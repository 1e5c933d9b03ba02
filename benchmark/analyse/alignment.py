"""How alike two sets of states of the same n positions are: E[K], MMD and CKA.

    E[K]  mean over positions of the kernel of eq. 1, K(x_i, y_i) = exp(-|x_i - y_i|^2 / 2 sigma^2),
          sigma^2 the median of |x_i - y_j|^2 over i != j (section 2.2): what FindRec maximises. It
          is well above 0 for states that have nothing to do with each other, so its chance level
          stands beside it: the mean over i != j, which is what shuffled pairs have.
    MMD^2 distance of the two distributions, whichever state belongs to which; 0 where they are
          equal. Unbiased, for pairs: the mean over i != j of
          k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) (Gretton et al. 2012, lemma 6), k an
          RBF kernel with sigma^2 the median of the squared distances among all 2n states (their
          section 8).
    CKA   similarity of the two sets of distances between positions, 1 for equal ones and 0 for
          unrelated ones: HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)) with linear kernels (Kornblith et
          al. 2019) and the unbiased HSIC (Song et al. 2012, eq. 5), without which the value grows
          with the width over n. It knows neither rotation nor scale, and the widths may differ.

E[K] and MMD compare coordinates, so they need equal widths; that two streams of one width share
coordinates is what IICM asks of them, and nothing asks it of the ID stream unless `iicm_align` is
`id`. CKA can be had for every pair.

p is the share of permutations that reach the value: shuffled pairs for E[K] and CKA; for MMD the
two states of a pair change places, which keeps that they belong to one position. Intervals are
value +- z times a standard error, from the spread of the measure over random halves of the
positions: for halves the factor (n - d) / d of the delete-d jackknife is 1 (Shao and Wu 1989).
Rows drawn with replacement, as in a bootstrap, would stand beside their own copies, at a distance
of 0 that no two positions have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.analyse.rules import RULES
from benchmark.analyse.statistics import FloatArray
from benchmark.runs.schema import RunResult

IntArray = npt.NDArray[np.int64]

PAIRS = (("image", "text"), ("image", "id"), ("text", "id"))
"""Streams of a snapshot that are held against each other."""

COLUMNS = (
    *("profile", "dataset", "variant", "weight", "seed", "steps", "pair", "when", "measure"),
    *("value", "low", "high", "chance", "p", "n"),
)

PERMUTATIONS = 499
HALVES = 200

_TINY = np.finfo(np.float64).tiny
_SMALLEST = 10
"""Positions below which a half is too few for HSIC."""

OfRows = Callable[[IntArray], float]
"""A measure of some of the positions."""


@dataclass(frozen=True)
class Measure:
    """One measure of two sets of states."""

    value: float
    low: float
    high: float
    """Ends of the two-sided interval at the rules' level."""
    chance: float
    """The value to expect of states that have nothing to do with each other; of MMD, of equal
    distributions."""
    p: float
    """Of a value this high by chance, from permutations."""


def expected_kernel(x: FloatArray, y: FloatArray, *, seed: int = RULES.bootstrap_seed) -> Measure:
    """E[K] of x, y [n, D] against that of shuffled pairs.

    Raises ValueError unless both have the same shape, n >= 10 and finite numbers.
    """
    x, y = _checked(x, y, same_width=True)
    squared = squared_distances(x, y)
    kernel, n = _rbf_kernel(squared), len(x)
    rng, rows = np.random.default_rng(seed), np.arange(n)
    orders = (rng.permutation(n) for _ in range(PERMUTATIONS))
    shuffled = np.array([kernel[rows, order].mean() for order in orders])
    value = float(np.diag(kernel).mean())
    chance = float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))

    def of(rows: IntArray) -> float:
        return float(np.diag(_rbf_kernel(squared[np.ix_(rows, rows)])).mean())

    return _measure(value, chance, shuffled, of, n, rng)


def mmd(x: FloatArray, y: FloatArray, *, seed: int = RULES.bootstrap_seed) -> Measure:
    """MMD^2 of x, y [n, D]; it can be slightly negative. Raises ValueError as `expected_kernel`."""
    x, y = _checked(x, y, same_width=True)
    both, n = np.concatenate([x, y]), len(x)
    squared = squared_distances(both, both)
    h = _mmd_terms(squared)
    rng = np.random.default_rng(seed)
    # where the states of pair i change places, h_ij changes its sign for all j
    signs = rng.choice((-1.0, 1.0), size=(PERMUTATIONS, n))
    swapped = ((signs @ h) * signs).sum(1) / (n * (n - 1))

    def of(rows: IntArray) -> float:
        pooled = np.concatenate([rows, rows + n])
        return float(_mmd_terms(squared[np.ix_(pooled, pooled)]).sum()) / _pairs(len(rows))

    return _measure(float(h.sum()) / _pairs(n), 0.0, swapped, of, n, rng)


def cka(x: FloatArray, y: FloatArray, *, seed: int = RULES.bootstrap_seed) -> Measure:
    """CKA of x [n, D] and y [n, D']; it can be slightly negative.

    Raises ValueError unless n >= 10 and all numbers are finite, and where the states of one are all
    equal.
    """
    x, y = _checked(x, y, same_width=False)
    if (x == x[0]).all() or (y == y[0]).all():
        raise ValueError("CKA needs states that differ from position to position")
    x, y = x - x.mean(0), y - y.mean(0)  # changes nothing but rounding
    gram_x, gram_y, n = x @ x.T, y @ y.T, len(x)
    a, b = _centred(gram_x), _centred(gram_y)
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(n) for _ in range(PERMUTATIONS))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    shuffled = np.array([(a * b[np.ix_(order, order)]).sum() for order in orders]) / size

    def of(rows: IntArray) -> float:
        block = np.ix_(rows, rows)
        a, b = _centred(gram_x[block]), _centred(gram_y[block])
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))  # HSIC's factor cancels

    return _measure(float((a * b).sum()) / size, 0.0, shuffled, of, n, rng)


def kernel_values(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(paired [n], unpaired [n * (n - 1)]) values of K of eq. 1 for x, y [n, D]."""
    kernel = _rbf_kernel(squared_distances(x, y))
    return np.diag(kernel).copy(), kernel[~np.eye(len(kernel), dtype=bool)]


def squared_distances(x: FloatArray, y: FloatArray) -> FloatArray:
    """[n, m] from x [n, D] and y [m, D]"""
    gap = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.asarray(np.maximum(gap, 0.0))


# ---- parts ---------------------------------------------------------------------------------------


def _rbf_kernel(squared: FloatArray) -> FloatArray:
    """[n, n] K from squared distances, sigma^2 their median over i != j."""
    variance = np.median(squared[~np.eye(len(squared), dtype=bool)])
    return np.asarray(np.exp(-squared / (2 * max(float(variance), _TINY))))


def _mmd_terms(squared: FloatArray) -> FloatArray:
    """[n, n] the terms of lemma 6 from squared distances [2n, 2n]; 0 on the diagonal."""
    n = len(squared) // 2
    variance = np.median(squared[np.triu_indices(2 * n, 1)])
    kernel = np.exp(-squared / (2 * max(float(variance), _TINY)))
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[n:, :n]
    np.fill_diagonal(h, 0.0)
    return np.asarray(h)


def _centred(gram: FloatArray) -> FloatArray:
    """[n, n] without its diagonal, centred so that the mean of products of two such matrices
    estimates HSIC without bias (Szekely and Rizzo 2014, definition 2)."""
    n = len(gram)
    gram = gram.copy()
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(1)
    gram += -(rows[:, None] + rows[None]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
    return gram


def _pairs(n: int) -> int:
    """Of different positions."""
    return n * (n - 1)


def _measure(
    value: float,
    chance: float,
    permuted: FloatArray,
    of: OfRows,
    n: int,
    rng: np.random.Generator,
) -> Measure:
    half = n // 2
    halves = np.array([of(rng.permutation(n)[:half]) for _ in range(HALVES)])
    error = float(np.sqrt(((halves - value) ** 2).mean() * half / (n - half)))
    z = NormalDist().inv_cdf(1 - RULES.alpha / 2)
    p = (1 + int((permuted >= value).sum())) / (1 + len(permuted))
    return Measure(value, value - z * error, value + z * error, chance, p)


def _checked(x: FloatArray, y: FloatArray, *, same_width: bool) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"states of the same positions are needed, got {x.shape} and {y.shape}")
    if same_width and x.shape[1] != y.shape[1]:
        raise ValueError(f"this measure needs states of one width, got {x.shape[1]}, {y.shape[1]}")
    if len(x) < _SMALLEST:
        raise ValueError(f"{len(x)} positions are too few; {_SMALLEST} at least are needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the states hold NaN or infinity")
    return x, y


# ---- stored runs ---------------------------------------------------------------------------------


def alignment_table(runs: Sequence[RunResult]) -> pd.DataFrame:
    """Every measure that can be had of the snapshots of FindRec's runs, columns `COLUMNS`.

    weight: lambda of eq. 5. pair: "image-text", "image-id", "text-id". when: "before" and "after"
    training. n: positions. Pairs whose states are not in a snapshot, and measures that need equal
    widths where there are two, have no line. Raises KeyError for a run without a snapshot.
    """
    lines = []
    for run in runs:
        record = run.record
        own = (*record.spec.key[:2], record.spec.variant, record.spec.config["iicm_weight"])
        for when in ("before", "after"):
            states = states_of(run, when)
            for pair in PAIRS:
                if not states.keys() >= set(pair):
                    continue
                x, y = (states[name] for name in pair)
                for name, measured in _measures(x, y).items():
                    place = ("-".join(pair), when, name)
                    lines.append(
                        (*own, record.seed, record.steps, *place, *astuple(measured), len(x))
                    )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def states_of(run: RunResult, when: str) -> dict[str, FloatArray]:
    """Stream -> its states [n, width] in the run's snapshot "before" or "after" training. Raises
    KeyError for a run without one."""
    arrays = run.artefacts["snapshot"]
    names = {name: f"{when}.{name}" for pair in PAIRS for name in pair}
    return {name: arrays[k].astype(np.float64) for name, k in names.items() if k in arrays}


def _measures(x: FloatArray, y: FloatArray) -> Mapping[str, Measure]:
    if x.shape != y.shape:
        return {"CKA": cka(x, y)}
    return {"E[K]": expected_kernel(x, y), "MMD": mmd(x, y), "CKA": cka(x, y)}
