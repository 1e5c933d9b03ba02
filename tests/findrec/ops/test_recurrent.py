"""The stacked GRU against torch's module."""

import pytest
import torch
from torch import Tensor, nn

from findrec.ops import gru


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


def test_errors() -> None:
    _, weights = modules(1)
    single = [w[0] for w in weights]
    with pytest.raises(ValueError, match=r"gru takes x \[B, L, D\]"):
        gru(torch.randn(7, 6), *single)
    with pytest.raises(ValueError, match="for H = 5"):
        gru(torch.randn(4, 7, 8), *single)
