"""The stacked GRU against torch's module."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from findrec.ops import gru, recurrent


def modules(seeds: int, width: int = 6, hidden: int = 5) -> tuple[list[nn.GRU], list[Tensor]]:
    layers = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        layers.append(nn.GRU(width, hidden, batch_first=True))
    columns = zip(*(layer.parameters() for layer in layers), strict=True)
    return layers, [
        torch.stack([p.detach() for p in column]).requires_grad_() for column in columns
    ]


def test_equals_torch_module_bit_for_bit() -> None:
    (layer,), weights = modules(1)
    x = torch.randn(4, 7, 6)
    assert torch.equal(gru(x, *(w[0] for w in weights)), layer(x)[0])


@pytest.mark.parametrize("shared_input", [True, False])
def test_stack_equals_seeds_alone_bit_for_bit(shared_input: bool) -> None:
    layers, weights = modules(3)
    x = torch.randn(3, 4, 7, 6)
    x[1:] = x[0] if shared_input else x[1:]
    y = torch.vmap(gru, in_dims=(None if shared_input else 0, 0, 0, 0, 0))(
        x[0] if shared_input else x, *weights
    )
    y.square().sum().backward()
    for s, layer in enumerate(layers):
        alone = layer(x[s])[0]
        assert torch.equal(y[s], alone)
        alone.square().sum().backward()
        for stacked, own in zip(weights, layer.parameters(), strict=True):
            assert torch.equal(stacked.grad[s], own.grad)


def test_gradcheck() -> None:
    _, weights = modules(1, 2, 2)
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        gru, (x, *(w.detach()[0].double().requires_grad_() for w in weights))
    )


# ---- the path of every other device, called on a CPU -------------------------------------------


def at_once(x: Tensor, *weights: Tensor) -> Tensor:
    """`gru` under vmap, as it reaches the kernel: leading [S] on every tensor."""
    seeds = len(weights[0])
    return recurrent.seeds_at_once(x.expand(seeds, *x.shape[-3:]), *weights)


@pytest.mark.parametrize(("users", "length"), [(4, 7), (1, 1), (3, 2)])
@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_seeds_at_once_equal_torch_modules(
    users: int, length: int, seeds: int, dtype: torch.dtype, tolerance: float
) -> None:
    """States and gradients of inputs and weights, relative to the largest element of each. The same
    sums of at most 28 terms in another order: rounding, 6e-8 in float32, some tens of times."""
    layers, weights = modules(seeds)
    weights = [w.detach().to(dtype).requires_grad_() for w in weights]
    x = torch.randn(seeds, users, length, 6, dtype=dtype, requires_grad=True)
    upstream = torch.randn(seeds, users, length, 5, dtype=dtype)
    y = at_once(x, *weights)
    (y * upstream).sum().backward()
    for s, layer in enumerate(layers):
        own = x.detach()[s].requires_grad_()
        alone = layer.to(dtype)(own)[0]
        (alone * upstream[s]).sum().backward()
        pairs = [(y[s], alone), (x.grad[s], own.grad)]
        pairs += [(w.grad[s], p.grad) for w, p in zip(weights, layer.parameters(), strict=True)]
        for found, expected in pairs:
            scale = max(expected.detach().abs().max().item(), 1e-3)
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def test_seeds_at_once_under_vmap_with_a_shared_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU runs it: the op under vmap, every seed given the same input (float64, 1e-12)."""
    monkeypatch.setattr(recurrent, "seed_after_seed", recurrent.seeds_at_once)
    layers, weights = modules(3)
    weights = [w.detach().double().requires_grad_() for w in weights]
    x = torch.randn(4, 7, 6, dtype=torch.float64, requires_grad=True)
    y = torch.vmap(gru, in_dims=(None, 0, 0, 0, 0))(x, *weights)
    y.square().sum().backward()
    found, x.grad = x.grad, None
    for s, layer in enumerate(layers):
        alone = layer.double()(x)[0]
        torch.testing.assert_close(y[s], alone, rtol=0, atol=1e-12)
        alone.square().sum().backward()
        for stacked, own in zip(weights, layer.parameters(), strict=True):
            torch.testing.assert_close(stacked.grad[s], own.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, x.grad, rtol=0, atol=1e-12)


def test_gradcheck_of_seeds_at_once() -> None:
    _, weights = modules(2, 2, 2)
    x = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    double = [w.detach().double().requires_grad_() for w in weights]
    assert torch.autograd.gradcheck(at_once, (x, *double))


def test_seeds_at_once_keep_nothing_without_need() -> None:
    """Validation has no graph."""
    _, weights = modules(2)
    with torch.no_grad():
        assert at_once(torch.randn(2, 4, 7, 6), *weights).grad_fn is None


class Calls(TorchDispatchMode):
    """Counts the ops that a device would be given, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_products_do_not_grow_with_the_seeds() -> None:
    """Forward: one for the inputs of all positions, one a position. Backward: one for m_t of all
    positions, one a position, and the gradients of x, w_ih and w_hh."""
    found = []
    for seeds in (1, 10):
        _, weights = modules(seeds)
        x = torch.randn(seeds, 4, 7, 6, requires_grad=True)
        with Calls() as calls:
            at_once(x, *weights).sum().backward()
        found.append({name: calls.counts[name] for name in ("bmm", "baddbmm")})
    assert found[0] == found[1] == {"baddbmm": 1 + 7 + 1 + 7, "bmm": 3}


def test_errors() -> None:
    _, weights = modules(1)
    single = [w[0] for w in weights]
    with pytest.raises(ValueError, match=r"gru takes x \[B, L, D\]"):
        gru(torch.randn(7, 6), *single)
    with pytest.raises(ValueError, match="for H = 5"):
        gru(torch.randn(4, 7, 8), *single)
