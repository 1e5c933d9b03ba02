"""IICM against closed forms: scores and entropies of Gaussians, kernels worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from findrec.config import FindRecConfig
from findrec.coordination import (
    coordination_losses,
    coordination_weights,
    entropy_surrogate,
    kl_to_standard_normal,
    last_only,
    mean_kernel,
    median_of,
    sample_positions,
    squared_distances,
    stein_score,
)

KEY = torch.tensor([3, 5])


def gaussian(n: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n samples of a correlated Gaussian and their true scores -inv(Sigma) (x - mu), float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / math.sqrt(dim)
    covariance = mix @ mix.T + 0.5 * torch.eye(dim, dtype=torch.float64)
    mean = torch.randn(dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x = mean + noise @ torch.linalg.cholesky(covariance).T
    return x, -torch.linalg.solve(covariance, (x - mean).T).T


def everyone(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.bool)


class TestSteinScore:
    @pytest.mark.parametrize("dim", [1, 2, 4])
    def test_score_of_a_gaussian(self, dim: int) -> None:
        """n = 2,000, eta = 0.1, float64: slope 1 within 0.05, cosine above 0.95."""
        x, score = gaussian(2000, dim)
        estimate = stein_score(x, everyone(2000), 0.1)
        slope = (estimate * score).sum() / score.square().sum()
        assert slope == pytest.approx(1, abs=0.05)
        assert cosine_similarity(estimate.flatten(), score.flatten(), 0) > 0.95

    @pytest.mark.parametrize(("dim", "n", "length"), [(64, 256, 0.83), (512, 512, 0.46)])
    def test_estimate_shrinks_with_dimension(self, dim: int, n: int, length: float) -> None:
        """The sizes that are used: the direction stays (cosine above 0.85), the length does not."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
        estimate = stein_score(x, everyone(n), 0.1)
        assert -(estimate * x).sum() / x.square().sum() == pytest.approx(length, abs=0.05)
        assert cosine_similarity(estimate.flatten(), -x.flatten(), 0) > 0.85

    def test_masked_samples_are_not_there(self) -> None:
        """Equal to the estimate on the others alone; float64, so only the order of sums differs."""
        x, _ = gaussian(60, 3)
        mask = torch.rand(60, generator=torch.Generator().manual_seed(2)) < 0.6
        x = torch.where(mask.unsqueeze(1), x, 1e3)
        estimate = stein_score(x, mask, 0.1)
        alone = stein_score(x[mask], everyone(int(mask.sum())), 0.1)
        torch.testing.assert_close(estimate[mask], alone, rtol=1e-9, atol=1e-9)
        assert not estimate[~mask].any()

    @pytest.mark.parametrize("real", [0, 1])
    def test_too_few_samples_give_zero(self, real: int) -> None:
        mask = torch.arange(5) < real
        assert not stein_score(torch.randn(5, 3), mask, 0.1).any()

    def test_equal_samples_are_finite(self) -> None:
        assert stein_score(torch.ones(8, 4), everyone(8), 0.1).isfinite().all()


