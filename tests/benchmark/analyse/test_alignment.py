"""Alignment of two sets of states: closed forms of Gaussians, slow second implementations, and the
rates of intervals and p over many draws."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from benchmark.analyse import alignment
from benchmark.analyse.alignment import cka, expected_kernel, kernel_values, mmd
from findrec import coordination


def mean_kernel(x, y):
    return kernel_values(x, y)[0].mean()


def mmd_squared(x, y):
    return mmd(x, y).value


def linear_cka(x, y):
    return cka(x, y).value


@pytest.fixture
def values_alone(monkeypatch):
    """For tests of many values, which look at no interval and no p."""
    monkeypatch.setattr(alignment, "HALVES", 1)
    monkeypatch.setattr(alignment, "PERMUTATIONS", 1)


def pairs(rng, n, width, correlation=0.0, shift=0.0):
    """x, y [n, D]: standard normal, correlated coordinate by coordinate; y shifted along one."""
    x = rng.normal(size=(n, width))
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=(n, width))
    y[:, 0] += shift
    return x, y


# ---- E[K] ----------------------------------------------------------------------------------------


def gaussian_kernel(width, correlation):
    """E[K] of standard normal pairs: (s / (s + v))^(D / 2), s the bandwidth and v the variance of a
    coordinate's difference. |x_i - y_j|^2 / 2 is chi-squared for i != j."""
    bandwidth = 2 * stats.chi2.median(width)
    return (bandwidth / (bandwidth + 2 * (1 - correlation))) ** (width / 2)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_expected_kernel_of_gaussians(correlation):
    """0.015 is four standard errors of a mean of 3,000 values with an sd of 0.2."""
    x, y = pairs(np.random.default_rng(1), 3000, 6, correlation)
    paired, unpaired = kernel_values(x, y)
    assert paired.mean() == pytest.approx(gaussian_kernel(6, correlation), abs=0.015)
    assert unpaired.mean() == pytest.approx(gaussian_kernel(6, 0.0), abs=0.015)


