"""Perceptrons along one axis: one output row beside the plain computation."""

import pytest
import torch
from torch import Tensor, nn

from baselines.mixer import AxisMLP, per_item
from findrec.ops import perceptron
from findrec.recommender import Batch

LENGTH, DIM, USERS = 7, 4, 9


def randomise_norms(module: nn.Module) -> None:
    """Weights and biases of all LayerNorms; where they start, a norm of padding is zero."""
    for norm in module.modules():
        if isinstance(norm, nn.LayerNorm):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("features", [(), (3,)])
def test_one_row_equals_that_row_of_the_plain_computation(
    monkeypatch: pytest.MonkeyPatch,
    training: bool,
    bias: bool,
    padded: bool,
    features: tuple[int, ...],
) -> None:
    """Values and gradients, in chunks of two users; 1e-12: float64 sums in another order."""
    torch.manual_seed(0)
    hidden = 3 * LENGTH * DIM * 8
    for size in features:
        hidden *= size
    monkeypatch.setattr(perceptron, "CHUNK_BYTES", 2 * hidden)
    mlp = AxisMLP(LENGTH, 3 * LENGTH, 0.3, "mixer", axis=-2, bias=bias, uses=2).double()
    x = torch.randn(USERS, *features, LENGTH, DIM, dtype=torch.float64)
    padding = torch.randn(DIM, dtype=torch.float64, requires_grad=True) if padded else None
    index = torch.randint(LENGTH, (USERS,))
    if padded:
        shown = torch.arange(LENGTH) <= index.unsqueeze(-1)
        x *= shown.reshape(USERS, *[1] * len(features), LENGTH, 1)
    x.requires_grad_()
    batch = Batch(torch.ones(USERS, LENGTH).long(), torch.arange(USERS) + 3,
                  torch.tensor([5, 8]), training)  # fmt: skip
    y = mlp.output_at(index, x, batch, 1, padding)

    def plain() -> Tensor:
        inputs = x if padding is None else x + padding
        h = mlp.inner_dropout[1](nn.functional.gelu(mlp._linear(mlp.first, inputs)), batch)
        out = mlp._linear(mlp.second, h)
        at = index.reshape(-1, *[1] * (x.dim() - 1)).expand(*x.shape[:-2], 1, DIM)
        return mlp.outer_dropout[1](out.gather(-2, at), batch)

    expected = plain()
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(y)
    leaves = [x, *mlp.parameters(), *([] if padding is None else [padding])]
    ours = torch.autograd.grad(y, leaves, upstream)
    theirs = torch.autograd.grad(expected, leaves, upstream)
    if padded:  # the padding of x is a constant: its gradient is none or right, as the chunk falls
        ours, theirs = ((g[0] * (x != 0), *g[1:]) for g in (ours, theirs))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("users", [1, 5])
def test_a_function_of_items_is_evaluated_where_that_takes_fewer_rows(users: int) -> None:
    n_items = 10
    seen = []

    def square(ids: Tensor) -> Tensor:
        seen.append(ids.numel())
        return (ids**2).unsqueeze(-1).double()

    items = torch.arange(4).expand(users, 4)
    assert torch.equal(per_item(square, items, n_items), (items**2).unsqueeze(-1).double())
    assert seen == [min(items.numel(), n_items + 1)]
