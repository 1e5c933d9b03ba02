"""One output row of a perceptron: the fused CPU form beside its formula, `reference`."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from findrec.ops import dropout, mlp_row, perceptron
from findrec.ops.random import stream_code

USERS, LENGTH, HIDDEN, WIDTH = 9, 7, 16, 8
Leaves = tuple[Tensor, Tensor, Tensor, Tensor]
ROWS, KEY = torch.arange(USERS) + 3, torch.tensor([5, 8])


def inputs(
    seed: int = 0, between: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
) -> tuple[Leaves, Tensor]:
    """Leaves x, weight, shift and row of random lengths, x zero past them; and the lengths."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    lengths = torch.randint(1, LENGTH + 1, (USERS,), generator=generator)
    valid = torch.arange(LENGTH) < lengths.unsqueeze(1)
    x = normal(USERS, *between, LENGTH, WIDTH)
    x = x * valid.reshape(USERS, *[1] * len(between), LENGTH, 1)
    leaves = x, normal(HIDDEN, LENGTH), normal(HIDDEN, WIDTH), normal(USERS, *between, 1, HIDDEN)
    for leaf in leaves:
        leaf.requires_grad_()
    return leaves, lengths


@pytest.fixture
def two_users_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron, "CHUNK_BYTES", 2 * HIDDEN * WIDTH * 8)


def test_reference_is_the_formula_user_by_user() -> None:
    """1e-12: a few float64 sums in another order."""
    (x, weight, shift, row), _ = inputs()
    found = perceptron.reference(x, weight, shift, row, 0.3, KEY, stream_code("a"), ROWS)
    for user in range(USERS):
        hidden = gelu(shift + sum(weight[:, t, None] * x[user, t] for t in range(LENGTH)))
        hidden = dropout(hidden.unsqueeze(0), 0.3, KEY, "a", ROWS[user : user + 1])[0]
        expected = (row[user, 0].unsqueeze(1) * hidden).sum(0)
        torch.testing.assert_close(found[user, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("two_users_a_chunk")
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("between", [(), (3,)])
def test_fused_equals_reference(p: float, between: tuple[int, ...]) -> None:
    """Values and gradients, in chunks of two users or less; 1e-11: float64 sums in another order
    over at most 9 x 3 x 8 products of values near 1."""
    leaves, lengths = inputs(between=between)
    ours = mlp_row(*leaves, lengths, p, KEY, "a", ROWS)
    plain = perceptron.reference(*leaves, p, KEY, stream_code("a"), ROWS)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-11)
    upstream = torch.randn_like(plain)
    grad_x, *grads = torch.autograd.grad(ours, leaves, upstream)
    expected_x, *expected = torch.autograd.grad(plain, leaves, upstream)
    for found, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    # Positions past a length are constants: skipped ones have no gradient.
    inside = leaves[0] != 0
    torch.testing.assert_close(grad_x * inside, expected_x * inside, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("two_users_a_chunk")
def test_stack_equals_seeds_alone_bit_for_bit() -> None:
    leaves, lengths = zip(*(inputs(seed, dtype=torch.float32) for seed in range(3)), strict=True)
    x, weight, shift, row = (torch.stack(same).detach() for same in zip(*leaves, strict=True))
    stacked = x, weight, shift, row
    for leaf in stacked:
        leaf.requires_grad_()
    keys = torch.tensor([[seed, 8] for seed in range(3)])

    def call(leaves: Leaves, lengths: Tensor, key: Tensor) -> Tensor:
        return mlp_row(*leaves, lengths, 0.3, key, "a", ROWS)

    together = torch.vmap(call)(stacked, torch.stack(lengths), keys)
    together.square().sum().backward()
    for s in range(3):
        alone = call(leaves[s], lengths[s], keys[s])
        assert torch.equal(together[s], alone)
        alone.square().sum().backward()
        for whole, own in zip(stacked, leaves[s], strict=True):
            assert whole.grad is not None
            assert own.grad is not None
            assert torch.equal(whole.grad[s], own.grad)


def test_reference_of_a_stack_equals_that_of_each_seed() -> None:
    """It is what runs off the CPU, with the stack dimension in front; 1e-12 as above."""
    leaves, _ = zip(*(inputs(seed, (3,)) for seed in range(2)), strict=True)
    keys, code = torch.tensor([[0, 8], [1, 8]]), stream_code("a")
    x, weight, shift, row = (torch.stack(same) for same in zip(*leaves, strict=True))
    rows = ROWS.expand(2, -1)
    together = perceptron.reference(x, weight, shift, row, 0.3, keys, code, rows)
    for s in range(2):
        own: Leaves = leaves[s]
        alone = perceptron.reference(*own, 0.3, keys[s], code, ROWS)
        torch.testing.assert_close(together[s], alone, rtol=0, atol=1e-12)


def test_gradcheck() -> None:
    leaves, lengths = inputs()
    full = torch.full_like(lengths, LENGTH)
    assert torch.autograd.gradcheck(
        lambda x, weight, shift, row: mlp_row(x, weight, shift, row, full, 0.3, KEY, "a", ROWS),
        leaves,
    )


@pytest.mark.parametrize("name", ["weight", "shift", "row", "lengths", "rows"])
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    leaves, lengths = inputs()
    arguments = dict(zip(("x", "weight", "shift", "row"), leaves, strict=True))
    arguments |= {"lengths": lengths, "rows": ROWS}
    arguments[name] = arguments[name].unsqueeze(-1)
    with pytest.raises(ValueError, match=f"mlp_row's {name}"):
        mlp_row(**arguments, p=0.3, key=KEY, random_stream="a")