def test_kernel_is_the_model_s():
    """Mean over aligned pairs: FindRec's own. torch's median of an even number of values is the
    lower one, numpy's the mean of two: 1e-3 at n = 200."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 6)), rng.normal(1.0, 2.0, size=(200, 6))
    mask = torch.ones(200, dtype=torch.bool)
    states = torch.as_tensor(x), torch.as_tensor(y)
    expected = coordination.mean_kernel(*states, mask, pairs="paired", bandwidth="median")
    assert mean_kernel(x, y) == pytest.approx(float(expected), rel=1e-3)


def test_chance_is_what_shuffled_pairs_have():
    """The mean of E[K] over all orders of six pairs that leave none in its place is the mean over
    i != j; float64 rounding. The same is then the chance level of twelve."""
    x, y = pairs(np.random.default_rng(2), 6, 3, 0.7)
    _, unpaired = kernel_values(x, y)
    kernel = np.exp(-alignment.squared_distances(x, y) / (2 * bandwidth(x, y)))
    orders = [o for o in itertools.permutations(range(6)) if all(o[k] != k for k in range(6))]
    means = [kernel[np.arange(6), list(order)].mean() for order in orders]
    assert unpaired.mean() == pytest.approx(np.mean(means), rel=1e-12)
    x, y = pairs(np.random.default_rng(2), 12, 3, 0.7)
    found = expected_kernel(x, y)
    assert found.value == pytest.approx(mean_kernel(x, y), rel=1e-12)
    assert found.chance == pytest.approx(kernel_values(x, y)[1].mean(), rel=1e-12)
    assert found.value > found.chance


def bandwidth(x, y):
    gaps = [((a - b) ** 2).sum() for (i, a), (j, b) in cross(x, y) if i != j]
    return np.median(gaps)


def cross(x, y):
    return itertools.product(enumerate(x), enumerate(y))


# ---- MMD -----------------------------------------------------------------------------------------


def test_mmd_by_a_second_implementation():
    """Loops over the definition, float64 rounding."""
    x, y = pairs(np.random.default_rng(3), 14, 3, 0.3, shift=1.0)
    both = np.concatenate([x, y])
    gaps = [((a - b) ** 2).sum() for a, b in itertools.combinations(both, 2)]

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * np.median(gaps)))

    total = sum(
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
        for i, j in itertools.permutations(range(14), 2)
    )
    assert mmd_squared(x, y) == pytest.approx(total / (14 * 13), rel=1e-10)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_mmd_of_shifted_gaussians(values_alone, correlation):
    """2 (s / (s + 2))^(D / 2) (1 - exp(-shift^2 / (2 (s + 2)))), s the bandwidth, however the two
    states of a pair are correlated; 0.01 is some four standard errors at n = 1,500."""
    shift, width = 1.5, 4
    x, y = pairs(np.random.default_rng(4), 1500, width, correlation, shift)
    both = np.concatenate([x, y])
    squared = alignment.squared_distances(both, both)
    s = np.median(squared[np.triu_indices(len(both), 1)])
    expected = 2 * (s / (s + 2)) ** (width / 2) * (1 - np.exp(-(shift**2) / (2 * (s + 2))))
    assert mmd_squared(x, y) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_mmd_of_equal_distributions_is_zero_on_average(values_alone, correlation):
    """Within four standard errors over 300 draws of 20 pairs."""
    rng = np.random.default_rng(5)
    values = [mmd_squared(*pairs(rng, 20, 3, correlation)) for _ in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)


# ---- CKA -----------------------------------------------------------------------------------------


def hsic(a, b):
    """Song et al. 2012, equation 5, as it is printed."""
    n = len(a)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    one = np.ones(n)
    return (
        np.trace(a @ b)
        + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ a @ b @ one)
    ) / (n * (n - 3))


def test_cka_by_a_second_implementation():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 9)) ** 2
    y[:, :5] += x
    a, b = x @ x.T, y @ y.T
    expected = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)
    assert cka(x, y).value == pytest.approx(expected, rel=1e-9)


def test_cka_knows_no_rotation_scale_or_origin():
    rng = np.random.default_rng(7)
    x, y = pairs(rng, 40, 6, 0.6)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert linear_cka(7 * x @ turn + 3, y) == pytest.approx(linear_cka(x, y), rel=1e-9)
    assert linear_cka(7 * x @ turn + 3, x) == pytest.approx(1.0, rel=1e-9)


def linear_world(rng, n):
    """y a linear map of x and noise, of another width; their population CKA is
    |S A|^2 / (|S| |A^T S A + N|) in Frobenius norms, S and N the covariances of x and noise."""
    fixed = np.random.default_rng(8)
    scale, a = np.array([2.0, 1.0, 0.5, 0.5]), fixed.normal(size=(4, 7))
    x = rng.normal(size=(n, 4)) * scale
    y = x @ a + rng.normal(size=(n, 7))
    s = np.diag(scale**2)
    norm = np.linalg.norm
    return x, y, norm(s @ a) ** 2 / (norm(s) * norm(a.T @ s @ a + np.eye(7)))


def test_cka_of_gaussians(values_alone):
    """0.03: four standard errors at n = 2,000."""
    x, y, expected = linear_world(np.random.default_rng(9), 2000)
    assert linear_cka(x, y) == pytest.approx(expected, abs=0.03)


def test_cka_of_unrelated_wide_states_is_zero_on_average(values_alone):
    """Width 300 at 60 positions, where the biased estimate is above 0.8; within four standard
    errors over 100 draws."""
    rng = np.random.default_rng(10)
    values = [linear_cka(*pairs(rng, 60, 300)) for _ in range(100)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10
    x, y = pairs(rng, 60, 300)
    a, b = (z - z.mean(0) for z in (x, y))
    assert np.linalg.norm(a.T @ b) ** 2 > 0.8 * np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T)


# ---- rates ---------------------------------------------------------------------------------------

DRAWS = 300


@pytest.mark.slow
@pytest.mark.parametrize("measure", [expected_kernel, mmd, cka])
def test_p_of_nothing_is_below_alpha_at_its_rate(measure):
    """p <= 0.05 in 5 % of 300 draws of unrelated, equally distributed states: the binomial's
    99.9 % range is 3 to 28 of them."""
    rng = np.random.default_rng(11)
    low = sum(measure(*pairs(rng, 24, 3), seed=draw).p <= 0.05 for draw in range(DRAWS))
    assert 3 <= low <= 28


@pytest.mark.slow
@pytest.mark.parametrize("name", ["E[K]", "MMD", "CKA"])
def test_intervals_hold_the_truth_at_their_rate(name):
    """95 % intervals at 80 positions: 91 to 98.5 % of 300 draws hold the population's value; the
    binomial's 99.9 % range around 95 % is 90.7 to 98.7 %."""
    rng = np.random.default_rng(12)
    big = np.random.default_rng(13)
    draw = {
        "E[K]": lambda r, n: pairs(r, n, 4, 0.7),
        "MMD": lambda r, n: pairs(r, n, 4, 0.0, 1.5),
        "CKA": lambda r, n: linear_world(r, n)[:2],
    }[name]
    measure = {"E[K]": expected_kernel, "MMD": mmd, "CKA": cka}[name]
    truth = {
        "E[K]": gaussian_kernel(4, 0.7),
        "MMD": np.mean([mmd(*draw(big, 600)).value for _ in range(15)]),
        "CKA": linear_world(big, 10)[2],
    }[name]
    found = [measure(*draw(rng, 80), seed=k) for k in range(DRAWS)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.907 <= held <= 0.987


def test_aligned_states_are_told_from_chance():
    x, y = pairs(np.random.default_rng(14), 60, 5, 0.7)
    for measure in (expected_kernel, cka):
        found = measure(x, y)
        assert found.p == 1 / (1 + alignment.PERMUTATIONS)
        assert found.chance < found.low < found.value < found.high
    assert mmd(x, y).p > 0.01
    assert mmd(x, y + 2).p == 1 / (1 + alignment.PERMUTATIONS)


def test_what_the_measures_refuse():
    rng = np.random.default_rng(15)
    x, y = pairs(rng, 20, 3)
    for measure in (expected_kernel, mmd):
        with pytest.raises(ValueError, match="one width, got 3, 2"):
            measure(x, y[:, :2])
    assert np.isfinite(cka(x, y[:, :2]).value)
    for measure in (expected_kernel, mmd, cka):
        with pytest.raises(ValueError, match="same positions"):
            measure(x, y[:-1])
        with pytest.raises(ValueError, match="9 positions are too few"):
            measure(x[:9], y[:9])
        with pytest.raises(ValueError, match="NaN"):
            measure(x, np.where(y > 1, np.nan, y))
    with pytest.raises(ValueError, match="differ from position to position"):
        cka(x, np.ones((20, 3)))