class TestEntropy:
    def test_descending_the_surrogate_raises_the_entropy(self) -> None:
        """A Gaussian's entropy is half its log-determinant plus a constant."""
        noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert self.log_determinant(noise, -1) > self.log_determinant(noise, 0) + 1
        assert self.log_determinant(noise, +1) < self.log_determinant(noise, 0) - 1

    @staticmethod
    def log_determinant(noise: Tensor, direction: int) -> float:
        """After ten steps of x = A noise along (+1) or against (-1) the surrogate's gradient."""
        mix = torch.diag(torch.tensor([1.0, 0.7, 0.5], dtype=torch.float64)).requires_grad_()
        for _ in range(10):
            loss = entropy_surrogate(noise @ mix.T, everyone(len(noise)), 0.1)
            (gradient,) = torch.autograd.grad(loss, mix)
            with torch.no_grad():
                mix += 0.01 * direction * gradient
        return float(torch.linalg.slogdet(mix.detach().T @ mix.detach()).logabsdet)

    def test_gradient_is_minus_the_gaussians(self) -> None:
        """x = A noise has dH/dA = inv(A)^T; at n = 2,000 the estimate is within 10 % of it."""
        noise = torch.randn(
            2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        mix = torch.tensor([[1.0, 0.4], [0.0, 0.8]], dtype=torch.float64, requires_grad=True)
        loss = entropy_surrogate(noise @ mix.T, everyone(2000), 0.1)
        (gradient,) = torch.autograd.grad(loss, mix)
        expected = -torch.linalg.inv(mix.detach()).T
        assert (gradient - expected).norm() < 0.1 * expected.norm()

    def test_mask(self) -> None:
        x, _ = gaussian(40, 3)
        mask = torch.arange(40) % 3 > 0
        alone = entropy_surrogate(x[mask], everyone(int(mask.sum())), 0.1)
        torch.testing.assert_close(entropy_surrogate(x, mask, 0.1), alone, rtol=1e-9, atol=1e-9)


class TestKernel:
    X = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    Y = torch.tensor([[0.0], [2.0], [6.0]], dtype=torch.float64)
    # Squared distances of i != j: 4, 36, 1, 25, 9, 1; their lower median is 4.
    PAIRED = (1 + math.exp(-1 / 8) + math.exp(-9 / 8)) / 3

    def test_by_hand(self) -> None:
        value = mean_kernel(self.X, self.Y, everyone(3), pairs="paired", bandwidth="median")
        assert float(value) == pytest.approx(self.PAIRED, rel=1e-12)

    def test_all_pairs_by_hand(self) -> None:
        value = mean_kernel(self.X, self.Y, everyone(3), pairs="all", bandwidth="median")
        others = sum(math.exp(-d / 8) for d in (4, 36, 1, 25, 9, 1))
        assert float(value) == pytest.approx((3 * self.PAIRED + others) / 9, rel=1e-12)

    def test_svgd_bandwidth_by_hand(self) -> None:
        value = mean_kernel(self.X, self.Y, everyone(3), pairs="paired", bandwidth="svgd")
        h = 4 / math.log(4)
        expected = (1 + math.exp(-1 / h) + math.exp(-9 / h)) / 3
        assert float(value) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("pairs", ["paired", "all"])
    @pytest.mark.parametrize("bandwidth", ["median", "svgd"])
    def test_mask(self, pairs: str, bandwidth: str) -> None:
        x, y = gaussian(50, 4, 0)[0], gaussian(50, 4, 1)[0]
        mask = torch.arange(50) % 4 > 0
        options = {"pairs": pairs, "bandwidth": bandwidth}
        left = mean_kernel(torch.where(mask.unsqueeze(1), x, 50.0), y, mask, **options)
        right = mean_kernel(x[mask], y[mask], everyone(int(mask.sum())), **options)
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)

    def test_bandwidth_makes_alignment_visible(self) -> None:
        """Aligned pairs score near 1, strangers near exp(-1/2): the median is over all pairs."""
        x, y = gaussian(200, 8, 0)[0], gaussian(200, 8, 1)[0]
        options = {"pairs": "paired", "bandwidth": "median"}
        assert mean_kernel(x, x + 0.01 * y, everyone(200), **options) > 0.99
        assert 0.5 < mean_kernel(x, y[torch.randperm(200)], everyone(200), **options) < 0.7

    def test_bandwidth_is_a_constant(self) -> None:
        """Scaling both streams leaves the value, so a bandwidth with a gradient would cancel it."""
        x, y = (gaussian(30, 4, seed)[0].requires_grad_() for seed in (0, 1))
        mean_kernel(x, y, everyone(30), pairs="paired", bandwidth="median").backward()
        assert x.grad is not None
        assert abs((x.grad * x).sum() + (y.grad * y).sum()) > 0.1

    def test_squared_distances(self) -> None:
        x, y = gaussian(20, 4, 0)[0], gaussian(30, 4, 1)[0]
        expected = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
        torch.testing.assert_close(squared_distances(x, y), expected, rtol=1e-10, atol=1e-12)

    def test_median_of_nothing_is_one(self) -> None:
        assert median_of(torch.randn(4, 4), torch.zeros(4, 4, dtype=torch.bool)) == 1


