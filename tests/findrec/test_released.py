"""The released code's reading: the contract, its switches, and its kernel beside Stein's."""

import pytest
import torch
from torch import Tensor

from findrec.mamba import Mamba
from findrec.released import ReleasedFindRec, ReleasedFindRecConfig, stein_like_kernel
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract


def config(**changes: object) -> ReleasedFindRecConfig:
    sizes: dict[str, object] = {
        "dim": 24, "align_dim": 16, "max_length": 7, "layers": 1, "d_state": 3, "heads": 2,
        "experts": 3, "router_dim": 8, "samples": 16,
    }  # fmt: skip
    return ReleasedFindRecConfig(**(sizes | changes))  # type: ignore[arg-type]


class TestReleasedFindRec(RecommenderContract):
    model = ReleasedFindRec

    def config(self) -> ReleasedFindRecConfig:
        return config()


class TestReleasedWithMambaFusion(TestReleasedFindRec):
    def config(self) -> ReleasedFindRecConfig:
        return config(fusion="mamba", init="standard")


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"align_dim 16 .* 3 heads"):
        config(heads=3)


def test_noise_at_evaluation() -> None:
    """Off, an evaluation does not depend on the key; on, it does, as in the released code."""
    items = sequences(4, 7)
    for noisy in (False, True):
        torch.manual_seed(0)
        model = ReleasedFindRec(config(noise_at_evaluation=noisy), catalogue())
        first, second = (
            TestReleasedFindRec.run(model, items, training=False, key=(0, step)) for step in (1, 2)
        )
        assert torch.equal(first, second) != noisy


def test_released_initialisation_undoes_mambas_step_size() -> None:
    """With its bias at zero and weights near it, every channel's step size starts at log 2."""
    torch.manual_seed(0)
    released, standard = (
        ReleasedFindRec(config(init=init), catalogue()).id_stream[0].get_submodule("mamba")
        for init in ("released", "standard")
    )
    assert isinstance(released, Mamba)
    assert isinstance(standard, Mamba)
    assert not released.dt_proj.bias.any()
    step = torch.nn.functional.softplus(standard.dt_proj.bias)
    assert step.min() >= 1e-3 - 1e-6
    assert step.max() <= 0.1 + 1e-6


@pytest.fixture
def draws() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).unbind()
    return x, y


def test_kernel_differs_from_steins_as_documented(draws: tuple[Tensor, Tensor]) -> None:
    """Stein's kernel by automatic differentiation of the RBF, with the scores -x and -2 y.

    The term in s_x alone must be absent, that in s_y alone and the trace must be turned.
    """
    x, y = draws
    mask = torch.ones(5, dtype=torch.bool)
    distances = torch.cdist(x, y).square()
    v = distances.flatten().sort().values[12] / 2  # the lower median of 25

    def rbf(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(a - b).square().sum() / (2 * v))

    ours = stein_like_kernel(x, -x, y, -2 * y, mask)
    for i in range(5):
        for j in range(5):
            a, b = x[i], y[j]
            k = rbf(a, b)
            by_a, by_b = torch.func.grad(rbf, (0, 1))(a, b)
            trace = torch.func.jacrev(torch.func.grad(rbf, 0), 1)(a, b).trace()
            stein = k * (-a) @ (-2 * b) + (-a) @ by_b + by_a @ (-2 * b) + trace
            documented = stein - (-a) @ by_b - 2 * by_a @ (-2 * b) - 2 * trace
            torch.testing.assert_close(ours[i, j], documented, rtol=1e-9, atol=1e-12)


def test_kernel_without_scores_draws_together(draws: tuple[Tensor, Tensor]) -> None:
    """Within a bandwidth or so; pairs farther than sqrt((M + 2) v) are pushed apart."""
    x, noise = draws
    y = (x + 0.3 * noise).detach()
    x = x.clone().requires_grad_()
    mask = torch.ones(5, dtype=torch.bool)
    before = (x - y).square().sum(-1).mean().item()
    zero = torch.zeros_like(y)
    for _ in range(50):
        loss = stein_like_kernel(x, zero, y, zero, mask).diagonal().mean()
        (gradient,) = torch.autograd.grad(loss, x)
        x = (x - 0.1 * gradient).detach().requires_grad_()
    assert (x - y).square().sum(-1).mean().item() < 0.5 * before