class TestSampling:
    VALID = torch.arange(9) < torch.tensor([3, 9, 1, 5, 2]).unsqueeze(1)

    def test_every_user_gives_one_before_any_gives_two(self) -> None:
        index, mask = sample_positions(self.VALID, 8, KEY, random_stream="test")
        assert index.shape == mask.shape == (8,)
        assert mask.all()
        assert sorted((index[:5] // 9).tolist()) == [0, 1, 2, 3, 4]
        assert sorted((index[5:] // 9).tolist()) in ([0, 1, 3], [0, 1, 4], [0, 3, 4], [1, 3, 4])
        assert len(set(index.tolist())) == 8
        assert self.VALID.flatten()[index].all()

    def test_shape_is_static_and_surplus_masked(self) -> None:
        index, mask = sample_positions(self.VALID, 40, KEY, random_stream="test")
        assert mask.sum() == self.VALID.sum() == 20
        assert len(index) == 40
        assert len(sample_positions(self.VALID, 100, KEY, random_stream="test")[0]) == 45

    def test_padding_changes_no_draw(self) -> None:
        padded = torch.cat([self.VALID, torch.zeros(5, 4, dtype=torch.bool)], 1)
        index, _ = sample_positions(self.VALID, 10, KEY, random_stream="test")
        wider, _ = sample_positions(padded, 10, KEY, random_stream="test")
        assert torch.equal(index // 9, wider // 13)
        assert torch.equal(index % 9, wider % 13)

    def test_keyed(self) -> None:
        first = sample_positions(self.VALID, 8, KEY, random_stream="test")[0]
        assert torch.equal(first, sample_positions(self.VALID, 8, KEY, random_stream="test")[0])
        assert not torch.equal(
            first, sample_positions(self.VALID, 8, KEY + 1, random_stream="test")[0]
        )

    def test_positions_of_a_user_are_drawn_evenly(self) -> None:
        """User 1 has nine positions; over 900 steps each comes first 100 times, sd 9.4."""
        counts = torch.zeros(9)
        for step in range(900):
            index, _ = sample_positions(
                self.VALID, 5, torch.tensor([0, step]), random_stream="test"
            )
            counts[index[index // 9 == 1] % 9] += 1
        assert counts.sum() == 900
        assert (counts - 100).abs().max() < 40

    def test_last_only(self) -> None:
        eligible = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
        expected = torch.tensor([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
        assert torch.equal(last_only(eligible), expected)


class TestTerms:
    def aux(self, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        z = {name: torch.randn(4, 6, 5, generator=generator) for name in ("text", "image", "id")}
        return z | {
            "has_text": torch.rand(4, 6, generator=generator) < 0.8,
            "has_image": torch.rand(4, 6, generator=generator) < 0.8,
        }

    VALID = torch.arange(6) < torch.tensor([6, 2, 4, 5]).unsqueeze(1)

    def losses(self, aux: dict[str, Tensor] | None = None, **switches: Any) -> dict[str, Tensor]:
        config = FindRecConfig(**switches)
        return coordination_losses(config, aux or self.aux(), self.VALID, KEY)

    def test_sign(self) -> None:
        text = self.losses(iicm_sign="text")["alignment"]
        equation = self.losses(iicm_sign="equation")["alignment"]
        assert -1 < text < 0
        assert text == -equation

    def test_names_and_weights_agree(self) -> None:
        cases: tuple[dict[str, Any], ...]
        cases = ({}, {"iicm_entropy": 0.0}, {"iicm_kl": 0.5}, {"iicm_align": "id"})
        for switches in cases:
            config = FindRecConfig(**switches)
            assert set(self.losses(**switches)) == set(coordination_weights(config))
        weights = coordination_weights(
            FindRecConfig(iicm_weight=0.1, iicm_entropy=0.5, iicm_kl=2.0)
        )
        assert weights == pytest.approx({"alignment": 0.1, "entropy": 0.05, "kl": 0.2})

    def test_positions_without_both_modalities_take_no_part(self) -> None:
        aux = self.aux()
        outside = ~(self.VALID & aux["has_text"] & aux["has_image"]).unsqueeze(-1)
        assert outside.any()
        noisy = {
            name: torch.where(outside, 7.0, aux[name]) if name in ("text", "image") else aux[name]
            for name in aux
        }
        for name, value in self.losses().items():
            torch.testing.assert_close(self.losses(noisy)[name], value)

    def test_no_position_with_both_is_finite_and_flat(self) -> None:
        aux = self.aux() | {"has_image": torch.zeros(4, 6, dtype=torch.bool)}
        for name in ("text", "image"):
            aux[name].requires_grad_()
        total = torch.stack(list(self.losses(aux, iicm_kl=1.0).values())).sum()
        total.backward()
        assert total.isfinite()
        for name in ("text", "image"):
            assert not aux[name].grad.any()

    def test_last_positions_alone(self) -> None:
        """Only the last position of every user that has both modalities gets a gradient."""
        aux = self.aux()
        aux["text"].requires_grad_()
        self.losses(aux, iicm_positions="last")["alignment"].backward()
        eligible = last_only(self.VALID & aux["has_text"] & aux["has_image"])
        assert torch.equal(aux["text"].grad.any(-1), eligible)

    def test_aligning_with_the_id_stream(self) -> None:
        """Two pairs, text with ID and image with ID; one of them if a modality is left out."""
        aux = self.aux()
        both = self.losses(aux, iicm_align="id")["alignment"]
        single = [
            self.losses({"id": aux["id"], name: aux[name], f"has_{name}": aux[f"has_{name}"]},
                       iicm_align="id")["alignment"]
            for name in ("text", "image")
        ]  # fmt: skip
        torch.testing.assert_close(both, single[0] + single[1])

    def test_descent_aligns_and_spreads(self) -> None:
        """Free states: E[K] rises above 0.95, and the samples of a stream stay apart."""
        aux = self.aux()
        for name in ("text", "image"):
            aux[name].requires_grad_()
        optimiser = torch.optim.Adam([aux["text"], aux["image"]], lr=0.05)
        for _ in range(120):
            losses = self.losses(aux)
            loss = losses["alignment"] + 0.01 * losses["entropy"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert self.losses(aux)["alignment"] < -0.95
        spread = torch.nn.functional.layer_norm(aux["text"].detach(), (5,))[self.VALID].var(0)
        assert spread.mean() > 0.5  # of at most 1 after LayerNorm


def test_kl_to_standard_normal() -> None:
    """Two samples at m - s and m + s have mean m and variance s^2; per-channel closed form."""
    m, s = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.3])
    z = torch.stack([m - s, m + s, torch.tensor([99.0, 99.0])])
    expected = 0.5 * (m.square() + s.square() - 1 - s.square().log()).mean()
    mask = torch.tensor([True, True, False])
    torch.testing.assert_close(kl_to_standard_normal(z, mask), expected)
